"""One job: its state, its files, and its record, which is validated when it is read."""

from __future__ import annotations

import math
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError

State = Literal["queued", "running", "done", "failed"]
Kind = Literal["image", "dicom"]
FileName = Literal[
    "image.nii.gz", "labels.nii.gz", "labels.seg.dcm", "statistics.csv", "preview.png"
]
FINISHED = ("done", "failed")
RECORD = "job.json"
NAMES = "names.json"  # the sender's names of the files of a DICOM folder; deleted with them
_ID = re.compile(r"[0-9a-f]{32}")
_RECORD_BYTES = 10_000_000


class OrganQuality(BaseModel):
    """How good the segmentation of one organ is expected to be."""

    expected_dice: float | None
    dice_interval: tuple[float, float] | None
    verdict: Literal["pass", "look", "fail"]
    reason: str


class Organ(BaseModel):
    """Measurements of one class that was found."""

    id: int
    name: str
    volume_ml: float
    confidence: float | None
    touches_border: bool
    quality: OrganQuality | None = None


class ScanFacts(BaseModel):
    """What a scan is.

    Attributes:
        size: Voxels along x, y, z.
        spacing_mm: Their distance along x, y, z.
        series: Description of the DICOM series.
        phase: A guess at the contrast phase, and what it rests on.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    series: str | None
    phase: str | None


class DeliveryOut(BaseModel):
    """Whether the DICOM-SEG of a study has been stored in the PACS."""

    state: Literal["waiting", "stored", "failed", "nothing"]
    error: str | None


@dataclass(eq=False)
class Job:
    """One scan to segment; its record on disk has everything but ``progress`` and ``began``.

    Attributes:
        id: 32 hexadecimal digits; also the name of its folder.
        folder: Folder of ``input``, ``output`` and the record.
        owner: Who may see it.
        name: The owner's name for it, only for display.
        kind: What ``input`` contains: one image file, or DICOM files.
        created: Time of creation, seconds since the epoch.
        state: Its state.
        attempts: How often the worker has started it.
        seconds: How long the worker took.
        error: Why it failed, in one line.
        warnings: What the reader should know, one line each.
        organs: Measurements of the classes found.
        scan: What the scan is, as :class:`ScanFacts`.
        files: Names of the files in ``output``.
        bytes: Bytes on disk.
        finished: Time when it finished, seconds since the epoch.
        origin: JSON data for whoever created it.
        arrived: Whether its input is complete; if not, it is still to be fetched.
        progress: The running step, its parts done, and its parts in all.
        began: Monotonic seconds when the worker started it.
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
    scan: dict[str, Any] | None = None
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    finished: float | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    arrived: bool = True
    progress: tuple[str, int, int] | None = None
    began: float | None = None

    @property
    def input(self) -> Path:
        """Folder of the scan; removed when the job has finished."""
        return self.folder / "input"

    @property
    def source(self) -> Path:
        """The image file in ``input``; for DICOM, ``input`` itself."""
        return self.input if self.kind == "dicom" else next(self.input.iterdir())

    @property
    def output(self) -> Path:
        """Folder of the results."""
        return self.folder / "output"

    @property
    def scores(self) -> Path:
        """File of the probabilities, if they were kept; nobody can download it."""
        return self.folder / "scores.zip"

    def end(
        self,
        *,
        error: str | None = None,
        files: list[str] | None = None,
        organs: Any = None,
        warnings: list[str] | None = None,
        scan: dict[str, Any] | None = None,
    ) -> None:
        """Set how it ended: done, or failed if ``error`` says why."""
        self.state = "done" if error is None else "failed"
        self.error, self.files, self.organs, self.scan = error, files or [], organs, scan
        self.warnings = [*self.warnings, *(warnings or [])]
        self.seconds = None if self.began is None else round(time.monotonic() - self.began, 2)
        self.finished, self.progress = time.time(), None

    def record(self) -> dict[str, Any]:
        """Return its record, as it is kept on disk."""
        return {
            key: value
            for key, value in asdict(self).items()
            if key not in ("folder", "progress", "began")
        }


class _Origin(BaseModel):
    """The parts of a job's origin that are validated."""

    study: str = ""
    delivery: DeliveryOut | None = None


class _Record(BaseModel):
    """The nested parts of a record, as the API returns them."""

    organs: list[Organ] | None = None
    scan: ScanFacts | None = None
    files: list[FileName] = []
    origin: _Origin = _Origin()


_JOB = TypeAdapter(Job)


def is_job_id(name: str) -> bool:
    """Return whether a folder has the name of a job."""
    return _ID.fullmatch(name) is not None


def read_job(folder: Path) -> Job:
    """Read and validate a job's record, which may have been damaged or edited.

    Raises:
        InputError: There is no valid record.
    """
    path = folder / RECORD
    try:
        fields = read_json_table(path, what="a job's record", most=_RECORD_BYTES)
        _Record.model_validate(fields)
        job = _JOB.validate_python({**fields, "folder": folder})
    except ValidationError as error:
        raise InputError(f"{path}: not a valid record of a job ({_first_error(error)})") from error
    stamps = (job.created, job.finished or 0.0, job.seconds or 0.0)
    if (
        job.id != folder.name
        or not job.owner
        or job.bytes < 0
        or not all(math.isfinite(stamp) for stamp in stamps)
    ):
        raise InputError(
            f"{path}: not a valid record of a job "
            "(another job's id, no owner, or an impossible number)"
        )
    return job


def _first_error(error: ValidationError) -> str:
    """Return where a record is invalid, without quoting it, because it may name a patient."""
    first = error.errors(include_input=False, include_url=False)[0]
    return " ".join(f"{'.'.join(map(str, first['loc']))} {first['msg']}".split())[:200]
