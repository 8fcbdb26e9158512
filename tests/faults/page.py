"""The page of a campaign: tried, failed, by kind."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import nnstudent
from nnstudent.words import count
from tests.faults.outcome import FAULTS

Row = dict[str, Any]
_HEAD = """\
# Reliability

What happens with damaged, hostile or impossible input, when a call is killed, and when the machine
runs out of something. This page is written by the project's own fault campaign. `make test-faults`
runs it, and `make test` runs a small part of it.

An outcome is

- **done**: exit code 0, and an independent reader finds nothing missing in the output;
- **refused**: exit code 1 or 2, and one line that says what was given and what was expected;
- a **fault**: an internal error (a traceback, or the advice to run the command again with
  `--debug`), a hang, a crash, an output that is half-written or left behind, code in the input that
  was executed, an error that does not name its input, or a silent loss: exit code 0 although voxels,
  slices or cases are missing, or a file that was changed was taken.

"""


# Campaigns whose rows are not kept any more, one a line, the oldest first.
EARLIER = Path(__file__).with_name("earlier.jsonl")


def write_page(path: Path, rows: list[Row]) -> None:
    """Write the page of these rows, which may come from parts with seeds of their own."""
    faults = [row for row in rows if row["outcome"] in FAULTS]
    tried = [row for row in rows if row["outcome"] != "skipped"]
    parts = [
        _HEAD,
        "## The last campaign\n\n",
        f"{len(tried):,} attempts, {count(len(faults), 'fault')}. nnStudent {nnstudent.__version__}, seed "
        f"{_spread(rows, 'seed')}, {_spread(rows, 'date')}; commit "
        f"{_spread(rows, 'commit')}; {_machine()}. "
        f"{sum(row['process'] for row in rows)} of the malformed inputs went to the command as a "
        "process of its own, the others to its "
        "main function in worker processes with limits of time and memory.\n\n",
    ]
    for title, start in _SECTIONS.items():
        of = [row for row in rows if _section(row["kind"]) == start]
        if of:
            parts += [f"### {title}\n\n", *_table(of, cut=len(start)), "\n"]
    parts += ["### Faults\n\n", *_faults(faults), "\n", *_earlier(), _TAIL]
    path.write_text("".join(parts))


_SECTIONS = {
    "Malformed inputs": "",
    "Killed at random moments": "kills: ",
    "Many at once, and limits of the machine": "limits: ",
    "The service": "service: ",
}
_TAIL = """\
## Run it

```sh
make test-faults                                   # goes on, and tries faults again
make test-faults FAULTS="--count 100000 --seed 7"  # more of them, and others
make test-faults FAULTS="--part inputs --kind plans --only 17"   # one case, by its number
```

Seed, kind and number decide everything about a malformed input. What was tried is kept in
`runs/faults/record.jsonl`, the files of a fault beside it. The campaign runs on Linux. The moments of
kills depend on the machine's speed.
"""


def _earlier() -> list[str]:
    """The totals of campaigns before."""
    lines = [json.loads(line) for line in EARLIER.read_text("utf-8").splitlines()]
    return [
        "## Earlier campaigns\n\n",
        "| date | commit | seed | inputs | kills | limits | service | faults |\n",
        "|---|---|---|---:|---:|---:|---:|---:|\n",
        *(
            f"| {row['date']} | {row['commit']} | {row['seed']} | {row['inputs']:,} "
            f"| {row['kills']:,} | {row['limits']:,} | {row['service']:,} | {row['faults']:,} |\n"
            for row in lines
        ),
        "\n",
    ]


def _section(kind: str) -> str:
    return next((start for start in _SECTIONS.values() if start and kind.startswith(start)), "")


def _table(rows: list[Row], *, cut: int) -> list[str]:
    lines = ["| kind | tried | done | refused | faults |\n|---|---:|---:|---:|---:|\n"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    total: Counter[str] = Counter()
    for kind in kinds:
        count = Counter(row["outcome"] for row in rows if row["kind"] == kind)
        if set(count) == {"skipped"}:
            lines.append(f"| {kind[cut:]} | skipped: {rows_of(rows, kind)[0]['detail']} | | | |\n")
            continue
        total += count
        lines.append(_row(kind[cut:], count))
    return [*lines, _row("**all**", total)]


def rows_of(rows: list[Row], kind: str) -> list[Row]:
    """The rows of a kind."""
    return [row for row in rows if row["kind"] == kind]


def _row(name: str, count: Counter[str]) -> str:
    bad = sum(count[fault] for fault in FAULTS)
    tried = bad + count["ok"] + count["refused"]
    return f"| {name} | {tried:,} | {count['ok']:,} | {count['refused']:,} | {bad:,} |\n"


def _faults(faults: list[Row]) -> list[str]:
    if not faults:
        return ["None.\n"]
    count = Counter((row["outcome"], row["kind"]) for row in faults)
    return [f"- {outcome}: {kind}, {n}\n" for (outcome, kind), n in sorted(count.items())]


def _spread(rows: list[Row], key: str) -> str:
    values = list(dict.fromkeys(row[key] for row in rows if row[key])) or ["unknown"]
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _machine() -> str:
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}"


def summary(rows: list[Row], *, seed: int) -> str:
    """The same as lines for a terminal."""
    lines = []
    for kind in dict.fromkeys(row["kind"] for row in rows):
        count = Counter(row["outcome"] for row in rows_of(rows, kind))
        told = ", ".join(f"{outcome} {n}" for outcome, n in sorted(count.items()))
        lines.append(f"{kind:40} {sum(count.values()):6}  {told}")
    faults = sum(row["outcome"] in FAULTS for row in rows)
    return "\n".join([*lines, f"seed {seed}: {len(rows)} tried, {faults} faults"])
