"""The containers' entry points run as in the container, on the contracts' folders and names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnstudent.cli import main
from tests.conftest import ROOT

FLARE, GRAND = ROOT / "docker" / "flare", ROOT / "docker" / "grand-challenge"
MODEL = ROOT / "src" / "nnstudent" / "bundle" / "student"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not FLARE.is_dir(), reason="no containers here: they are not part of the source package"
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="the containers are Linux"),
]


def start(command: list[str], **variables: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = (
        os.environ
        | {"PATH": path, "MODEL": str(MODEL)}
        | {name: str(value) for name, value in variables.items()}
    )
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    assert main(["phantom", str(folder), "--cases", "1", "--seed", "5", "--preset", "tiny"]) == 0
    (image,) = (folder / "images").glob("*.nii.gz")
    return image


@pytest.fixture(scope="module")
def flare(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the FLARE container makes of a scan."""
    folder = tmp_path_factory.mktemp("workspace")
    (folder / "inputs").mkdir()
    (folder / "inputs" / "FLARETs_0001_0000.nii.gz").write_bytes(scan.read_bytes())
    done = start(
        ["/bin/bash", "-c", f"sh {FLARE / 'predict.sh'}"],
        INPUTS=folder / "inputs",
        OUTPUTS=folder / "outputs",
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (folder / "outputs").iterdir()] == ["FLARETs_0001.nii.gz"]
    return folder / "outputs" / "FLARETs_0001.nii.gz"


def test_flare_gets_labels_on_the_scans_grid(scan: Path, flare: Path) -> None:
    image, labels = nib.load(scan), nib.load(flare)
    assert labels.shape == image.shape
    np.testing.assert_allclose(labels.affine, image.affine)
    assert labels.get_data_dtype() == np.uint8
    assert {1, 3} <= set(np.unique(labels.dataobj)) <= set(range(15))


def test_grand_challenge_gets_the_same_labels(scan: Path, flare: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="MetaImage needs the extra [mha]")
    place = tmp_path / "input" / "images" / "ct"
    place.mkdir(parents=True)
    image = sitk.ReadImage(str(scan))
    sitk.WriteImage(image, str(place / "1f2e.mha"))
    done = start(
        [sys.executable, str(GRAND / "process.py")],
        INPUT=tmp_path / "input",
        OUTPUT=tmp_path / "output",
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    (written,) = (path for path in (tmp_path / "output").rglob("*") if path.is_file())
    assert written == tmp_path / "output" / "images" / "organ-segmentation" / "1f2e.mha"
    labels = sitk.ReadImage(str(written))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(labels, name)(), getattr(image, name)(), atol=1e-5)
    array, expected = sitk.GetArrayFromImage(labels), np.asarray(nib.load(flare).dataobj).T
    assert array.dtype == np.uint8
    assert (array == expected).mean() > 0.9999  # NIfTI keeps its affine in single precision
    assert (array > 0).any()


@pytest.mark.parametrize("held", [{}, {"a.mha": b"no image"}, {"a.mha": b"", "b.mha": b""}])
def test_a_job_that_cannot_be_done_fails_in_one_line(
    tmp_path: Path, held: dict[str, bytes]
) -> None:
    pytest.importorskip("SimpleITK", reason="MetaImage needs the extra [mha]")
    place = tmp_path / "input" / "images" / "ct"
    place.mkdir(parents=True)
    for name, content in held.items():
        (place / name).write_bytes(content)
    done = start(
        [sys.executable, str(GRAND / "process.py")],
        INPUT=tmp_path / "input",
        OUTPUT=tmp_path / "output",
    )
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "expected" in done.stderr
    assert not (tmp_path / "output").exists()
