"""Routes of the protocol: about the service, infer, datastore, next scan, training, sessions."""

from __future__ import annotations

import collections
import logging
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Body, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from nnstudent.errors import InputError
from nnstudent.web.access import is_below
from nnstudent.web.datastore.datastore import Datastore
from nnstudent.web.datastore.scans import ConflictError, NotFoundError
from nnstudent.web.datastore.strategies import FIRST
from nnstudent.web.forms import (
    Form,
    TooLargeError,
    largest_body,
    receive_form,
    sender_names,
    too_large,
)
from nnstudent.web.job import Job
from nnstudent.web.jobs import SHARED, Draft
from nnstudent.web.monailabel.described import (
    FINAL,
    MODEL,
    chosen_among,
    everything,
    info,
    sample,
    status,
    train_status,
)
from nnstudent.web.monailabel.inference import answer, parse_params, sender, wait_for
from nnstudent.web.monailabel.labels import read_sent
from nnstudent.web.pace import UploadSlots
from nnstudent.web.server import ADMITTED
from nnstudent.web.service import Service
from nnstudent.web.uploads import classify_upload

log = logging.getLogger(__name__)

Params = Annotated[dict[str, Any] | None, Body()]
_LINES = 300  # of the log that clients see


class Receiving:
    """Receives the forms of clients, with the same limits as every upload."""

    def __init__(self, service: Service) -> None:
        """Receive for a service."""
        self._service = service
        self._uploads = UploadSlots(service.settings.limits)

    async def form(self, request: Request, draft: Draft, *files: str) -> Form:
        """Receive a form into a draft.

        Raises:
            InputError: It is malformed, or has other fields.
            TooLargeError: It is too large.
        """
        limits = self._service.settings.limits
        length = request.headers.get("content-length")
        if length is not None and not is_below(length, largest_body(limits)):
            raise TooLargeError(too_large(limits))
        async with self._uploads.admit() as running:
            setattr(request.state, ADMITTED, True)
            kind = request.headers.get("content-type", "")
            body = running.paced(request.stream())
            return await receive_form(
                body,
                kind,
                draft.input,
                limits,
                files=files,
                texts=("params", "client_id"),
            )

    async def queue(self, draft: Draft, form: Form, field: str) -> Job:
        """Make a job of the scan in a form."""
        jobs, limits = self._service.jobs, self._service.settings.limits
        files = [(file.name, file.path) for file in form.files if file.field == field]
        name, kind = await run_in_threadpool(classify_upload, files, draft, jobs, limits)
        return await run_in_threadpool(jobs.add, draft, owner=SHARED, name=name, kind=kind)


def reserved(request: Request) -> int | None:
    """Return how many bytes a request needs; None if it does not say."""
    length = request.headers.get("content-length")
    return int(length) if length is not None and is_below(length, 1 << 62) else None


def add_protocol_routes(router: APIRouter, service: Service, datastore: Datastore) -> None:
    """Add all routes of the protocol."""
    receiving = Receiving(service)
    _add_about(router, service, datastore)
    _add_infer(router, service, datastore, receiving)
    _add_datastore(router, datastore)
    _add_changes(router, service, datastore, receiving)
    _add_next(router, datastore)
    _add_training(router, datastore)
    _add_sessions(router, service, receiving)


def _add_about(router: APIRouter, service: Service, datastore: Datastore) -> None:
    lines: collections.deque[str] = collections.deque(maxlen=_LINES)
    ours = logging.getLogger("nnstudent.web")
    ours.addHandler(_Lines(lines))
    if not ours.isEnabledFor(logging.INFO):
        ours.setLevel(logging.INFO)

    @router.get("/info/", include_in_schema=False)
    def about() -> dict[str, Any]:
        return info(datastore)

    @router.get("/logs/", include_in_schema=False)
    def logs(lines_wanted: Annotated[int, Query(alias="lines", ge=0)] = _LINES) -> Response:
        text = "\n".join(list(lines)[-lines_wanted:] if lines_wanted else [])
        return Response(text, media_type="text/plain; charset=utf-8")

    @router.get("/auth/", include_in_schema=False)
    def enabled() -> dict[str, Any]:
        return {"enabled": bool(service.settings.token), "client_id": MODEL, "realm": MODEL}

    @router.post("/auth/token", include_in_schema=False)
    async def token(request: Request) -> dict[str, Any]:
        if not service.settings.token:
            return {"access_token": None, "token_type": None}
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        given = (fields.get("password") or [""])[0]
        throttle, host = request.state.throttle, _host(request)
        if wait := throttle.wait(host):
            raise HTTPException(429, f"too many wrong tokens; try again in {wait:.0f} s")
        if not service.sessions.is_token(given):
            throttle.failed(host)
            raise HTTPException(401, "wrong password; it is the token of the service")
        throttle.succeeded(host)
        return {"access_token": given, "token_type": "Bearer"}

    @router.get("/auth/token/valid", include_in_schema=False)
    def valid() -> dict[str, Any]:
        return {"username": MODEL, "email": None, "name": MODEL, "roles": ["user"]}


def _add_infer(
    router: APIRouter, service: Service, datastore: Datastore, receiving: Receiving
) -> None:
    jobs, store = service.jobs, datastore.store

    @router.post("/infer/{model}", include_in_schema=False)
    async def infer(
        model: str, request: Request, image: str = "", session_id: str = "", output: str = ""
    ) -> Response:
        if model != MODEL:
            raise NotFoundError(f"there is no such model; expected {MODEL}")
        with jobs.draft(reserve=reserved(request)) as draft:
            form = await receiving.form(request, draft, "file", "label")
            params = parse_params(form.texts.get("params", ""))
            files = [file for file in form.files if file.field == "file"]
            if session_id:
                job = _session(service, session_id)
            elif files:
                job = await receiving.queue(draft, form, "file")
            elif image:
                scan = await run_in_threadpool(store.scans.find, image)
                job = await run_in_threadpool(store.request, scan)
            else:
                raise InputError("no scan; expected image=ID, a file, or session_id=ID")
        try:
            done = await wait_for(job, jobs)
            name = store.scans.free_id(image or job.name)
            return await answer(
                done,
                output=output,
                params=params,
                folder=done.folder,
                name=name,
            )
        finally:
            if files and not session_id:
                await run_in_threadpool(jobs.remove, job)


def _add_datastore(router: APIRouter, datastore: Datastore) -> None:
    store = datastore.store

    @router.get("/datastore/", include_in_schema=False)
    def listed(output: str = "stats") -> Any:
        if output == "all":
            return everything(datastore)
        if output == "train":
            return status(datastore)["train"]
        if output != "stats":
            raise InputError("unknown output; expected all, train or stats")
        return status(datastore)

    @router.get("/datastore/image", include_in_schema=False)
    def image_file(image: str) -> Response:
        scan = store.scans.find(image)
        path = store.image_file(scan)
        return _attached(path, sample(scan, strategy="", by="")["name"])

    @router.get("/datastore/image/info", include_in_schema=False)
    def image_info(image: str) -> dict[str, Any]:
        scan = store.scans.find(image)
        return {"name": scan.name, "id": scan.id}

    @router.get("/datastore/label", include_in_schema=False)
    def label_file(label: str, tag: str = FINAL) -> Response:
        scan = store.scans.find(label)
        path = store.corrections.label(scan.id) if tag in ("", FINAL) else None
        if path is None:
            raise NotFoundError("this scan has no label of this tag")
        return _attached(path, f"{scan.id}.nii.gz")

    @router.get("/datastore/label/info", include_in_schema=False)
    def label_info(label: str, tag: str = FINAL) -> dict[str, Any]:
        scan = store.scans.find(label)
        rows = store.confirmed(scan.id)
        names = {row.cls: store.taxonomy[row.cls].id for row in rows}
        confirmed = [{"class": row.cls, "by": row.by, "at": row.at, "why": row.why} for row in rows]
        return {"params": {"label_names": names}, "confirmed": confirmed}

    @router.delete("/datastore/", include_in_schema=False)
    def remove() -> None:
        raise HTTPException(405, "the service deletes no scans; remove the file from the folder")


def _add_changes(
    router: APIRouter, service: Service, datastore: Datastore, receiving: Receiving
) -> None:
    jobs, store = service.jobs, datastore.store

    @router.put("/datastore/", include_in_schema=False)
    async def add_image(request: Request, image: str = "") -> dict[str, Any]:
        with jobs.draft(reserve=reserved(request)) as draft:
            form = await receiving.form(request, draft, "file")
            if len(form.files) != 1:
                raise InputError(f"{len(form.files)} files; expected one image")
            ((sent),) = form.files
            name, kind = await run_in_threadpool(
                classify_upload, [(sent.name, sent.path)], draft, jobs, service.settings.limits
            )
            if kind != "image":
                raise InputError("a DICOM file; expected one NIfTI file")
            (path,) = draft.input.iterdir()
            with sender_names(form):
                scan = await run_in_threadpool(store.add, image or name, path)
        return {"image": scan.id}

    @router.put("/datastore/label", include_in_schema=False)
    async def save_label(request: Request, image: str, tag: str = FINAL) -> dict[str, Any]:
        with jobs.draft(reserve=reserved(request)) as draft:
            form = await receiving.form(request, draft, "label")
            params = parse_params(form.texts.get("params", ""))
            if len(form.files) != 1:
                raise InputError(f"{len(form.files)} label maps; expected one")
            with sender_names(form):
                sent = await run_in_threadpool(read_sent, form.files[0], params, store, image)
                saved = await run_in_threadpool(store.submit, image, sent)
        log.info("scan corrected: %d classes confirmed", len(saved.confirmed))
        return {
            "image": image,
            "label": image,
            "tag": tag or FINAL,
            "confirmed": list(saved.confirmed),
            "version": saved.version,
            "kept": saved.kept,
            "warnings": list(saved.warnings),
        }


def _add_next(router: APIRouter, datastore: Datastore) -> None:
    @router.post("/activelearning/{strategy}", include_in_schema=False)
    def choose(strategy: str, params: Params = None) -> dict[str, Any]:
        by = sender(params or {})
        scan = datastore.next(strategy, by=by)
        if scan is None:
            return {}
        said = {"note": chosen_among(datastore)} if strategy != FIRST else {}
        return {**sample(scan, strategy=strategy, by=by), **said}


def _add_training(router: APIRouter, datastore: Datastore) -> None:
    learning = datastore.learning

    @router.get("/train/", include_in_schema=False)
    def shown(check_if_running: bool = False) -> dict[str, Any]:
        if learning.last is None or (check_if_running and not learning.running):
            raise NotFoundError("no training runs" if check_if_running else "nothing was trained")
        return train_status(learning.last)

    def begin(params: dict[str, Any] | None) -> dict[str, Any]:
        try:
            return train_status(learning.begin(sender(params or {})))
        except ConflictError as error:
            raise HTTPException(429, str(error)) from error

    @router.post("/train/", include_in_schema=False)
    def train_all(params: Params = None) -> dict[str, Any]:
        return {MODEL: {"result": begin(params), "detail": None}}

    @router.post("/train/{model}", include_in_schema=False)
    def train(model: str, params: Params = None) -> dict[str, Any]:
        if model != MODEL:
            raise NotFoundError(f"there is no such trainer; expected {MODEL}")
        return begin(params)

    @router.delete("/train/", include_in_schema=False)
    def stop() -> dict[str, Any]:
        if not learning.give_up() or learning.last is None:
            raise NotFoundError("no training runs")
        return train_status(learning.last)


def _add_sessions(router: APIRouter, service: Service, receiving: Receiving) -> None:
    """A session is a scan that a client sends once and has segmented by its number."""
    jobs = service.jobs

    @router.put("/session/", include_in_schema=False)
    async def create(request: Request) -> dict[str, Any]:
        with jobs.draft(reserve=reserved(request)) as draft:
            form = await receiving.form(request, draft, "files")
            job = await receiving.queue(draft, form, "files")
        return {"session_id": job.id, "session_info": _session_info(job)}

    @router.get("/session/{session_id}", include_in_schema=False)
    def shown(session_id: str) -> dict[str, Any]:
        return _session_info(_session(service, session_id))

    @router.delete("/session/{session_id}", include_in_schema=False)
    def remove(session_id: str) -> dict[str, Any]:
        job = _session(service, session_id)
        jobs.remove(job)
        return _session_info(job)


def _session(service: Service, id: str) -> Job:
    job = service.jobs.get(id, owner=SHARED)
    if job is None or "scan" in job.origin:
        raise NotFoundError("no such session; it may have expired")
    return job


def _session_info(job: Job) -> dict[str, Any]:
    return {"name": job.id, "client": "", "image": job.name, "create_ts": int(job.created)}


def _attached(path: Path, name: str) -> Response:
    headers = {"Cache-Control": "no-store"}
    return FileResponse(path, media_type="application/octet-stream", filename=name, headers=headers)


def _host(request: Request) -> str:
    return request.client.host if request.client else ""


class _Lines(logging.Handler):
    """Keeps the last lines of the log, which name no patient."""

    def __init__(self, lines: collections.deque[str]) -> None:
        super().__init__(logging.INFO)
        self._lines = lines
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
