"""One job: where it stands, its files, and its record, which is checked before anything in it is believed."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from nnstudent.errors import InputError
from nnstudent.serialization import read_json_table

State = Literal["queued", "running", "done", "failed"]
Kind = Literal["image", "dicom"]
FileName = Literal[
    "image.nii.gz", "labels.nii.gz", "labels.seg.dcm", "statistics.csv", "preview.png"
]
FINISHED = ("done", "failed")
RECORD = "job.json"
NAMES = "names.json"  # what the sender called the files of a DICOM folder; deleted with them
_ID = re.compile(r"[0-9a-f]{32}")
_RECORD_BYTES = 10_000_000


class Organ(BaseModel):
    """What was found of one class."""

    id: int
    name: str
    volume_ml: float
    confidence: float | None
    touches_border: bool


class DeliveryOut(BaseModel):
    """Whether the DICOM-SEG of a study is in the hospital's archive."""

    state: Literal["waiting", "stored", "failed", "nothing"]
    error: str | None


@dataclass(eq=False)
class Job:
    """One scan to segment. Everything but ``progress`` and ``began`` is in its record on disk.

    Attributes:
        id: 32 hexadecimal digits, which also name its folder.
        folder: Its files: ``input``, ``output`` and the record.
        owner: Who may see it.
        name: What the owner calls it; only for display.
        kind: What ``input`` holds: one image file, or DICOM files.
        created: Seconds since the epoch.
        state: Where it stands.
        attempts: How often a worker began it.
        seconds: How long the worker took.
        error: Why it failed, one line.
        warnings: What a reader should know, a line each.
        organs: What was found.
        files: Names of the files in ``output``.
        bytes: On disk.
        finished: Seconds since the epoch.
        origin: What whoever made it wants to know when it is done; any JSON.
        arrived: Whether its input is there; else it is still to be fetched, and no worker's turn.
        progress: What the worker does, steps done, steps in all.
        began: Monotonic seconds when the worker began.
    """

    id: str
    folder: Path
    owner: str
    name: str
    kind: Kind
    created: float
    state: State = "queued"
    attempts: int = 0
    seconds: float | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    organs: list[dict[str, Any]] | None = None
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    finished: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    arrived: bool = True
    progress: tuple[str, int, int] | None = None
    began: float | None = None

    @property
    def input(self) -> Path:
        """What was given; gone when the job is finished."""
        return self.folder / "input"

    @property
    def source(self) -> Path:
        """The image file in ``input``; of DICOM the folder itself."""
        return self.input if self.kind == "dicom" else next(self.input.iterdir())

    @property
    def output(self) -> Path:
        """What was made of it."""
        return self.folder / "output"

    def record(self) -> dict[str, Any]:
        """What is kept of it on disk."""
        return {
            key: value
            for key, value in asdict(self).items()
            if key not in ("folder", "progress", "began")
        }


class _Origin(BaseModel):
    """What is read again of a job's origin."""

    study: str = ""
    delivery: DeliveryOut | None = None


class _Record(BaseModel):
    """A record whose nested parts are as the API will show them."""

    organs: list[Organ] | None = None
    files: list[FileName] = []
    origin: _Origin = _Origin()


_JOB = TypeAdapter(Job)


def is_job_id(name: str) -> bool:
    """Whether a folder's name is a job's."""
    return _ID.fullmatch(name) is not None


def read_job(folder: Path) -> Job:
    """Read a job's record. It may have been damaged or edited, so its types and its shape are checked.

    Raises:
        InputError: There is no usable record.
    """
    path = folder / RECORD
    try:
        fields = read_json_table(path, what="a job's record", most=_RECORD_BYTES)
        _Record.model_validate(fields)
        job = _JOB.validate_python({**fields, "folder": folder})
    except ValidationError as error:
        raise InputError(f"{path}: no valid record of a job ({_first(error)})") from error
    times = (job.created, job.finished or 0.0, job.seconds or 0.0)
    if (
        job.id != folder.name
        or not job.owner
        or job.bytes < 0
        or not all(math.isfinite(time) for time in times)
    ):
        raise InputError(
            f"{path}: no valid record of a job (another job's id, no owner, or a figure that cannot be)"
        )
    return job


def _first(error: ValidationError) -> str:
    """Where a record is wrong, without quoting it: it may hold a patient's name."""
    first = error.errors(include_input=False, include_url=False)[0]
    return " ".join(f"{'.'.join(map(str, first['loc']))} {first['msg']}".split())[:200]
