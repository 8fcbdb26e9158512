from __future__ import annotations

import pytest

from nnstudent.errors import GeometryError, InputError, MissingExtraError, NnStudentError, OutputError, require


def test_every_error_of_the_input_ends_the_command_with_2():
    for kind in (InputError, GeometryError, OutputError, MissingExtraError):
        assert issubclass(kind, NnStudentError)
        assert kind.exit_code == 2


def test_a_missing_extra_is_named():
    with pytest.raises(MissingExtraError, match=r"pip install 'nnstudent\[cluster\]'") as error:
        require("no_such_package.part", extra="cluster", why="the cluster")
    assert str(error.value).startswith("the cluster needs no_such_package,")


def test_what_is_there_is_imported():
    assert require("json", extra="none", why="x").loads("1") == 1
