"""A service with a datastore whose worker is a thread that always finds the same."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnstudent.inference.labels.volumetry import write_statistics
from nnstudent.io.nifti import read_image, write_image, write_labels
from nnstudent.volume import Grid, Volume
from nnstudent.web.job import Job
from nnstudent.web.service import Service
from nnstudent.web.settings import Settings
from tests.web.conftest import answering
from tests.web.protocol import Client

GRID = Grid((4, 6, 8), np.diag([2.0, 2.0, 3.0, 1.0]))
LIVER, SPLEEN, GALLBLADDER = 1, 3, 9  # ids of FLARE's table


def labels_with(**boxes: tuple[int, int]) -> Volume:
    """A label map with a box along x for each class, from one index to another."""
    ids = {"liver": LIVER, "spleen": SPLEEN, "gallbladder": GALLBLADDER}
    array = np.zeros(GRID.shape, np.uint8)
    for name, (start, stop) in boxes.items():
        array[1:3, 2:4, start:stop] = ids[name]
    return Volume(array, GRID)


FOUND = labels_with(liver=(0, 3), gallbladder=(5, 7))  # what the stand-in for the worker finds


@dataclass
class Serving:
    """A service with a datastore of two scans, p1 and p2; a thread stands in for its worker."""

    service: Service
    address: str
    folder: Path

    def client(self, name: str = "slicer-1", token: str = "") -> Client:
        return Client(self.address, name, token)


def make_scans(folder: Path) -> Path:
    """Make a folder of two scans, p1 and p2."""
    for name in ("p1", "p2"):
        (folder / name).mkdir(parents=True)
        hu = np.full(GRID.shape, 40, np.int16)
        hu[0, 0, 0] = int(name[1])
        write_image(folder / name / "ct.nii.gz", Volume(hu, GRID))
    return folder


@contextmanager
def served(settings: Settings) -> Iterator[Serving]:
    """A service with these settings whose worker is a thread that always finds the same."""
    with answering(settings) as (service, address):
        ended = threading.Event()
        worker = threading.Thread(target=_work, args=(service, ended), daemon=True)
        worker.start()
        try:
            yield Serving(service, address, settings.datastore or Path())
        finally:
            ended.set()
            worker.join(timeout=10)


def _work(service: Service, ended: threading.Event) -> None:
    while not ended.is_set():
        job = service.jobs.take_next(timeout=0.1)
        if job is not None:
            _segment(service, job)


def _segment(service: Service, job: Job) -> None:
    write_labels(job.output / "labels.nii.gz", FOUND)
    if job.kind == "image":
        shutil.copyfile(job.source, job.output / "image.nii.gz")
    else:
        write_image(job.output / "image.nii.gz", read_image(job.source))
    rows = [
        (job.name, name, "1.0", "50", "10", "no", str(sure), "", "", "", "")
        for name, sure in (("liver", 0.9), ("gallbladder", 0.4))
    ]
    write_statistics(job.output / "statistics.csv", rows)
    organs = [
        {"id": id, "name": name, "volume_ml": 1.0, "confidence": sure, "touches_border": False}
        for id, name, sure in ((LIVER, "liver", 0.9), (GALLBLADDER, "gallbladder", 0.4))
    ]
    service.jobs.finish(job, files=["image.nii.gz", "labels.nii.gz"], organs=organs)
