from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from nnstudent.bundle.export import export
from nnstudent.cohort.cohort import Case
from nnstudent.io.nifti import write_image
from nnstudent.pipeline.efficiency import choose_by_size, measure
from nnstudent.volume import Grid, Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder


def _case(folder: Path, slices: int) -> Case:
    path = folder / f"case_{slices:02}.nii.gz"
    shape = (slices, 4, 4)
    write_image(path, Volume(np.zeros(shape, np.int16), Grid(shape, np.eye(4))))
    return Case(path.name.removesuffix(".nii.gz"), path)


def test_the_sizes_are_spread_from_the_smallest_to_the_largest(tmp_path: Path) -> None:
    cases = [_case(tmp_path, slices) for slices in (9, 2, 7, 5, 3, 8, 4, 6)]
    assert [case.id for case in choose_by_size(cases, most=3)] == ["case_02", "case_06", "case_09"]
    assert len(choose_by_size(cases, most=8)) == len(cases)
    (tmp_path / "case_02.nii.gz").write_bytes(b"no image")
    assert [case.id for case in choose_by_size(cases, most=2)] == ["case_03", "case_09"]


def test_a_case_is_segmented_by_a_process_of_its_own_and_what_fails_is_named(
    tmp_path: Path,
) -> None:
    # A bundle, whose process does not import torch.
    model = export(make_folder(tmp_path / "model", ISOTROPIC), tmp_path / "bundle")
    image = tmp_path / "ct.nii.gz"
    write_image(image, blobs((20, 24, 28), (2.0, 2.0, 2.0)))
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no image")
    failures = measure(
        [Case("good", image), Case("broken", broken)], model, out=tmp_path / "out", threads=1
    )
    assert [item.case for item in failures] == ["broken"]
    assert "exit code 2" in failures[0].reason
    found = json.loads((tmp_path / "out" / "good.json").read_text())["profile"]
    assert found["exit_code"] == 0
    assert found["wall_seconds"] > 0.1
    assert found["peak_rss_mb"] > 50
    assert not (tmp_path / "out" / "broken.json").exists()
