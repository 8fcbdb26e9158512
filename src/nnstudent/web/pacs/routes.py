"""The routes by which a PACS' studies are listed and segmented."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Path, Query

from nnstudent.web.access import Owner
from nnstudent.web.jobs import Job
from nnstudent.web.pacs.client import Pacs, Study
from nnstudent.web.pacs.fetch import Fetcher
from nnstudent.web.schema import JobOut

UID = Annotated[str, Path(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$")]


def add_pacs_routes(app: FastAPI, pacs: Pacs, fetcher: Fetcher, *, told: Callable[[Job], JobOut]) -> None:
    """Add the routes.

    Args:
        app: To this application.
        pacs: Where studies are.
        fetcher: Fetches them.
        told: What is told of a job.
    """

    @app.get("/api/pacs/studies")
    def studies(
        days: Annotated[int, Query(ge=0, le=36500)] = 7,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        accession: Annotated[str, Query(max_length=16, pattern=r"^[^*?\\]*$")] = "",
    ) -> list[Study]:
        """The PACS' CT studies of the last days, newest first; or those of an accession number."""
        return pacs.studies(days=days, limit=limit, accession=accession)

    @app.post("/api/pacs/studies/{uid}", status_code=201)
    def segment(uid: UID, owner: Owner) -> JobOut:
        """Segment a study: its CT is fetched from the PACS, and the DICOM-SEG stored in it."""
        return told(fetcher.ask(uid, owner=owner))
