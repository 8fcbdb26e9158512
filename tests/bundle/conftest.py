from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnstudent.bundle.export import export
from tests.inference.folders import ISOTROPIC, make_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An nnU-Net model folder."""
    return make_folder(tmp_path_factory.mktemp("nnunet") / "model", ISOTROPIC, folds=(0, 1))


@pytest.fixture(scope="session")
def bundle(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of it."""
    return export(
        folder,
        tmp_path_factory.mktemp("bundles") / "bundle",
        card={"training_data": ["phantoms", "a few scans"], "cases": 7},
    )


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))
