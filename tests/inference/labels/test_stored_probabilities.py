"""Probabilities read back from a file, a box at a time, are those that were kept."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from nnstudent.errors import InputError
from nnstudent.inference.labels.probabilities import ProbabilityMaps
from nnstudent.inference.labels.stored_probabilities import (
    StoredProbabilities,
    store_probabilities,
)
from nnstudent.volume import Volume
from tests.inference.labels.test_probabilities import made

BOX = (slice(3, 15), slice(4, 20), slice(0, 13))


def kept(image, spec, scores) -> ProbabilityMaps:
    maps = ProbabilityMaps(image.grid)
    maps.of_network(spec, scores.frame).add(scores)
    return maps


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAL"])
def test_a_box_has_what_the_whole_has(tmp_path, axcodes):
    _, _, image = made()
    image = image.reoriented(axcodes)
    spec, scores, _ = made(image=Volume(np.ascontiguousarray(image.array), image.grid))
    maps = kept(image, spec, scores)
    store_probabilities(tmp_path / "scores.zip", maps)
    stored = StoredProbabilities(tmp_path / "scores.zip")
    whole = maps.probability("spleen").reoriented()
    assert stored.grid.matches(whole.grid)
    box = tuple(slice(0, min(12, size)) for size in whole.array.shape)
    found = stored.around("spleen", box)
    assert found.any()
    assert np.abs(found.astype(int) - whole.array[box]).max() <= 1
    assert stored.around("background", box) is None
    assert stored.around("unknown", box) is None


def test_a_later_network_decides_where_it_looked(tmp_path):
    spec, scores, image = made()
    maps = kept(image, spec, scores)
    part = (slice(4, 20), slice(5, 17), slice(6, 20))
    crop = image.cropped(part)
    _, inner, _ = made(image=Volume(np.ascontiguousarray(crop.array), crop.grid))
    sure = np.full_like(inner.values, -20)
    sure[2] = 20
    # It knows the spleen only.
    inner = replace(inner, values=sure[[0, 2]], classes=("background", "spleen"), ids=(0, 3))
    maps.of_network(spec, inner.frame, classes=inner.classes).add(inner)
    store_probabilities(tmp_path / "scores.zip", maps)
    stored = StoredProbabilities(tmp_path / "scores.zip")
    for name in ("spleen", "aorta"):
        whole = maps.probability(name).array[BOX]
        assert np.abs(stored.around(name, BOX).astype(int) - whole).max() <= 1


def test_where_no_network_looked_nothing_is_known(tmp_path):
    spec, scores, image = made()
    part = (slice(12, 24), slice(8, 20), slice(13, 25))
    crop = image.cropped(part)
    spec, scores, _ = made(image=Volume(np.ascontiguousarray(crop.array), crop.grid))
    store_probabilities(tmp_path / "scores.zip", kept(image, spec, scores))
    stored = StoredProbabilities(tmp_path / "scores.zip")
    assert stored.around("spleen", (slice(0, 11), slice(0, 6), slice(0, 12))) is None
    assert stored.around("spleen", (slice(0, 24), slice(0, 20), slice(0, 25))).any()


def test_what_takes_too_much_space_is_left_out(tmp_path):
    spec, scores, image = made()
    size = (len(spec.classes) + 1) * scores.values[0].size
    maps = ProbabilityMaps(image.grid, most_bytes=size)
    assert maps.of_network(spec, scores.frame) is not None
    assert maps.of_network(spec, scores.frame) is None
    none = ProbabilityMaps(image.grid, most_bytes=size - 1)
    assert none.of_network(spec, scores.frame) is None
    store_probabilities(tmp_path / "scores.zip", none)
    assert StoredProbabilities(tmp_path / "scores.zip").around("spleen", BOX) is None


def test_another_file_is_refused(tmp_path):
    spec, scores, image = made()
    path = tmp_path / "scores.zip"
    with pytest.raises(InputError, match="cannot be read"):
        StoredProbabilities(path)
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be read"):
        StoredProbabilities(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("index.json", '{"format": 1, "image": []}')
    with pytest.raises(InputError, match="not a file of probabilities"):
        StoredProbabilities(path)
    store_probabilities(path, kept(image, spec, scores))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data if name == "index.json" else data[:-1])
    with pytest.raises(InputError, match="is damaged"):
        StoredProbabilities(path).around("spleen", BOX)
