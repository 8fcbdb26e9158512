"""The web application of the service, assembled from its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

import nnstudent
from nnstudent.web.access import Access
from nnstudent.web.datastore.routes import add_datastore_routes
from nnstudent.web.monailabel.routes import add_protocol_routes
from nnstudent.web.page import Page
from nnstudent.web.problems import answer_errors, describe_problems
from nnstudent.web.routes import (
    add_about_routes,
    add_job_routes,
    add_session_route,
    add_upload_route,
    job_out,
)
from nnstudent.web.service import Service


class _Application(FastAPI):
    """An application whose description also names the errors."""

    def openapi(self) -> dict[str, Any]:
        description = super().openapi()
        describe_problems(description)
        return description


def create_app(service: Service) -> FastAPI:
    """Create the application; the service starts and stops with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await run_in_threadpool(service.stop)

    app = _Application(
        title="nnStudent",
        version=nnstudent.__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # these two pages load scripts from other servers
        redoc_url=None,
        # Versions that know this option have it on by default.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        lifespan=lifespan,
    )
    app.add_middleware(Access, settings=service.settings, sessions=service.sessions)
    app.state.datastore = service.datastore is not None
    answer_errors(app)
    add_about_routes(app.router, service)
    add_session_route(app.router, service)
    add_upload_route(app.router, service)
    add_job_routes(app.router, service)
    _add_pacs_routes(app.router, service)
    if service.datastore is not None:
        add_datastore_routes(app.router, service, service.datastore)
        add_protocol_routes(app.router, service, service.datastore)
    _add_page_routes(app.router)
    _answer_head(app)
    return app


def _add_pacs_routes(router: APIRouter, service: Service) -> None:
    pacs = service.pacs
    if pacs.client is not None and pacs.fetcher is not None:
        from nnstudent.web.pacs.routes import add_pacs_routes  # needs libraries for the PACS

        add_pacs_routes(
            router, pacs.client, pacs.fetcher, job_out=lambda job: job_out(job, service.jobs)
        )


def _add_page_routes(router: APIRouter) -> None:
    page = Page()

    @router.get("/api/{rest:path}", include_in_schema=False)
    def nothing(rest: str) -> None:
        raise HTTPException(404, "no such route; /api/openapi.json lists all")

    @router.get("/{name:path}", include_in_schema=False)
    def asset(name: str) -> Response:
        found = page.get(name)
        if found is None:
            raise HTTPException(404, "no such page")
        return found


def _answer_head(app: FastAPI) -> None:
    """Answer HEAD wherever GET is answered; the OpenAPI description only names GET."""
    for route in list(app.router.routes):
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            head = copy(route)
            head.methods, head.include_in_schema = {"HEAD"}, False
            app.router.routes.append(head)
