"""Routes of the API: about the service, sessions, uploads and jobs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

import nnstudent
from nnstudent.cohort.corrections import CONFIRMED
from nnstudent.web.access import SESSION, UPLOAD, Owner, client_host, is_below
from nnstudent.web.datastore.datastore import Datastore
from nnstudent.web.forms import TooLargeError, largest_body, too_large
from nnstudent.web.job import FileName, Job
from nnstudent.web.jobs import SHARED, Jobs
from nnstudent.web.names import ARCHIVE, IMAGES
from nnstudent.web.pace import UploadSlots
from nnstudent.web.schema import (
    About,
    AboutLimits,
    AboutModel,
    ConfirmedOut,
    CorrectionOut,
    JobOut,
    Label,
    Token,
)
from nnstudent.web.server import ADMITTED
from nnstudent.web.service import Service
from nnstudent.web.uploads import classify_upload, receive_files
from nnstudent.words import class_title

_TYPES = {
    ".gz": "application/gzip",
    ".dcm": "application/dicom",
    ".csv": "text/csv",
    ".png": "image/png",
}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
_FORM = {"schema": {"type": "object", "required": ["files"], "properties": {"files": _FILES}}}
_UPLOAD_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": _FORM}}}


def add_about_routes(router: APIRouter, service: Service) -> None:
    """Add the routes that describe the service and its classes."""
    limits = service.settings.limits

    @router.get("/api/about")
    def about() -> About:
        """Describe this service and what it accepts."""
        model = service.model
        name = "bundled student" if model.bundled else model.path.resolve().name
        return About(
            datastore=service.datastore is not None,
            version=nnstudent.__version__,
            model=AboutModel(
                name=name, hash=model.hash, bundled=model.bundled, classes=list(model.classes)
            ),
            limits=AboutLimits(upload_bytes=limits.upload_bytes, files=limits.files),
            formats=[*IMAGES, "DICOM", ARCHIVE],
        )

    @router.get("/api/labels")
    def labels() -> list[Label]:
        """List the classes that the model segments."""
        model = service.model
        rows = [model.taxonomy[name] for name in model.classes]
        return [
            Label(
                id=row.id,
                name=row.name,
                title=class_title(row.name).capitalize(),
                color=row.color,
                kind=row.kind,
            )
            for row in rows
        ]


def add_session_route(router: APIRouter, service: Service) -> None:
    """Add the route on which a browser exchanges the token for a cookie."""
    sessions = service.sessions

    @router.post(SESSION, status_code=204)
    def session(body: Token, request: Request, response: Response) -> None:
        """Exchange the token for a cookie."""
        if not service.settings.token:
            return
        throttle, host = request.state.throttle, client_host(request.scope)
        if not sessions.accepts(body.token):
            throttle.failed(host)
            raise HTTPException(
                401, "wrong token; it was set or printed when the service was started"
            )
        throttle.succeeded(host)
        response.headers.append(
            "Set-Cookie",
            sessions.set_cookie(sessions.new_cookie(), secure=request.url.scheme == "https"),
        )


def add_upload_route(router: APIRouter, service: Service) -> None:
    """Add the route that receives a scan."""
    jobs, limits = service.jobs, service.settings.limits
    uploads = UploadSlots(limits)

    @router.post(UPLOAD, status_code=201, openapi_extra=_UPLOAD_BODY)
    async def upload(request: Request, owner: Owner) -> JobOut:
        """Upload a scan: one image file, the files of a DICOM folder, or a ZIP of either."""
        length = request.headers.get("content-length")
        if length is not None and not is_below(length, largest_body(limits)):
            raise TooLargeError(too_large(limits))
        async with uploads.admit() as running:
            with jobs.draft(reserve=None if length is None else int(length)) as draft:
                setattr(request.state, ADMITTED, True)
                body = running.paced(request.stream())
                files = await receive_files(
                    body, request.headers.get("content-type", ""), draft.input, limits
                )
                name, kind = await run_in_threadpool(classify_upload, files, draft, jobs, limits)
                job = await run_in_threadpool(jobs.add, draft, owner=owner, name=name, kind=kind)
        return job_out(job, jobs, service.datastore)


def add_job_routes(router: APIRouter, service: Service) -> None:
    """Add the routes for a user's jobs and their files."""
    jobs = service.jobs

    @router.get("/api/jobs")
    def listed(owner: Owner) -> list[JobOut]:
        """List your jobs and those of the datastore, newest first."""
        return [job_out(job, jobs, service.datastore) for job in jobs.owned_by(owner, SHARED)]

    @router.get("/api/jobs/{id}")
    def one(id: str, owner: Owner) -> JobOut:
        """Show one job."""
        return job_out(_job_of(jobs, id, owner), jobs, service.datastore)

    @router.delete("/api/jobs/{id}", status_code=204)
    def remove(id: str, owner: Owner) -> None:
        """Stop a job and delete its files."""
        jobs.remove(_job_of(jobs, id, owner))

    @router.get("/api/jobs/{id}/files/{file}", response_class=FileResponse)
    def download(id: str, file: FileName, owner: Owner) -> Response:
        """Download one of a job's files."""
        job = _job_of(jobs, id, owner)
        path = job.output / file
        if file not in job.files or not path.is_file():
            raise HTTPException(404, f"this job has no {file}")
        return _file(path, f"{job.name}.{file}")


def job_out(job: Job, jobs: Jobs, datastore: Datastore | None = None) -> JobOut:
    """Describe a job as the API does."""
    running = job.state == "running" and job.began is not None
    seconds = round(time.monotonic() - (job.began or 0), 1) if running else job.seconds
    correction = None if datastore is None else _correction(job, datastore)
    return JobOut.of(job, place=jobs.place(job), seconds=seconds, correction=correction)


def _correction(job: Job, datastore: Datastore) -> CorrectionOut:
    """Return how far the scan of a job is corrected."""
    scan = job.origin.get("scan")
    if scan is None:
        return CorrectionOut(version=0, confirmed=[])
    confirmed = [
        ConfirmedOut(name=row.cls, by=row.by or "", at=row.at or "", present=row.why == CONFIRMED)
        for row in datastore.store.confirmed(scan)
    ]
    return CorrectionOut(version=datastore.store.version(scan), confirmed=confirmed)


def _file(path: Path, name: str) -> Response:
    headers: dict[str, Any] = {"Cache-Control": "no-store"}
    return FileResponse(path, media_type=_TYPES[path.suffix], filename=name, headers=headers)


def _job_of(jobs: Jobs, id: str, owner: str) -> Job:
    job = jobs.get(id, owner=owner)
    if job is None:
        raise HTTPException(404, "no such job; it may have been removed")
    return job
