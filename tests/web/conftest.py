from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra [web] is not installed")

import httpx2 as httpx
from fastapi.testclient import TestClient

from nnstudent.io.nifti import write_image
from nnstudent.phantom import make_case
from nnstudent.web.app import create_app
from nnstudent.web.server import make_server
from nnstudent.web.service import Service
from nnstudent.web.settings import Limits, Settings
from tests.io.series import Series

ADDRESS = "http://localhost"


@dataclass(eq=False)
class Running:
    """A service that listens on loopback, with its worker."""

    service: Service
    address: str

    def client(self, **more: Any) -> httpx.Client:
        """Somebody with cookies of their own."""
        return httpx.Client(base_url=self.address, timeout=60, **more)


@pytest.fixture(scope="session")
def long_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic CT of several windows, for who wants to come between them."""
    path = tmp_path_factory.mktemp("phantom") / "long.nii.gz"
    write_image(path, make_case(1, preset="tiny", slices=24).image)
    return path


@pytest.fixture(scope="session")
def phantom(long_phantom: Path) -> Path:
    """The middle of it, one window."""
    path = long_phantom.with_name("phantom.nii.gz")
    nib.save(nib.load(long_phantom).slicer[20:76, 20:76], path)
    return path


@pytest.fixture(scope="session")
def phantom_series(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a DICOM series whose headers name a patient."""
    return series_of(phantom).write(tmp_path_factory.mktemp("series") / "study")


def series_of(path: Path, **how: Any) -> Series:
    """A NIfTI image as a DICOM series whose headers name a patient."""
    image = nib.as_closest_canonical(nib.load(path))
    hu = np.asarray(image.dataobj)[::-1, ::-1].T  # increasing to the patient's left, back and head
    spacing = [float(mm) for mm in np.linalg.norm(image.affine[:3, :3], axis=0)]
    return Series(
        stored=np.clip(hu.astype(int) + 1024, 0, 65535),
        spacing=(spacing[1], spacing[0], spacing[2]),
        **how,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "work", threads=1)


def limited(settings: Settings, **limits: Any) -> Settings:
    """The same settings with other limits."""
    return replace(settings, limits=replace(Limits(), **limits))


@contextmanager
def taking_in(settings: Settings) -> Iterator[tuple[Service, Callable[..., TestClient]]]:
    """A service without a worker, so that jobs stay queued, and a factory of clients (users)."""
    service = Service(settings)
    try:
        app = create_app(service)
        yield service, lambda **how: TestClient(app, **{"base_url": ADDRESS, **how})
    finally:
        service.stop()


@contextmanager
def answering(settings: Settings) -> Iterator[tuple[Service, str]]:
    """A service without a worker over real HTTP, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        service = Service(replace(settings, port=port))
        service.parts.remove(service.runner)
        server = make_server(create_app(service), settings.limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield service, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            service.stop()


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    """A service at work, over real HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        service = Service(replace(settings, port=port))
        server = make_server(create_app(service), settings.limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Running(service, f"http://127.0.0.1:{port}")
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            service.stop()


def upload(
    client: Any,
    *files: Path | tuple[str, bytes],
    names: Callable[[Path], str] = lambda path: path.name,
) -> Any:
    """POST files as the page does."""
    parts = [
        file if isinstance(file, tuple) else (names(file), file.read_bytes()) for file in files
    ]
    return client.post("/api/jobs", files=[("files", (name, content)) for name, content in parts])


def wait_for(client: Any, id: str, *states: str, seconds: float = 120) -> dict[str, Any]:
    """Ask until a job is in one of these states."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = client.get(f"/api/jobs/{id}").json()
        if job["state"] in states:
            return dict(job)
        time.sleep(0.1)
    raise AssertionError(f"not {' or '.join(states)} in {seconds} s: {job}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def served(settings):
    with taking_in(limited(settings, upload_bytes=100_000, files=20)) as (service, client):
        yield service, client()


@pytest.fixture
def client(settings):
    with taking_in(settings) as (_, client):
        yield client()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of two scans, p1 and p2."""
    from tests.web.served import make_scans

    return make_scans(tmp_path / "scans")


@pytest.fixture
def serving(scans: Path, tmp_path: Path) -> Iterator[Any]:
    """A service with these scans as datastore; a thread stands in for its worker."""
    from tests.web.served import served

    with served(Settings(tmp_path / "work", datastore=scans)) as found:
        yield found


@pytest.fixture
def label(tmp_path: Path) -> Callable[..., Path]:
    """Write a label map to a file."""
    from nnstudent.io.nifti import write_labels

    def write(volume: Any, name: str = "label.nii.gz") -> Path:
        path = tmp_path / name
        write_labels(path, volume)
        return path

    return write
