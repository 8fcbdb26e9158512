"""Time and memory of segmenting a scan as a user would: in its own process, file to file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nnstudent.cohort.cohort import Case
from nnstudent.errors import Failure, NnStudentError
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_grid
from nnstudent.profiling import profile
from nnstudent.progress import Progress, silent
from nnstudent.report.costs import spread_out

MOST = 8  # as many image sizes as the paper's Table 5 has


def measure(
    cases: Sequence[Case],
    bundle: Path,
    *,
    out: Path,
    threads: int | None = None,
    progress: Progress = silent,
) -> tuple[Failure, ...]:
    """Profile ``nnstudent segment`` on each case, into ``out/<case>.json``.

    Args:
        cases: The cases.
        bundle: The model.
        out: Folder to write into.
        threads: Processor threads; None for all.
        progress: Called after each case.

    Returns:
        The cases that could not be segmented.
    """
    failures: list[Failure] = []
    for number, case in enumerate(cases, 1):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "nnstudent", "segment", str(case.image)]
            command += ["-o", f"{folder}/labels.nii.gz", "--model", str(bundle)]
            command += ["--threads", str(threads)] if threads else []
            found = profile(command, quiet=True)
        if found.exit_code:
            reason = f"segment ended with exit code {found.exit_code}; see: {' '.join(command)}"
            failures.append(Failure(case.id, reason))
        else:
            write_json(out / f"{case.id}.json", {"profile": found.to_dict()})
        progress("profile", number, len(cases))
    return tuple(failures)


def choose_by_size(cases: Sequence[Case], *, most: int = MOST) -> tuple[Case, ...]:
    """Choose cases spread evenly by size, from the smallest to the largest.

    Args:
        cases: The cases; those whose image cannot be read are left out.
        most: How many to choose at most.
    """
    sizes: list[tuple[int, str, Case]] = []
    for case in cases:
        try:
            z, y, x = read_grid(case.image).shape
        except (NnStudentError, OSError):
            continue
        sizes.append((z * y * x, case.id, case))
    ordered = [case for *_, case in sorted(sizes, key=lambda item: item[:2])]
    return tuple(spread_out(ordered, most))
