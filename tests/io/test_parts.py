"""Which cases are in which part, and which parts have ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.errors import InputError
from nnstudent.io.parts import (
    WHOLE,
    Part,
    begin_part,
    end_part,
    forget_parts,
    interleaved,
    parse_part,
    parts,
    read_parts,
    unfinished,
)


@given(count=st.integers(0, 30), of=st.integers(1, 8))
def test_the_parts_are_everything_once_and_interleave_in_order(count, of):
    shares = [part.of(range(count)) for part in parts(of)]
    assert interleaved(shares) == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    "text", ["3/2", "0/2", "1/0", "1", "a/b", "/", "1/2/3", "-1/2", "9" * 5000]
)
def test_a_part_that_there_is_not_is_refused(text):
    with pytest.raises(InputError, match="expected I/N"):
        parse_part(text)


def test_names():
    part = parse_part("2/8")
    assert (str(part), part.name, part.share) == ("2/8", "2-of-8", "2 of 8")
    assert WHOLE.share == ""


def test_a_part_that_died_is_named_until_it_is_repeated(tmp_path):
    def end(part: Part, settings: object = "same") -> None:
        begin_part(tmp_path, part)
        end_part(tmp_path, part, settings=settings, data={"cases": [str(part)]})

    assert unfinished(tmp_path) == ()
    for part in (Part(3, 3), Part(1, 3)):
        end(part)
    assert unfinished(tmp_path) == (Part(2, 3),)
    with pytest.raises(InputError, match=r"part 2/3 has not ended; run: verb --part 2/3"):
        read_parts(tmp_path, 3, settings="same", again="verb")
    end(Part(2, 3))
    read = read_parts(tmp_path, 3, settings="same", again="verb")
    assert [record.get("cases", list) for record in read] == [["1/3"], ["2/3"], ["3/3"]]
    begin_part(tmp_path, Part(1, 3))  # called again, and killed
    assert unfinished(tmp_path) == (Part(1, 3),)
    end(Part(1, 3), settings="other")
    with pytest.raises(InputError, match="part 1/3 was run with other options"):
        read_parts(tmp_path, 3, settings="same", again="verb")


def test_one_complete_set_is_enough_and_a_whole_call_forgets_all(tmp_path):
    end_part(tmp_path, Part(1, 4), settings=None, data={})
    for part in parts(2):
        end_part(tmp_path, part, settings=None, data={})
    assert unfinished(tmp_path) == ()
    forget_parts(tmp_path)
    with pytest.raises(InputError, match="parts 1/2, 2/2 have not ended"):
        read_parts(tmp_path, 2, settings=None, again="verb")


def test_a_damaged_record_is_one_line(tmp_path):
    end_part(tmp_path, Part(1, 1), settings=None, data={})
    (tmp_path / ".parts" / "1-of-1.json").write_text("{")
    with pytest.raises(InputError, match="1-of-1"):
        read_parts(tmp_path, 1, settings=None, again="verb")
