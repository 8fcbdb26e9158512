"""Run the campaign: ``python -m tests.faults --count 10000 --seed 20``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: workers are forked

from tests.faults.kinds import KINDS, makers, tasks
from tests.faults.outcome import FAULTS
from tests.faults.pool import Verdict, run_tasks
from tests.faults.sound import make_sound


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--count", type=int, default=10_000, help="malformed inputs")
    parser.add_argument(
        "--minutes", type=float, default=240.0, help="start no more of them after so long"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--kind", action="append", choices=list(KINDS), help="only this kind; repeatable"
    )
    parser.add_argument(
        "--only", type=int, help="only the case of this number of each kind, and keep its files"
    )
    parser.add_argument(
        "--scratch", type=Path, help="where the cases' files go (default: a temporary folder)"
    )
    args = parser.parse_args()
    scratch = args.scratch or Path(tempfile.mkdtemp(prefix="nnstudent-faults-"))
    sound = scratch / "sound"
    if not (sound / "run" / "run.json").is_file():
        make_sound(sound)
    verdicts = inputs(args, scratch, sound)
    faults = [verdict for verdict in verdicts if verdict.outcome in FAULTS]
    count = Counter((verdict.task.kind, verdict.outcome) for verdict in verdicts)
    for kind in KINDS:
        row = {outcome: n for (of, outcome), n in count.items() if of == kind}
        print(
            f"{kind:34} {sum(row.values()):6}  {', '.join(f'{outcome} {n}' for outcome, n in sorted(row.items()))}"
        )
    print(f"seed {args.seed}: {len(verdicts)} malformed inputs, {len(faults)} faults")
    return 1 if faults else 0


def inputs(args: argparse.Namespace, scratch: Path, sound: Path) -> list[Verdict]:
    """Try malformed inputs, and tell of each fault as it is found."""
    import_heavy()
    until = time.monotonic() + 60 * args.minutes
    before = known(args.record, args.seed)
    chosen = (
        task
        for task in tasks(args.count, kinds=tuple(args.kind or KINDS))
        if before.get((task.kind, task.number), FAULTS[0]) in FAULTS
    )
    if args.only is not None:
        chosen = (task for task in chosen if task.number == args.only)
    todo = (task for task in chosen if time.monotonic() < until)
    done = []
    for verdict in run_tasks(
        todo, makers(sound), seed=args.seed, scratch=scratch, workers=args.workers
    ):
        done.append(verdict)
        if args.record:
            note(args.record, args.seed, verdict)
        if verdict.outcome in FAULTS:
            words = shlex.join(verdict.argv)
            print(
                f"FAULT {verdict.outcome}: {verdict.task.kind} {verdict.task.number}: {verdict.detail}\n      {words}",
                flush=True,
            )
        if len(done) % 500 == 0:
            print(f"{len(done)} tried", file=sys.stderr, flush=True)
    return done


def known(record: Path | None, seed: int) -> dict[tuple[str, int], str]:
    """What became of each case, the last time that it was tried with this seed."""
    if record is None or not record.is_file():
        return {}
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    return {(row["kind"], row["number"]): row["outcome"] for row in rows if row["seed"] == seed}


def note(record: Path, seed: int, verdict: Verdict) -> None:
    """Add a line to the record."""
    row = {
        "seed": seed,
        "kind": verdict.task.kind,
        "number": verdict.task.number,
        "process": verdict.task.process,
    }
    row |= {
        "outcome": verdict.outcome,
        "seconds": round(verdict.seconds, 3),
        "detail": verdict.detail[:500],
    }
    with record.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def import_heavy() -> None:
    """Import once what every worker needs, before they are forked."""
    import highdicom  # noqa: F401
    import nibabel  # noqa: F401
    import nnunetv2  # noqa: F401
    import openvino  # noqa: F401
    import torch

    torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
