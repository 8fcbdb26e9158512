"""Error responses: one line of JSON that quotes nothing of the request.

Its key is ``error``, or ``detail`` in answers of the datastore's protocol.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.web.datastore.scans import ConflictError, NotFoundError
from nnstudent.web.forms import TooLargeError
from nnstudent.web.jobs import FullError
from nnstudent.web.monailabel.paths import is_protocol
from nnstudent.web.pace import TooSlowError
from nnstudent.web.pacs.errors import PacsError
from nnstudent.web.schema import Problem

log = logging.getLogger(__name__)

_DISK_FULL = "not enough disk space; try again later"
_CODES = (
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (TooSlowError, 408),
    (FullError, 503),
    (InputError, 400),
    (OutputError, 503),
    (PacsError, 502),
)
PROBLEMS = (400, 401, 403, 404, 408, 411, 413, 421, 422, 429, 500, 502, 503)


def describe_problems(description: dict[str, Any]) -> None:
    """Add to an OpenAPI description that every operation may answer with an error.

    Declared with the routes instead, each error of each route would become a type of its own,
    which takes most of the time that the application needs to start.
    """
    schemas = description["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):  # ours are one line
        schemas.pop(unused, None)
    schemas[Problem.__name__] = Problem.model_json_schema()
    reference = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    for operations in description["paths"].values():
        for operation in operations.values():
            operation["responses"] |= {
                str(code): {
                    "description": HTTPStatus(code).phrase,
                    "content": {"application/json": {"schema": reference}},
                }
                for code in PROBLEMS
            }


def answer_errors(app: FastAPI) -> None:
    """Make an application answer every error with ``{"error": "one line"}``."""
    handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
        HTTPException: _http,
        RequestValidationError: _malformed,
        NnStudentError: _ours,
        ClientDisconnect: _gone,
        OSError: _full,
        Exception: _unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def _answer(request: Request, status: int, why: str, headers: Any = None) -> JSONResponse:
    datastore = getattr(request.app.state, "datastore", False)
    key = "detail" if datastore and is_protocol(request.url.path) else "error"
    return JSONResponse({key: " ".join(why.split())}, status, headers)


async def _http(request: Request, error: HTTPException) -> Response:
    return _answer(request, error.status_code, str(error.detail), error.headers)


async def _malformed(request: Request, error: RequestValidationError) -> Response:
    places = {".".join(str(part) for part in item["loc"]): item["msg"] for item in error.errors()}
    return _answer(
        request,
        422,
        "; ".join(f"{place}: {message}" for place, message in places.items()) or "malformed",
    )


async def _ours(request: Request, error: NnStudentError) -> Response:
    status = next((code for kind, code in _CODES if isinstance(error, kind)), 500)
    answer = _answer(request, status, _DISK_FULL if isinstance(error, OutputError) else str(error))
    if status == 408:
        answer.headers["Connection"] = "close"
    return answer


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return _answer(request, 400, "the connection was closed during the upload")  # nobody reads it


async def _full(request: Request, error: OSError) -> Response:
    why = error.strerror or type(error).__name__  # without the file's name
    log.error("a request failed: %s", why)
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    return _answer(
        request,
        503,
        _DISK_FULL if full else "the service cannot write to its disk; try again later",
    )


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("a request raised an unexpected %s", type(error).__name__)
    return _answer(
        request, 500, f"unexpected error in the service ({type(error).__name__}); it keeps running"
    )
