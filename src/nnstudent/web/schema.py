"""Types of the API; its OpenAPI description is made from them."""

from __future__ import annotations

from pydantic import BaseModel

from nnstudent.web.job import DeliveryOut, FileName, Job, Organ, ScanFacts, State


class Problem(BaseModel):
    """An error, in one line."""

    error: str


class AboutModel(BaseModel):
    """The model that segments."""

    name: str
    hash: str
    bundled: bool
    classes: list[str]


class AboutLimits(BaseModel):
    """Limits of one upload."""

    upload_bytes: int
    files: int


class About(BaseModel):
    """What this service is and what it accepts."""

    datastore: bool

    version: str
    model: AboutModel
    limits: AboutLimits
    formats: list[str]


class Label(BaseModel):
    """One class of the label table."""

    id: int
    name: str
    title: str
    color: tuple[int, int, int]
    kind: str


class Token(BaseModel):
    """The token that is exchanged for a session."""

    token: str


class ProgressOut(BaseModel):
    """The step that is running; ``total`` is 0 if its length is unknown."""

    what: str
    done: int
    total: int


class ConfirmedOut(BaseModel):
    """A class of a scan that somebody confirmed."""

    name: str
    by: str
    at: str
    present: bool


class CorrectionOut(BaseModel):
    """How far a scan is corrected.

    Attributes:
        version: How often; sent back with a correction, so that nobody's is overlooked.
        confirmed: What was confirmed.
    """

    version: int
    confirmed: list[ConfirmedOut]


class JobOut(BaseModel):
    """A job as its owner sees it."""

    id: str
    name: str
    state: State
    place: int | None
    progress: ProgressOut | None
    created: float
    seconds: float | None
    error: str | None
    warnings: list[str]
    organs: list[Organ] | None
    scan: ScanFacts | None
    files: list[FileName]
    delivery: DeliveryOut | None
    correction: CorrectionOut | None

    @classmethod
    def of(
        cls,
        job: Job,
        *,
        place: int | None,
        seconds: float | None,
        correction: CorrectionOut | None = None,
    ) -> JobOut:
        """Describe a job to its owner."""
        progress = None
        if job.progress is not None:
            what, done, total = job.progress
            progress = ProgressOut(what=what, done=done, total=total)
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            place=place,
            progress=progress,
            created=job.created,
            seconds=seconds,
            error=job.error,
            warnings=job.warnings,
            organs=None if job.organs is None else [Organ(**organ) for organ in job.organs],
            scan=None if job.scan is None else ScanFacts(**job.scan),
            files=job.files,  # type: ignore[arg-type]  # pydantic checks them
            delivery=DeliveryOut(**job.origin["delivery"]) if "delivery" in job.origin else None,
            correction=correction,
        )
