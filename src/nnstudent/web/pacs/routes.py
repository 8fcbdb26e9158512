"""The routes by which a PACS' studies are listed and segmented."""

from __future__ import annotations

from collections.abc import Callable
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import APIRouter, Path, Query

from nnstudent.web.access import Owner
from nnstudent.web.job import Job
from nnstudent.web.jobs import FullError
from nnstudent.web.pacs.client import Pacs, Study
from nnstudent.web.pacs.fetch import Fetcher
from nnstudent.web.schema import JobOut

_QUERIES = 4
UID = Annotated[str, Path(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$")]


def add_pacs_routes(
    router: APIRouter, pacs: Pacs, fetcher: Fetcher, *, told: Callable[[Job], JobOut]
) -> None:
    """Add the routes.

    Args:
        router: To this router.
        pacs: Where studies are.
        fetcher: Fetches them.
        told: What is told of a job.
    """
    asking = BoundedSemaphore(
        _QUERIES
    )  # a PACS that is slow must not take all the threads that answer

    @router.get("/api/pacs/studies")
    def studies(
        days: Annotated[int, Query(ge=0, le=36500)] = 7,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        accession: Annotated[str, Query(max_length=16, pattern=r"^[^*?\\]*$")] = "",
    ) -> list[Study]:
        """The PACS' CT studies of the last days, newest first; or those of an accession number."""
        if not asking.acquire(blocking=False):
            raise FullError(
                f"{_QUERIES} queries of the PACS are under way; try again when one of them is answered"
            )
        try:
            return pacs.studies(days=days, limit=limit, accession=accession)
        finally:
            asking.release()

    @router.post("/api/pacs/studies/{uid}", status_code=201)
    def segment(uid: UID, owner: Owner) -> JobOut:
        """Segment a study: its CT is fetched from the PACS, and the DICOM-SEG stored in it."""
        return told(fetcher.ask(uid, owner=owner))
