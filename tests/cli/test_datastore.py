from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from nnstudent.cli.datastore import add_datastore, check_datastore
from nnstudent.errors import InputError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--learn", "demo"], "--learn without --datastore"),
        (["--rehearse", "fused"], "--rehearse without --datastore"),
        (["--allow-origin", "http://a.example"], "--allow-origin without --datastore"),
        (["--datastore", "scans", "--rehearse", "fused"], "--rehearse without --learn"),
    ],
)
def test_an_option_that_lacks_another_is_refused(given, words):
    with pytest.raises(InputError, match=words):
        check_datastore(_parsed(given))


def test_a_datastore_alone_is_enough():
    args = _parsed(["--datastore", "scans"])
    check_datastore(args)
    assert args.datastore == Path("scans")


def _parsed(given):
    parser = argparse.ArgumentParser()
    add_datastore(parser.add_argument_group())
    return parser.parse_args(given)
