from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.web.jobs import Jobs
from nnstudent.web.pacs.client import PacsClient
from nnstudent.web.pacs.dicomweb import DicomWeb
from nnstudent.web.pacs.receive import Receiver
from nnstudent.web.settings import Limits
from tests.io.series import Series
from tests.web.pacs.fake import Fake

LIMITS = Limits(upload_bytes=1_000_000, disk_bytes=3_000_000)
STUDY = "1.2.3"
QUIET = 0.3  # seconds after which a study that comes is complete


def until(true, *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def series() -> Series:
    return Series(number=7)


@pytest.fixture
def fake(series) -> Iterator[Fake]:
    made = Fake(series)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def pacs(fake) -> PacsClient:
    return PacsClient(DicomWeb(fake.url, waits=(0, 0)))


@pytest.fixture
def folder(tmp_path):
    (made := tmp_path / "input").mkdir()
    return made


@pytest.fixture
def queue(tmp_path) -> Jobs:
    """Jobs of a service that fetches and delivers."""
    return Jobs(tmp_path / "jobs", LIMITS)


@pytest.fixture
def limits() -> Limits:
    return Limits(files=20, upload_bytes=100_000)


@pytest.fixture
def jobs(tmp_path, limits) -> Jobs:
    """Jobs of a service that receives."""
    return Jobs(tmp_path / "jobs", limits)


@pytest.fixture
def receiver(jobs, limits) -> Iterator[Receiver]:
    made = Receiver(
        jobs,
        limits,
        listen=("127.0.0.1", 0),
        title="NNSTUDENT",
        callers=("SCANNER",),
        quiet_seconds=QUIET,
    )
    made.start()
    yield made
    made.stop()
