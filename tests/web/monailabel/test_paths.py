from __future__ import annotations

import pytest

from nnstudent.web.monailabel.paths import carries_files, is_open, is_protocol


@pytest.mark.parametrize(
    ("path", "is_it"),
    [("/info/", True), ("/infer/x", True), ("/train", True), ("/", False), ("/information", False)],
)
def test_which_addresses_are_the_protocol_s(path, is_it):
    assert is_protocol(path) == is_it


@pytest.mark.parametrize(
    ("method", "path", "long"),
    [
        ("POST", "/infer/nnstudent", True),
        ("PUT", "/datastore/label", True),
        ("PUT", "/datastore/", True),
        ("PUT", "/session/", True),
        ("POST", "/train/nnstudent", False),
        ("POST", "/activelearning/first", False),
        ("DELETE", "/datastore/", False),
    ],
)
def test_which_requests_may_be_long(method, path, long):
    assert carries_files(method, path) == long


def test_only_the_way_in_is_open():
    assert is_open("/auth/token")
    assert not is_open("/auth/token/valid")
    assert not is_open("/info/")
