"""Run the campaign: ``python -m tests.faults --count 10000 --seed 20``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported: workers are forked

from tests.faults.kills import kill_all
from tests.faults.kinds import KINDS, makers, tasks
from tests.faults.limits import limit_all
from tests.faults.outcome import FAULTS
from tests.faults.page import summary, write_page
from tests.faults.pool import run_tasks
from tests.faults.record import Record
from tests.faults.sound import make_sound

PARTS = ("inputs", "kills", "limits", "service")


def main() -> int:
    args = _arguments()
    scratch = args.scratch or Path(tempfile.mkdtemp(prefix="nnstudent-faults-"))
    sound = scratch.resolve() / "sound"
    if not (sound / "run" / "run.json").is_file():
        make_sound(sound)
    record = Record(args.record or scratch / "record.jsonl", seed=args.seed)
    import_heavy()
    for part in args.part or PARTS:
        {"inputs": inputs, "kills": kills, "limits": limits, "service": service}[part](
            args, scratch.resolve(), sound, record
        )
    print(summary(record.latest(), seed=args.seed))
    if args.page:
        write_page(args.page, record.latest())
    return 1 if any(row["outcome"] in FAULTS for row in record.latest()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    more = parser.add_argument
    more("--seed", type=int, default=20)
    more("--part", action="append", choices=PARTS, help="only this part; repeatable")
    more("--count", type=int, default=10_000, help="malformed inputs")
    more("--minutes", type=float, default=240.0, help="start no more of them after so long")
    more("--workers", type=int, default=2)
    more("--kind", action="append", choices=list(KINDS), help="inputs of this kind only")
    more("--only", type=int, help="only the input of this number of each kind")
    more("--kills", type=int, default=100)
    more("--limited", type=int, default=60, help="calls under each limit")
    more("--attacks", type=int, default=1000, help="malformed uploads, and requests")
    more("--record", type=Path, help="what was tried; a second call goes on from it")
    more("--page", type=Path, help="a page to write of it, such as docs/reference/reliability.md")
    more("--scratch", type=Path, help="where the files go (default: a temporary folder)")
    return parser.parse_args()


def inputs(args: argparse.Namespace, scratch: Path, sound: Path, record: Record) -> None:
    """Try malformed inputs, and tell of each fault as it is found; those that were none before are
    passed over."""
    until = time.monotonic() + 60 * args.minutes
    before = record.known()
    todo = (
        task
        for task in tasks(args.count, kinds=tuple(args.kind or KINDS))
        if (args.only is None and (task.kind, task.number) not in before)
        or task.number == args.only
    )
    todo = (task for task in todo if time.monotonic() < until)
    tried = run_tasks(todo, makers(sound), seed=args.seed, scratch=scratch, workers=args.workers)
    for count, verdict in enumerate(tried, 1):
        task = verdict.task
        record.note(task.kind, task.number, verdict.outcome, verdict.detail, process=task.process)
        if verdict.outcome in FAULTS:
            print(f"      {shlex.join(verdict.argv)}", flush=True)
        if count % 500 == 0:
            print(f"{count} tried", file=sys.stderr, flush=True)


def kills(args: argparse.Namespace, scratch: Path, sound: Path, record: Record) -> None:
    record.forget("kills: ")
    for number, row in enumerate(kill_all(sound, scratch, seed=args.seed, count=args.kills)):
        record.note(row[0], number, *row[1:])


def limits(args: argparse.Namespace, scratch: Path, sound: Path, record: Record) -> None:
    record.forget("limits: ")
    for number, row in enumerate(limit_all(sound, scratch, seed=args.seed, count=args.limited)):
        record.note(f"limits: {row[0]}", number, *row[1:])


def service(args: argparse.Namespace, scratch: Path, sound: Path, record: Record) -> None:
    from tests.faults.service import attack_all  # the extra [web] may be missing

    record.forget("service: ")
    for number, row in enumerate(attack_all(sound, scratch, seed=args.seed, count=args.attacks)):
        record.note(f"service: {row[0]}", number, *row[1:])


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
