from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.training.properties import read_properties


class Boobytrap:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_what_nnunet_writes_is_read(tmp_path: Path, protocol: int) -> None:
    written = {
        "nibabel_stuff": {
            "original_affine": np.eye(4),
            "reoriented_affine": np.eye(4, dtype=np.float32),
        },
        "spacing": [2.0, 1.0, np.float64(1.0)],
        "shape_before_cropping": (3, 4, 5),
        "class_locations": {1: np.array([[0, 1, 2, 3]]), (1, 2): []},
    }
    (tmp_path / "case.pkl").write_bytes(pickle.dumps(written, protocol))
    if protocol == 2:  # arrays of this protocol go by way of another module; nnU-Net writes 4 or 5
        with pytest.raises(InputError, match=r"it asks for _codecs\.encode"):
            read_properties(tmp_path / "case.pkl")
        return
    read = read_properties(tmp_path / "case.pkl")
    np.testing.assert_array_equal(read["class_locations"][1], written["class_locations"][1])
    np.testing.assert_array_equal(read["nibabel_stuff"]["original_affine"], np.eye(4))
    assert read["spacing"] == written["spacing"]


def test_nothing_is_executed(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    (tmp_path / "case.pkl").write_bytes(pickle.dumps({"x": Boobytrap(str(trap))}))
    with pytest.raises(InputError, match=r"case\.pkl: .*it asks for (posix|nt)\.mkdir"):
        read_properties(tmp_path / "case.pkl")
    assert not trap.exists()


@given(content=st.binary(max_size=200))
def test_any_bytes_are_properties_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("pickles", numbered=True) / "case.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError):
        read_properties(path)
