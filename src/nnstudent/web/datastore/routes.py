"""Routes by which the page corrects: an overview, the next scan, corrections, training."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from nnstudent.data_files import parse_json
from nnstudent.errors import InputError
from nnstudent.web.access import CLICK, Owner, is_below
from nnstudent.web.datastore.clicks import BoxIn, segment_box
from nnstudent.web.datastore.datastore import Datastore
from nnstudent.web.datastore.learning import Training
from nnstudent.web.datastore.scans import NotFoundError
from nnstudent.web.datastore.store import Sent
from nnstudent.web.datastore.strategies import STRATEGIES
from nnstudent.web.forms import TooLargeError, receive_form, sender_names
from nnstudent.web.job import Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.pace import UploadSlots
from nnstudent.web.routes import job_out
from nnstudent.web.schema import JobOut
from nnstudent.web.server import ADMITTED
from nnstudent.web.service import Service

_NAME = 80  # characters of somebody's name
_OCTETS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
DECIDED = "Decided-By"  # the header that says what decided about a click: scores or image
_BOX = {"requestBody": {"required": True, "content": _OCTETS}}


class TrainingOut(BaseModel):
    """A training, as the page shows it."""

    number: int
    by: str
    state: Literal["running", "done", "failed", "stopped"]
    what: str
    done: int
    total: int
    why: str
    used: bool

    @classmethod
    def of(cls, training: Training) -> TrainingOut:
        """Describe a training."""
        what, done, total = training.progress or ("", 0, 0)
        return cls(
            number=training.number,
            by=training.by,
            state=training.state,
            what=what,
            done=done,
            total=total,
            why=training.why,
            used=training.used,
        )


class StrategyOut(BaseModel):
    """A way to choose the next scan."""

    name: str
    description: str


class DatastoreOut(BaseModel):
    """The datastore at a glance."""

    scans: int
    corrected: int
    segmented: int
    strategies: list[StrategyOut]
    learns: bool
    student: int
    training: TrainingOut | None


class Asked(BaseModel):
    """Who asks."""

    by: str = ""
    strategy: str = "first"


class SavedOut(BaseModel):
    """What became of a correction."""

    confirmed: list[str]
    version: int
    warnings: list[str]


class CorrectionParams(BaseModel):
    """What is said beside a corrected label map."""

    confirmed: list[str] = []
    absent: list[str] = []
    version: int | None = None
    by: str = ""


def add_datastore_routes(router: APIRouter, service: Service, datastore: Datastore) -> None:
    """Add the routes."""
    _add_overview(router, service, datastore)
    _add_training(router, datastore)
    _add_correction(router, service, datastore)
    _add_click(router, service, datastore)


def _add_overview(router: APIRouter, service: Service, datastore: Datastore) -> None:
    store = datastore.store

    @router.get("/api/datastore")
    def overview() -> DatastoreOut:
        """Show how far the datastore is corrected, and what is trained."""
        done = {case.id for case in store.corrections.cohort()}
        last = datastore.learning.last
        return DatastoreOut(
            scans=len(store.scans.all()),
            corrected=len(done),
            segmented=datastore.segmented,
            strategies=[
                StrategyOut(name=name, description=text) for name, text in STRATEGIES.items()
            ],
            learns=datastore.learning.possible,
            student=datastore.models.number,
            training=None if last is None else TrainingOut.of(last),
        )

    @router.post("/api/datastore/next", status_code=201)
    def next_scan(asked: Asked) -> JobOut:
        """Choose the scan that should be corrected next, and segment it."""
        scan = datastore.next(asked.strategy, by=_name(asked.by))
        if scan is None:
            raise NotFoundError("every scan is corrected, or somebody is at it")
        return job_out(store.request(scan), service.jobs, datastore)


def _add_training(router: APIRouter, datastore: Datastore) -> None:
    learning = datastore.learning

    @router.post("/api/datastore/training", status_code=201)
    def begin(asked: Asked) -> TrainingOut:
        """Let the student learn from what was corrected."""
        return TrainingOut.of(learning.begin(_name(asked.by)))

    @router.delete("/api/datastore/training", status_code=204)
    def stop() -> None:
        """Stop the training."""
        if not learning.give_up():
            raise HTTPException(404, "no training runs")

    @router.delete("/api/datastore/student", status_code=204)
    def go_back() -> None:
        """Use the model again that was used before the last student."""
        learning.go_back()


def _add_correction(router: APIRouter, service: Service, datastore: Datastore) -> None:
    jobs, limits, store = service.jobs, service.settings.limits, datastore.store
    uploads = UploadSlots(limits)

    @router.get("/api/jobs/{id}/labels", response_class=FileResponse)
    def corrected(id: Annotated[str, Path(max_length=64)], owner: Owner) -> Response:
        """Download the label map with what was corrected laid over it."""
        job = _done(jobs, id, owner)
        path = job.output / "labels.nii.gz"
        if "scan" in job.origin:
            path = store.merged(str(job.origin["scan"]), path, job.folder / "corrected.nii.gz")
        return FileResponse(path, media_type="application/gzip", filename="labels.nii.gz")

    @router.put("/api/jobs/{id}/labels")
    async def correct(
        id: Annotated[str, Path(max_length=64)], request: Request, owner: Owner
    ) -> SavedOut:
        """Submit a corrected label map: a form with ``params`` and ``label``."""
        job = _done(jobs, id, owner)
        async with uploads.admit() as running:
            with jobs.draft(reserve=None) as draft:
                setattr(request.state, ADMITTED, True)
                body = running.paced(request.stream())
                form = await receive_form(
                    body,
                    request.headers.get("content-type", ""),
                    draft.input,
                    limits,
                    files=("label",),
                    texts=("params",),
                )
                if len(form.files) != 1:
                    raise InputError(f"{len(form.files)} label maps; expected one")
                said = _params(form.texts.get("params", "{}"))
                sent = Sent(
                    form.files[0].path,
                    _name(said.by),
                    confirmed=[*said.confirmed, *said.absent],
                    version=said.version,
                )
                scan = await run_in_threadpool(_scan_of, job, jobs, datastore)
                with sender_names(form):
                    saved = await run_in_threadpool(store.submit, scan, sent)
        return SavedOut(
            confirmed=list(saved.confirmed), version=saved.version, warnings=list(saved.warnings)
        )


def _add_click(router: APIRouter, service: Service, datastore: Datastore) -> None:
    limits, jobs, table = service.settings.limits, service.jobs, datastore.store.taxonomy
    uploads, one_at_a_time = UploadSlots(limits), asyncio.Semaphore(1)

    @router.post(CLICK, openapi_extra=_BOX, response_class=Response)
    async def click(params: Annotated[BoxIn, Query()], request: Request, owner: Owner) -> Response:
        """Segment an organ again around a click, in a box of the scan that is sent."""
        job = jobs.get(params.job, owner=owner)
        organ = table.by_id(params.organ).name if job else ""
        length = request.headers.get("content-length")
        if length is None or not is_below(length, params.size):
            raise TooLargeError(f"a box of another size; its shape takes {params.size} bytes")
        async with uploads.admit() as running:
            setattr(request.state, ADMITTED, True)
            body = bytearray()
            async for piece in running.paced(request.stream()):
                body += piece
        async with one_at_a_time:
            answer = await run_in_threadpool(
                segment_box, params, bytes(body), scores=job.scores if job else None, organ=organ
            )
        headers = {DECIDED: answer.by}
        return Response(answer.mask, media_type="application/octet-stream", headers=headers)


def _done(jobs: Jobs, id: str, owner: str) -> Job:
    job = jobs.get(id, owner=owner)
    if job is None or job.state != "done":
        raise HTTPException(404, "no such result; it may have been removed")
    return job


def _scan_of(job: Job, jobs: Jobs, datastore: Datastore) -> str:
    """Return the id of a job's scan; a scan that was only uploaded is added to the datastore."""
    if "scan" not in job.origin:
        scan = datastore.store.add(job.name, job.output / "image.nii.gz")
        jobs.update_origin(job, scan=scan.id)
    return str(job.origin["scan"])


def _params(text: str) -> CorrectionParams:
    data = parse_json(text, where="params", what="a correction")
    try:
        return CorrectionParams.model_validate(data)
    except ValueError as error:
        raise InputError("params: not what the page sends; load it again") from error


def _name(text: str) -> str:
    """Return somebody's name as plain text."""
    name = "".join(character for character in text if character.isprintable())
    return name[:_NAME].strip() or "unnamed"
