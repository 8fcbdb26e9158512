"""What somebody gets who only segments: the built wheel in a clean environment, without torch."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT

LIMIT_MB = 450


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that ``make dist`` built and names in NNSTUDENT_WHEEL, or else one of this tree."""
    if given := os.environ.get("NNSTUDENT_WHEEL"):
        return Path(given).resolve()
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True, timeout=300)
    (built,) = folder.glob("nnstudent-*.whl")
    return built


def install(binaries: Path, what: str) -> None:
    command = [binaries / "python", "-m", "pip", "install", "--quiet"]
    command += ["--constraint", ROOT / "constraints.txt", what]
    subprocess.run(command, check=True, timeout=540)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Iterator[Path]:
    """The bin folder of a new environment that has the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("light") / "env"
    venv.create(folder, with_pip=True, symlinks=True)
    install(folder / "bin", str(wheel))
    yield folder / "bin"
    shutil.rmtree(folder)  # half a gigabyte, which pytest would keep


def run(command: list[object], cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_small_and_has_no_torch(clean: Path, tmp_path: Path) -> None:
    code = """
import importlib.metadata as m, json
sizes = {d.name: sum(f.locate().stat().st_size for f in d.files or () if f.locate().is_file()) for d in m.distributions()}
print(json.dumps(sizes))
"""
    sizes = json.loads(run([clean / "python", "-c", code], tmp_path))
    ours = {name: size for name, size in sizes.items() if name not in ("pip", "setuptools")}
    assert not {"torch", "nnunetv2", "SimpleITK", "scikit-image"} & set(ours)
    assert sum(ours.values()) / 1e6 < LIMIT_MB, sorted(
        ((size // 10**6, name) for name, size in ours.items()), reverse=True
    )[:8]


def test_it_segments_a_scan_with_the_bundled_student(clean: Path, tmp_path: Path) -> None:
    run(
        [
            clean / "nnstudent",
            "phantom",
            "patients",
            "--cases",
            "1",
            "--seed",
            "5",
            "--preset",
            "tiny",
        ],
        tmp_path,
    )
    (image,) = (tmp_path / "patients" / "images").glob("*.nii.gz")
    run(
        [
            clean / "nnstudent",
            "segment",
            image,
            "-o",
            "labels.nii.gz",
            "--preview",
            "--report",
            "report.json",
        ],
        tmp_path,
    )
    scan, labels = nib.load(image), nib.load(tmp_path / "labels.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine)
    (case,) = json.loads((tmp_path / "report.json").read_text())["cases"]
    assert case["organs"]["liver"]["volume_ml"] > 300
    assert list(tmp_path.glob("*.png"))


PAGE = ("nnstudent/web/page/index.html", "nnstudent/report/viewer/viewer.js.gz")


def test_it_carries_the_page_and_nothing_of_how_it_is_built(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    assert not [
        name
        for name in carried
        if "node_modules" in name or name.endswith((".ts", ".map")) or name.startswith("frontend")
    ]
    assert set(PAGE) <= carried, "the page was not built before the wheel: make web"


def test_its_page_opens(wheel: Path, clean: Path, tmp_path: Path) -> None:
    """The last test, because it adds to the environment."""
    install(clean, f"{wheel}[web]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [clean / "nnstudent", "serve", "--port", str(port), "--work", tmp_path / "work"]
    process = subprocess.Popen([str(part) for part in command], cwd=tmp_path)
    try:
        for address, part in (("", b"<title>nnStudent"), ("viewer.js", b"webgl2")):
            assert part in fetched(f"http://127.0.0.1:{port}/{address}")
        assert json.loads(fetched(f"http://127.0.0.1:{port}/api/about"))["model"]["bundled"]
    finally:
        process.terminate()
        process.wait(30)


def fetched(address: str, *, patience: float = 60) -> bytes:
    """The answer at an address, as soon as somebody answers there."""
    end = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                body = answer.read()
                return (
                    gzip.decompress(body) if answer.headers["Content-Encoding"] == "gzip" else body
                )
        except (ConnectionError, urllib.error.URLError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
