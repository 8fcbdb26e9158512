"""What the API says, as types; its OpenAPI description is made of them."""

from __future__ import annotations

from pydantic import BaseModel

from nnstudent.web.job import DeliveryOut, FileName, Job, Organ, State


class Problem(BaseModel):
    """Why not: one line."""

    error: str


class AboutModel(BaseModel):
    """The model that segments."""

    name: str
    hash: str
    bundled: bool
    classes: list[str]


class AboutLimits(BaseModel):
    """What one upload may be."""

    upload_bytes: int
    files: int


class About(BaseModel):
    """What this service is and takes."""

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
    """What is exchanged for a session."""

    token: str


class ProgressOut(BaseModel):
    """What is done just now; ``total`` is 0 where there are no steps to count."""

    what: str
    done: int
    total: int


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
    files: list[FileName]
    delivery: DeliveryOut | None

    @classmethod
    def of(cls, job: Job, *, place: int | None, seconds: float | None) -> JobOut:
        """What its owner is told of a job."""
        progress = job.progress
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            place=place,
            progress=None
            if progress is None
            else ProgressOut(what=progress[0], done=progress[1], total=progress[2]),
            created=job.created,
            seconds=seconds,
            error=job.error,
            warnings=job.warnings,
            organs=None if job.organs is None else [Organ(**organ) for organ in job.organs],
            files=job.files,  # type: ignore[arg-type]  # pydantic checks them
            delivery=DeliveryOut(**job.origin["delivery"]) if "delivery" in job.origin else None,
        )
