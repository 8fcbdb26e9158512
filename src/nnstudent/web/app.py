"""The web of the service: its routes."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

import nnstudent
from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.web.access import SESSION, UPLOAD, Access, Owner, Sessions, kept_secret, same
from nnstudent.web.jobs import FullError, Job, Jobs
from nnstudent.web.names import ARCHIVE, IMAGES
from nnstudent.web.pacs.errors import PacsError
from nnstudent.web.page import Page
from nnstudent.web.schema import About, AboutLimits, AboutModel, FileName, JobOut, Label, Problem, Token
from nnstudent.web.service import Service
from nnstudent.web.uploads import TooLargeError, largest_body, receive, sort, too_large

log = logging.getLogger(__name__)

_TYPES = {".gz": "application/gzip", ".dcm": "application/dicom", ".csv": "text/csv", ".png": "image/png"}
_PROBLEMS: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (400, 401, 403, 404, 411, 413, 421, 422, 500, 502, 503)}
_UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}},
                }
            }
        },
    }
}


def create_app(service: Service) -> FastAPI:
    """The application; the service starts and stops with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    settings, jobs, limits = service.settings, service.jobs, service.settings.limits
    sessions = Sessions(kept_secret(settings.work / "secret"), settings)
    page = Page()
    app = FastAPI(
        title="nnStudent",
        version=nnstudent.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # these two load scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # on by default where it is known
        lifespan=lifespan,
        responses=_PROBLEMS,
    )
    app.add_middleware(Access, settings=settings, sessions=sessions)
    _answer_errors(app)

    @app.get("/api/about")
    def about() -> About:
        """What this service is, and what it takes."""
        model = service.model
        return About(
            version=nnstudent.__version__,
            model=AboutModel(
                name="bundled student" if model.bundled else model.path.resolve().name,
                hash=model.hash,
                bundled=model.bundled,
                classes=list(model.classes),
            ),
            limits=AboutLimits(upload_bytes=limits.upload_bytes, files=limits.files),
            formats=[*IMAGES, "DICOM", ARCHIVE],
        )

    @app.get("/api/labels")
    def labels() -> list[Label]:
        """The classes that it finds."""
        table = service.model.taxonomy
        rows = [table[name] for name in service.model.classes]
        return [
            Label(id=row.id, name=row.name, title=row.name.replace("_", " ").capitalize(), color=row.color, kind=row.kind) for row in rows
        ]

    @app.post(SESSION, status_code=204)
    def session(body: Token, request: Request, response: Response) -> None:
        """Exchange the token for a cookie."""
        if settings.token:
            if not same(body.token, settings.token):
                raise HTTPException(401, "not the token; it was printed where the service was started")
            response.headers.append("Set-Cookie", sessions.set_cookie(sessions.new(), secure=request.url.scheme == "https"))

    @app.post(UPLOAD, status_code=201, openapi_extra=_UPLOAD_BODY)
    async def upload(request: Request, owner: Owner) -> JobOut:
        """Take a scan: one NIfTI file, the files of a DICOM folder, or a ZIP archive of either."""
        length = request.headers.get("content-length")
        if length is not None and (not length.isdecimal() or int(length) > largest_body(limits)):
            raise TooLargeError(too_large(limits))
        with jobs.draft(reserve=None if length is None else int(length)) as draft:
            files = await receive(request.stream(), request.headers.get("content-type", ""), draft.input, limits)
            name, kind = await run_in_threadpool(sort, files, draft, jobs, limits)
            job = await run_in_threadpool(jobs.add, draft, owner=owner, name=name, kind=kind)
        return _told(job, jobs)

    @app.get("/api/jobs")
    def listed(owner: Owner) -> list[JobOut]:
        """The caller's jobs, newest first."""
        return [_told(job, jobs) for job in jobs.of(owner)]

    @app.get("/api/jobs/{id}")
    def one(id: str, owner: Owner) -> JobOut:
        """One job."""
        return _told(_mine(jobs, id, owner), jobs)

    @app.delete("/api/jobs/{id}", status_code=204)
    def remove(id: str, owner: Owner) -> None:
        """Stop a job if it waits or runs, and delete its files."""
        jobs.remove(_mine(jobs, id, owner))

    @app.get("/api/jobs/{id}/files/{file}", response_class=FileResponse)
    def download(id: str, file: FileName, owner: Owner) -> FileResponse:
        """One of a job's files."""
        job = _mine(jobs, id, owner)
        path = job.output / file
        if file not in job.files or not path.is_file():
            raise HTTPException(404, f"this job has no {file}")
        return FileResponse(path, media_type=_TYPES[path.suffix], filename=f"{job.name}.{file}", headers={"Cache-Control": "no-store"})

    hospital = service.hospital
    if hospital.pacs is not None and hospital.fetcher is not None:
        from nnstudent.web.pacs.routes import add_pacs_routes  # what speaks with a PACS is installed only where one is

        add_pacs_routes(app, hospital.pacs, hospital.fetcher, told=lambda job: _told(job, jobs))

    @app.get("/api/{rest:path}", include_in_schema=False)
    def nothing(rest: str) -> None:
        raise HTTPException(404, "no such thing here; what there is: /api/openapi.json")

    @app.get("/{name:path}", include_in_schema=False)
    def asset(name: str) -> Response:
        found = page.get(name)
        if found is None:
            raise HTTPException(404, "no such page")
        return found

    return app


def _mine(jobs: Jobs, id: str, owner: str) -> Job:
    job = jobs.get(id, owner=owner)
    if job is None:
        raise HTTPException(404, "no such job; it may have been removed")
    return job


def _told(job: Job, jobs: Jobs) -> JobOut:
    running = job.state == "running" and job.began is not None
    seconds = round(time.monotonic() - (job.began or 0), 1) if running else job.seconds
    return JobOut.of(job, place=jobs.place(job), seconds=seconds)


def _answer_errors(app: FastAPI) -> None:
    """Every error as one line of JSON that quotes nothing of what was sent."""

    def answer(status: int, why: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": " ".join(why.split())}, status, headers)

    async def http(request: Request, error: StarletteHTTPException) -> Response:
        return answer(error.status_code, str(error.detail), error.headers)

    async def malformed(request: Request, error: RequestValidationError) -> Response:
        places = {".".join(str(part) for part in item["loc"]): item["msg"] for item in error.errors()}
        return answer(422, "; ".join(f"{place}: {message}" for place, message in places.items()) or "malformed")

    async def ours(request: Request, error: NnStudentError) -> Response:
        codes = ((TooLargeError, 413), (FullError, 503), (InputError, 400), (OutputError, 503), (PacsError, 502))
        status = next((code for kind, code in codes if isinstance(error, kind)), 500)
        return answer(status, "no room on the disk; try again later" if isinstance(error, OutputError) else str(error))

    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return answer(400, "the upload was broken off")  # nobody is there to read it

    async def full(request: Request, error: OSError) -> Response:
        log.error("a request failed: %s", error.strerror or type(error).__name__)  # without the file's name
        return answer(503, "the service cannot write; try again later")

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("a request met an unexpected %s", type(error).__name__)
        return answer(500, f"the service met an unexpected {type(error).__name__}; it goes on")

    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        StarletteHTTPException: http,
        RequestValidationError: malformed,
        NnStudentError: ours,
        ClientDisconnect: gone,
        OSError: full,
        Exception: unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
