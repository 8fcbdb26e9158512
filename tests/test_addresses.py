from __future__ import annotations

import pytest

from nnstudent.addresses import split_address
from nnstudent.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "http://[",
        "https://x:port/m.zip",
        "https://x:99999/",
        "https://a b/",
        "https://é.org/\n",
        "://\0",
    ],
)
def test_what_is_no_address_is_one_line(text):
    with pytest.raises(InputError, match="expected an address that begins with https://") as error:
        split_address(text, expected="an address that begins with https://")
    assert len(str(error.value).splitlines()) == 1


def test_the_parts_of_an_address():
    parts = split_address("https://models.example:8443/a/m.zip?x=1", expected="an address")
    assert (parts.scheme, parts.hostname, parts.port) == ("https", "models.example", 8443)
    assert (parts.path, parts.query) == ("/a/m.zip", "x=1")
