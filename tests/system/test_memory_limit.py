"""`--memory-limit`, held by the kernel: a control group where permitted, otherwise RLIMIT_DATA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from nnstudent.bundle.export import export
from nnstudent.io.nifti import read_labels, write_image
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.inference.folders import ISOTROPIC, make_folder

LIMIT_MB = 820
# All scores at once: 15 channels of 10.5 million voxels, 629 MB; a slab of them a tenth.
SHAPE, PATCH = (640, 128, 128), [32, 128, 128]


@contextmanager
def held_to(mb: int) -> Iterator[tuple[str, list[str]]]:
    """What holds a process to so many MiB, and how its command begins."""
    group = _group(mb)
    if group is None:
        yield "RLIMIT_DATA", ["sh", "-c", f'ulimit -d {mb << 10} && exec "$@"', "sh"]
        return
    try:
        yield (
            f"the control group {group}",
            ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"],
        )
    finally:
        group.rmdir()


def _group(mb: int) -> Path | None:
    """A new control group with a limit, below this process's own; None where not permitted."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        group = Path(
            "/sys/fs/cgroup", controllers, name.lstrip("/"), f"nnstudent-test-{os.getpid()}"
        )
        limits = (
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            if controllers
            else ("memory.max", "memory.swap.max")
        )
        with suppress(OSError):
            group.mkdir()
            try:
                if not (group / limits[0]).exists():  # the controller is not handed down
                    raise OSError
                (group / limits[0]).write_text(str(mb << 20))
                with suppress(OSError):  # where there is no swap to limit
                    (group / limits[1]).write_text(str(mb << 20) if controllers else "0")
            except OSError:
                group.rmdir()
                raise
            return group
    return None


def test_the_limit_holds_where_the_kernel_enforces_it(tmp_path, capsys):
    settings = ISOTROPIC | {"spacing": [2.0, 2.0, 2.0], "patch_size": PATCH}
    bundle = export(
        make_folder(tmp_path / "model", settings, classes=tuple(item.name for item in flare23())),
        tmp_path / "bundle",
    )
    coarse = (
        np.random.default_rng(0)
        .integers(-150, 250, [size // 16 for size in SHAPE])
        .astype(np.int16)
    )
    image = coarse.repeat(16, 0).repeat(16, 1).repeat(16, 2)
    write_image(tmp_path / "ct.nii.gz", Volume(image, Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))))
    segment = [
        sys.executable,
        "-m",
        "nnstudent",
        "segment",
        str(tmp_path / "ct.nii.gz"),
        "--model",
        str(bundle),
        "--threads",
        "1",
    ]
    segment += [
        "--precision",
        "fp32",
        "--postprocess",
        "none",
        "--report",
        str(tmp_path / "report.json"),
        "-o",
        str(tmp_path / "o.nii.gz"),
    ]
    with held_to(LIMIT_MB) as (what, begin):
        with capsys.disabled():  # pytest hides what a test that passes prints
            print(f" held to {LIMIT_MB} MiB by {what} ", end="")
        whole = subprocess.run(
            [*begin, *segment, "--memory-limit", "1TB"], capture_output=True, text=True
        )
        assert whole.returncode != 0, (
            f"{what} does not hold, or all scores at once fit into {LIMIT_MB} MiB"
        )
        assert not (tmp_path / "o.nii.gz").exists()
        told = subprocess.run(
            [*begin, *segment, "--memory-limit", f"{LIMIT_MB}MiB"], capture_output=True, text=True
        )
    assert told.returncode == 0, f"under {what}: {told.stderr}"
    (case,) = json.loads((tmp_path / "report.json").read_text())["cases"]
    assert case["peak_rss_mb"] <= case["predicted_peak_mb"] <= LIMIT_MB
    assert len(np.unique(read_labels(tmp_path / "o.nii.gz").array)) > 2
