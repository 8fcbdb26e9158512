"""Routes that list and segment the studies of a PACS."""

from __future__ import annotations

from collections.abc import Callable
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import APIRouter, Path, Query

from nnstudent.web.access import Owner
from nnstudent.web.job import Job
from nnstudent.web.jobs import FullError
from nnstudent.web.pacs.client import PacsClient, Study
from nnstudent.web.pacs.fetch import Fetcher
from nnstudent.web.schema import JobOut

_QUERIES = 4  # at a time, because a slow PACS must not occupy all threads that answer requests
UID = Annotated[str, Path(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$")]


def add_pacs_routes(
    router: APIRouter, client: PacsClient, fetcher: Fetcher, *, job_out: Callable[[Job], JobOut]
) -> None:
    """Add the routes.

    Args:
        router: The router to add them to.
        client: The PACS.
        fetcher: Fetches studies from it.
        job_out: Describes a job to its owner.
    """
    querying = BoundedSemaphore(_QUERIES)

    @router.get("/api/pacs/studies")
    def studies(
        days: Annotated[int, Query(ge=0, le=36500)] = 7,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        accession: Annotated[str, Query(max_length=16, pattern=r"^[^*?\\]*$")] = "",
    ) -> list[Study]:
        """List the CT studies of the last days, newest first; or those of an accession number."""
        if not querying.acquire(blocking=False):
            raise FullError(
                f"{_QUERIES} queries of the PACS are running; try again when one has finished"
            )
        try:
            return client.studies(days=days, limit=limit, accession=accession)
        finally:
            querying.release()

    @router.post("/api/pacs/studies/{uid}", status_code=201)
    def segment(uid: UID, owner: Owner) -> JobOut:
        """Segment a study: fetch its CT from the PACS and store the DICOM-SEG there."""
        return job_out(fetcher.request(uid, owner=owner))
