"""The graphs of a bundle, also damaged ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nnstudent.bundle.bundle import content_hash
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from tests.bundle.test_bundle import edit


def test_a_graph_whose_weights_are_not_finite_is_one_line_before_any_window(copy):
    path = copy / "networks" / "model.bin"
    weights = np.frombuffer(path.read_bytes()[: path.stat().st_size // 2 * 2], np.float16).copy()
    weights[: len(weights) // 2] = np.nan
    path.write_bytes(weights.tobytes())
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["files"]["networks/model.bin"] = content_hash(path)
    edit(copy, **manifest)
    with pytest.raises(InputError, match=r"model\.xml: weight .* holds NaN or infinity"):
        Segmenter(copy)


@pytest.mark.parametrize(
    "change", [{"patch": [16, 16, 16]}, {"classes": ["background", "liver", "spleen"]}]
)
def test_a_graph_of_another_network_than_the_manifest_says(copy, change):
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["spec"] |= change
    edit(copy, **manifest)
    with pytest.raises(InputError, match=r"model\.xml: takes \[.* and gives \[.*; expected"):
        Segmenter(copy)


def test_a_graph_in_another_format_is_not_opened(copy):
    path = copy / "networks" / "model.xml"
    path.write_bytes(b"\x08\x07\x12\x07pytorch" + path.read_bytes())
    manifest = json.loads((copy / "bundle.json").read_text())
    manifest["networks"][0]["files"]["networks/model.xml"] = content_hash(path)
    edit(copy, **manifest)
    with pytest.raises(InputError, match="no graph in OpenVINO's own format"):
        Segmenter(copy)
