"""What the options of ``export`` that hold more than a word are read as."""

from __future__ import annotations

import json

import pytest

from nnstudent.bundle.spec import HostRule
from nnstudent.cli import export_options as options
from nnstudent.errors import InputError


def test_what_is_left_out_is_nothing():
    assert options.shift(None) == {}
    assert options.window(None) is None
    assert options.grid(None, option="--finer-grid") is None


def test_numbers_are_read():
    assert options.shift("liver=-1, spleen=0.5") == {"liver": -1.0, "spleen": 0.5}
    assert options.window("48, 96,64") == (48, 96, 64)
    assert options.grid("3,2.5,2.25", option="--finer-grid") == (3.0, 2.5, 2.25)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: options.shift("liver"), "--shift liver; expected a class and a number each"),
        (lambda: options.window("48,96"), "--window 48,96; expected three numbers of voxels"),
        (lambda: options.window("48,0,96"), "--window 48,0,96; expected three numbers"),
        (
            lambda: options.grid("3,fine,2", option="--lesion-grid"),
            "--lesion-grid 3,fine,2; expected three spacings in mm",
        ),
    ],
)
def test_what_is_no_number_is_refused_by_its_option(read, said):
    with pytest.raises(InputError, match=said):
        read()


def test_hosts_are_rules_by_organ(tmp_path):
    path = tmp_path / "hosts.json"
    path.write_text(json.dumps({"liver": {"threshold": 0.4, "least_ml": 0.3}}))
    assert options.hosts(path) == {"liver": HostRule(0.4, 0.3)}
    path.write_text("{}")
    with pytest.raises(InputError, match="expected a table of organs"):
        options.hosts(path)
