from __future__ import annotations

import errno
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cases import attempt, for_each_case
from nnstudent.errors import Failure, GeometryError, InputError, OutputError, OutputNameError


@dataclass(frozen=True)
class Scan:
    id: str

    @property
    def image(self) -> Path:
        return Path("/data") / f"{self.id}.nii.gz"


class Panic(BaseException):
    """As libraries written in Rust raise it."""


def files(scan: Scan) -> tuple[Path | None, ...]:
    return scan.image, None


def nested() -> None:
    nested()


AGAIN = "; run it again with --debug for the traceback"
ANYTHING = {
    "input": (InputError("a: no CT"), "/data/a.nii.gz: no CT"),
    "names its file": (InputError("/data/a.nii.gz: truncated"), "/data/a.nii.gz: truncated"),
    "geometry": (GeometryError("another\n grid"), "/data/a.nii.gz: another grid"),
    "one name": (OutputNameError("o/a: name too long"), "/data/a.nii.gz: o/a: name too long"),
    "file": (
        FileNotFoundError(errno.ENOENT, "No such file", "/data/a.nii.gz"),
        "/data/a.nii.gz: No such file",
    ),
    "too many open": (
        OSError(errno.EMFILE, "Too many open files"),
        "/data/a.nii.gz: Too many open files",
    ),
    "memory": (MemoryError(), "/data/a.nii.gz: not enough memory"),
    "value": (
        ValueError("could not\nconvert"),
        f"/data/a.nii.gz: ValueError: could not convert{AGAIN}",
    ),
    "key": (KeyError("x"), f"/data/a.nii.gz: KeyError: 'x'{AGAIN}"),
    "empty": (AssertionError(), f"/data/a.nii.gz: AssertionError{AGAIN}"),
    "panic": (Panic("unwrap"), f"/data/a.nii.gz: Panic: unwrap{AGAIN}"),
    "control characters": (
        ValueError("\x1b[2J\udce9"),
        rf"/data/a.nii.gz: ValueError: \x1b[2J\xe9{AGAIN}",
    ),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("kind", ANYTHING)
def test_a_case_that_raises_anything_is_named_and_the_others_are_done(
    kind: str, threads: int
) -> None:
    error, reason = ANYTHING[kind]

    def work(scan: Scan) -> str:
        if scan.id == "a":
            raise error
        return scan.id.upper()

    cases = [Scan("c"), Scan("a"), Scan("b")]
    results, failures = for_each_case(cases, work, files=files, what="test", threads=threads)
    assert results == ((Scan("c"), "C"), (Scan("b"), "B"))
    assert failures == (Failure("a", reason),)


def test_endless_recursion_fails_one_case_only() -> None:
    outcome = attempt(Scan("a"), lambda _: nested(), files=files)
    assert isinstance(outcome, Failure)
    assert outcome.reason.startswith("/data/a.nii.gz: RecursionError: ")


@given(st.text(max_size=2000))
def test_a_reason_is_one_line_that_can_be_written(text: str) -> None:
    def work(_: Scan) -> None:
        raise ValueError(text)

    outcome = attempt(Scan("a"), work, files=files)
    assert isinstance(outcome, Failure)
    assert len(outcome.reason.splitlines()) == 1
    assert len(outcome.reason) < 5000
    outcome.reason.encode("utf-8")


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OutputError])
def test_errors_that_no_case_caused_end_the_call(error: type[BaseException], threads: int) -> None:
    begun: list[str] = []
    free = threading.Event()

    def work(scan: Scan) -> None:
        begun.append(scan.id)
        if scan.id == "a":
            raise error
        free.wait(0.05)

    with pytest.raises(error):
        for_each_case(
            [Scan("a"), *(Scan(f"b{n}") for n in range(30))],
            work,
            files=files,
            what="test",
            threads=threads,
        )
    assert len(begun) < 31


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_is_not_the_fault_of_a_case(code: int) -> None:
    def work(_: Scan) -> None:
        raise OSError(code, "No room", "/out/x")

    with pytest.raises(OutputError, match="/out/x: No room; make room or choose another place"):
        for_each_case([Scan("a"), Scan("b")], work, files=files, what="test")


def test_progress_and_done_are_told_in_this_thread_as_cases_end() -> None:
    here = threading.get_ident()
    told: list[tuple[str, int, int]] = []
    ended: list[str] = []

    def progress(what: str, done: int, total: int) -> None:
        assert threading.get_ident() == here
        told.append((what, done, total))

    def done(scan: Scan, seconds: float) -> None:
        assert threading.get_ident() == here
        ended.append(scan.id)

    def work(scan: Scan) -> float:
        time.sleep(0.2 if scan.id == "slow" else 0.0)
        return 0.0

    results, _ = for_each_case(
        [Scan("slow"), Scan("quick")],
        work,
        files=files,
        what="t",
        threads=2,
        progress=progress,
        done=done,
    )
    assert told == [("t", 0, 2), ("t", 1, 2), ("t", 2, 2)]
    assert ended == ["quick", "slow"]
    assert [scan.id for scan, _ in results] == ["slow", "quick"]


def test_the_traceback_is_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    def work(_: Scan) -> None:
        raise KeyError("x")

    with caplog.at_level(logging.DEBUG, "nnstudent.cases"):
        attempt(Scan("a"), work, files=files)
    assert "Traceback" in caplog.text
