"""The process that trains a student on corrections for the service.

It writes progress and the result to standard output, one line of JSON each. It is a separate
process, so that a training that fails or exhausts memory ends nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from nnstudent.bundle.bundle import open_model
from nnstudent.errors import NnStudentError
from nnstudent.pipeline.learn import learn
from nnstudent.pipeline.preset import load_preset
from nnstudent.web.worker import first_to_go, own_stdout, tell

_EVERY = 1.0  # seconds between two messages of progress
_NICE = 10  # segmenting goes first


def main() -> None:
    """Train once."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--corrections", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rehearsal", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()
    told = own_stdout()
    first_to_go()
    if hasattr(os, "nice"):
        with suppress(OSError):
            os.nice(_NICE)
    last: dict[str, float] = {}

    def progress(what: str, done: int, total: int, *, note: str = "") -> None:
        now = time.monotonic()
        if done >= total or now - last.get(what, 0.0) >= _EVERY:
            last[what] = now
            tell(told, {"progress": [what, done, total], "note": note})

    answer: dict[str, Any]
    try:
        learned = learn(
            args.corrections,
            open_model(args.model),
            load_preset(args.preset).student,
            args.out,
            rehearsal=args.rehearsal,
            threads=args.threads,
            progress=progress,
        )
        answer = {"learned": learned.to_dict()}
    except NnStudentError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "memory ran out; train on a machine with more memory"}
    except Exception as error:  # whatever a library does: the service goes on
        answer = {"error": f"{type(error).__name__}: {json.dumps(str(error)[:300])}"}
    tell(told, answer)


if __name__ == "__main__":
    main()
