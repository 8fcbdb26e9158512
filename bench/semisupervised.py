"""What unlabeled and partly labeled scans add, on synthetic patients and two cores.

  python -m bench.semisupervised --only table6 --seed 0
  python -m bench.semisupervised --max-minutes 60
  python -m bench.semisupervised --protocol --proportion paper --choose decision
  python -m bench.semisupervised --protocol --proportion paper --only table6 --seed 12

This repeats Table 6 of the paper and its ablations. There are 6 scans with all organs labeled, 16
with some classes, 42 without labels, and 30 separate test scans, which nothing learns from and no
choice is based on. A large and a small network (bench/semisupervised.toml) learn for the same
number of steps in every arm. An arm has two models, as in the paper: one for organs, and one for
tumors that learns from the scans with tumors annotated and is laid over it. Without unlabeled scans
the first learns from the complete scans. With them it learns from truth and from pseudo-labels of
three large teachers, which learned from all labeled scans by the marginal loss. One student for
both is an arm of its own.

``--protocol`` runs the protocol of docs/results/protocol-5.md (bench/protocol.py): other networks,
grids, steps and patients. In its experiment ``tumors`` a lesion stage stands behind the networks of
organs. Before an arm learns from pseudo-labels, these are compared with the small network without
them, on other patients than those of the test (``--choose labels`` does that alone); if they are no
better, the run ends.
``--choose decision`` scores small networks there, each learned from the labels of another rule.

A killed call loses a minute of training or one case; the next call resumes there. Each finished arm
and seed becomes a row of the JSON file at once, and the page made from the rows
(docs/results/semisupervised.md) is rewritten.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import protocol
from bench.common import ROOT, add_row, add_row_options, read_rows, resumable
from bench.protocol import PROPORTIONS
from bench.semisupervised_arms import ARMS, CHOICES, COUNTS, EXPERIMENTS, ONE, SEEDS
from bench.semisupervised_choosing import check_labels, choose
from bench.semisupervised_pieces import Bench
from bench.semisupervised_table import OLD, PROTOCOL, choice, render, write_results
from nnstudent.pipeline.preset import load_preset
from nnstudent.progress import Progress

RESULTS = ROOT / "docs" / "results"
ROWS, PROTOCOL_ROWS = RESULTS / "semisupervised.json", RESULTS / "protocol-5-results.json"
WORK = ROOT / "runs" / "semisupervised"


def run(
    bench: Bench,
    rows: Path,
    *,
    only: str | None = None,
    seeds: list[int] | None = None,
    arms: Sequence[str] = (),
    check: Callable[[int], None] | None = None,
) -> None:
    """Make every missing row, one experiment after the other, seed by seed.

    Args:
        bench: The pieces.
        rows: The file of rows.
        only: One experiment; None for all.
        seeds: The seeds; None for those of each experiment.
        arms: Names of arms; empty for all.
        check: Called with the seed before an arm that learns from pseudo-labels is made.
    """
    wanted = [
        (seed, arm)
        for experiment in EXPERIMENTS
        if only in (None, experiment)
        for seed in seeds or SEEDS.get(experiment, ONE)
        for arm in bench.arms
        if arm.experiment == experiment and (not arms or arm.name in arms)
        if bench.preset.tumor is not None or not arm.lesions
    ]
    for seed, arm in wanted:
        mark, known = bench.row(arm, seed), read_rows(rows)
        # The first rows had no arm_hash.
        if any(all(row.get(key, value) == value for key, value in mark.items()) for row in known):
            continue
        print(f"{arm.experiment}: {arm.name}, seed {seed}", flush=True)
        what = mark.keys() - {"experiment", "arm"}
        same = next((row for row in known if all(row.get(key) == mark[key] for key in what)), None)
        if check is not None and same is None and arm.learns == "all":
            check(seed)
        # An arm of several experiments is one model, which is not made again for the second even if
        # its folder is gone.
        add_row(rows, {**same, **mark} if same else bench.scored(arm, seed))
        publish(rows)


def publish(rows: Path) -> None:
    """Write the page from the rows, if they are the project's own."""
    pages = {ROWS: OLD, PROTOCOL_ROWS: PROTOCOL}
    page = pages.get(rows.resolve())
    if page is not None:
        write_results(
            read_rows(rows),
            RESULTS / f"{page.name}.md",
            ROOT / "docs" / "images" / f"{page.name}.png",
            page=page,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=EXPERIMENTS, help="one experiment (default: all)")
    parser.add_argument(
        "--arm",
        choices=dict.fromkeys(arm.name for arm in ARMS),
        action="append",
        metavar="NAME",
        help="only this arm of an experiment, such as small+unlabeled; may be repeated (default: "
        "all)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        action="append",
        help="may be repeated (default: the protocol's; otherwise 0, 1 and 2, and 1 for smaller "
        "ablations)",
    )
    parser.add_argument(
        "--preset", type=Path, default=Path(__file__).with_suffix(".toml"), help="the two networks"
    )
    parser.add_argument(
        "--protocol",
        action="store_true",
        help="the protocol's networks, patients and seeds, instead of --preset",
    )
    parser.add_argument(
        "--proportion",
        choices=PROPORTIONS,
        default="ours",
        help="how many scans are complete: 5.6 %% as in the paper, or 9.4 %% (default: ours)",
    )
    parser.add_argument(
        "--choose",
        choices=CHOICES,
        help="compare what is learned from the labels of each rule, or labels and the small "
        "network without them, on patients outside the test, and name the best",
    )
    add_row_options(parser, rows=ROWS, work=WORK)
    args = parser.parse_args()
    rows, work = places(args)

    def make_rows(progress: Progress) -> None:
        bench = replace(set_up(args, work), threads=args.threads, progress=progress)
        if args.choose:
            choose(bench, rows, args.choose, seeds=args.seed or protocol.CHOOSING_SEEDS)
        else:
            check = partial(check_labels, bench, chosen_rows(rows)) if args.protocol else None
            seeds = args.seed or (list(protocol.SEEDS) if args.protocol else None)
            run(bench, rows, only=args.only, seeds=seeds, arms=args.arm or (), check=check)

    code = resumable("semisupervised", work, make_rows, minutes=args.max_minutes)
    print(choice(read_rows(rows), args.choose) if args.choose else render(read_rows(rows)))
    return code


def set_up(args: argparse.Namespace, work: Path) -> Bench:
    """The bench that the options ask for."""
    counts = PROPORTIONS[args.proportion]
    if args.protocol:
        return Bench(
            work,
            protocol.networks(),
            proportion=args.proportion,
            counts=counts,
            phantoms=protocol.PHANTOMS,
            phantom_seed=protocol.PHANTOM_SEED,
        )
    if args.proportion == "ours":
        return Bench(work, load_preset(args.preset), counts=COUNTS)
    return Bench(
        work,
        load_preset(args.preset),
        proportion=args.proportion,
        counts=counts,
    )


def places(args: argparse.Namespace) -> tuple[Path, Path]:
    """The rows and the folder that the options ask for; each cohort has a folder of its own."""
    rows, work = args.json, args.work
    if args.protocol and rows == ROWS:
        rows = PROTOCOL_ROWS
    if args.choose:
        rows = chosen_rows(rows)
    if args.protocol:
        work = work.with_name("protocol") if work == WORK else work
        work = work / args.proportion
    elif args.proportion != "ours":
        work = work.with_name(f"{work.name}-{args.proportion}")
    return rows, work


def chosen_rows(rows: Path) -> Path:
    """The file of rows on the patients for choosing, which never lie among those of the test."""
    return rows.with_name(f"{rows.stem}-choosing.json")


if __name__ == "__main__":
    sys.exit(main())
