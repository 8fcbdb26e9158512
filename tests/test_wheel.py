"""What somebody gets who only segments: the built wheel in a clean environment, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT

LIMIT_MB = 450
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel and what it asks for, nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = folder.glob("nnstudent-*.whl")
    venv.create(folder / "env", with_pip=True, symlinks=True)
    binaries = folder / "env" / "bin"
    install = [binaries / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel]
    subprocess.run(install, check=True, timeout=540)
    return binaries


def run(command: list[object], cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300)
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
    assert sum(ours.values()) / 1e6 < LIMIT_MB, sorted(((size // 10**6, name) for name, size in ours.items()), reverse=True)[:8]


def test_it_segments_a_scan_with_the_bundled_student(clean: Path, tmp_path: Path) -> None:
    run([clean / "nnstudent", "phantom", "patients", "--cases", "1", "--seed", "5", "--preset", "tiny"], tmp_path)
    (image,) = (tmp_path / "patients" / "images").glob("*.nii.gz")
    run([clean / "nnstudent", "segment", image, "-o", "labels.nii.gz", "--preview", "--report", "report.json"], tmp_path)
    scan, labels = nib.load(image), nib.load(tmp_path / "labels.nii.gz")
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine)
    (case,) = json.loads((tmp_path / "report.json").read_text())["cases"]
    assert case["organs"]["liver"]["volume_ml"] > 300
    assert list(tmp_path.glob("*.png"))
