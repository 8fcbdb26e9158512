"""Probabilities and uncertainty beside a segmentation."""

from __future__ import annotations

import numpy as np
import pytest

from nnstudent.inference.files.options import Options
from nnstudent.inference.files.segment import segment_files
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels


@pytest.mark.parametrize("split", [False, True])
def test_they_lie_in_folders_of_their_own_and_agree_with_the_labels(
    scans, tmp_path, isotropic, split
):
    out = tmp_path / "out"
    segmenter = Segmenter(isotropic, threads=2, postprocess=())
    asked = Options(probabilities=True, uncertainty=True, split=split)
    result = segment_files(scans, out, segmenter, options=asked)
    assert result.failures == ()
    root = out / "a" if split else out
    maps = root / "probabilities" if split else root / "probabilities" / "a"
    uncertainty = read_labels(root / "uncertainty" / "a.nii.gz")
    classes = segmenter.model.classes
    assert sorted(path.name for path in maps.iterdir()) == sorted(f"{c}.nii.gz" for c in classes)
    assert str(maps / f"{classes[0]}.nii.gz") in result.rows[0]["files"]
    stack = np.stack([read_labels(maps / f"{name}.nii.gz").array for name in classes])
    background = 255 - stack.sum(axis=0, dtype=int)
    best = np.array([0, *(segmenter.taxonomy[name].id for name in classes)])[
        np.concatenate([background[None], stack]).argmax(axis=0)
    ]
    if not split:
        labels = read_labels(out / "a.nii.gz")
        assert labels.array.any()
        assert labels.grid.matches(uncertainty.grid)
        # Labels come from interpolated logits, these from interpolated probabilities.
        sure = uncertainty.array < 64
        assert np.mean(best[sure] == labels.array[sure]) > 0.999
    assert not list(out.glob("**/.nnstudent-*"))


def test_within_a_memory_limit_they_are_the_same(scans, tmp_path, isotropic, monkeypatch):
    from nnstudent.inference import memory

    asked = Options(probabilities=True, uncertainty=True, organs=("liver",))
    source = scans / "a_0000.nii.gz"
    segmenter = Segmenter(isotropic, threads=1, windows="dense")
    segment_files(source, tmp_path / "whole.nii.gz", segmenter, options=asked)
    plan = memory.plan
    least = segmenter.model.networks[0].spec.patch[0] + 1
    monkeypatch.setattr(
        memory, "plan", lambda *args, **more: memory.MemoryPlan(least, plan(*args, **more).peak_mb)
    )
    segment_files(source, tmp_path / "slabs.nii.gz", segmenter, options=asked)
    for kind in ("probabilities/{}/liver.nii.gz", "uncertainty/{}.nii.gz"):
        one, other = (
            read_labels(tmp_path / kind.format(name)).array.astype(int)
            for name in ("whole", "slabs")
        )
        assert np.abs(one - other).max() <= 1
        assert one.any()
