"""Works through cases: one that fails is named, with file and reason, and the others are done."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import Generic, NamedTuple, Protocol, TypeVar

from nnstudent.errors import Failure, NnStudentError, OutputError, OutputNameError, one_line
from nnstudent.progress import Progress, silent
from nnstudent.readable import readable

log = logging.getLogger(__name__)

# Errors of the disk, which every other case would meet too.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)})


class HasId(Protocol):
    """Anything with the id of a case."""

    @property
    def id(self) -> str:
        """Name of the case."""


C = TypeVar("C", bound=HasId)
R = TypeVar("R")
Files = Callable[[C], Iterable[Path | None]]


class Outcomes(NamedTuple, Generic[C, R]):
    """The outcome of all cases.

    Attributes:
        results: Each case that succeeded, with its result, in the order of the cases.
        failures: Each case that failed, in the order of the cases.
    """

    results: tuple[tuple[C, R], ...]
    failures: tuple[Failure, ...]


def for_each_case(
    cases: Sequence[C],
    work: Callable[[C], R],
    *,
    files: Files[C],
    what: str,
    threads: int = 1,
    progress: Progress = silent,
    done: Callable[[C, R], None] | None = None,
) -> Outcomes[C, R]:
    """Call ``work`` for each case; whatever one raises is noted, and the others are still done.

    Args:
        cases: The cases.
        work: Called with each case.
        files: Returns the files that a case is read from, the image first. The reason of a failure
            names one of them.
        what: What is being done, for ``progress``.
        threads: Cases worked on at a time.
        progress: Called before the first and after each case.
        done: Called in this thread with each case that succeeded, in the order in which they end.

    Raises:
        OutputError: Results cannot be written at all, so that every other case would fail too.
            Finished results are kept.
    """
    results: dict[int, R] = {}
    failures: dict[int, Failure] = {}
    progress(what, 0, len(cases))

    def take(number: int, outcome: R | Failure) -> None:
        if isinstance(outcome, Failure):
            failures[number] = outcome
        else:
            results[number] = outcome
            if done is not None:
                done(cases[number], outcome)
        progress(what, len(results) + len(failures), len(cases))

    if threads <= 1 or len(cases) <= 1:
        for number, case in enumerate(cases):
            take(number, attempt(case, work, files=files))
    else:
        with closing(_concurrently(cases, work, files=files, threads=threads)) as outcomes:
            for number, outcome in outcomes:
                take(number, outcome)
    return Outcomes(
        tuple((cases[number], results[number]) for number in sorted(results)),
        tuple(failures[number] for number in sorted(failures)),
    )


def _concurrently(
    cases: Sequence[C], work: Callable[[C], R], *, files: Files[C], threads: int
) -> Generator[tuple[int, R | Failure], None, None]:
    """Yield the number and outcome of each case as it ends; only a few cases wait at a time."""
    ended: SimpleQueue[tuple[int, Future[R | Failure]]] = SimpleQueue()
    with ThreadPoolExecutor(min(threads, len(cases))) as pool:

        def submit(number: int) -> None:
            future = pool.submit(attempt, cases[number], work, files=files)
            future.add_done_callback(lambda done: ended.put((number, done)))

        begun = min(2 * threads, len(cases))
        try:
            for number in range(begun):
                submit(number)
            for _ in range(len(cases)):
                number, future = ended.get()
                if begun < len(cases):
                    submit(begun)
                    begun += 1
                yield number, future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def attempt(case: C, work: Callable[[C], R], *, files: Files[C]) -> R | Failure:
    """Call ``work`` for one case, and return why it failed if it does.

    Loops that need an order of their own use this instead of :func:`for_each_case`.

    Args:
        case: The case.
        work: Called with it.
        files: See :func:`for_each_case`.

    Raises:
        OutputError: See :func:`for_each_case`.
    """
    try:
        return work(case)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # panics of libraries written in Rust are not Exceptions
        if isinstance(error, OutputError) and not isinstance(error, OutputNameError):
            raise
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            place = error.filename2 or error.filename or "the output"
            raise OutputError(
                f"{readable(str(place))}: {error.strerror}; make room or choose another place"
            ) from error
        log.debug("%s", case.id, exc_info=error)
        return Failure(case.id, _reason(case, error, files))


def _reason(case: C, error: BaseException, files: Files[C]) -> str:
    text = one_line(error).removeprefix(f"{readable(case.id)}: ")
    if not isinstance(error, NnStudentError | OSError | MemoryError):
        text = f"{text}; run it again with --debug for the traceback"
    paths = [path for path in files(case) if path is not None]
    if not paths or any(readable(path.name) in text for path in paths):
        return text
    return f"{readable(str(paths[0]))}: {text}"
