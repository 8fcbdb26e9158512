"""The parts of a response, wherever the network cuts it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from hypothesis import given
from hypothesis import strategies as st

from nnstudent.web.pacs.multipart import Parts
from tests.web.pacs.fake import multipart


@given(
    files=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_parts_are_whole_wherever_the_body_is_cut(files, cuts, tmp_path_factory: Callable):
    folder = tmp_path_factory.mktemp("parts")
    boundary = "never-in-a-file-0123456789"
    body = multipart(files, boundary)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    with Parts(
        folder, f'multipart/related; type="application/dicom"; boundary="{boundary}"', most=9
    ) as parts:
        for start, end in pairwise(edges):
            parts.write(body[start:end])
    assert (parts.count, parts.ended) == (len(files), True)
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == files
