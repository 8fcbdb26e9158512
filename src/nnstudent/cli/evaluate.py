"""Score segmentations against the truth: DSC and NSD per case, per class, and means.

  nnstudent evaluate predictions/ labels/
      label maps of the same name are compared, all 14 classes are scored

  nnstudent evaluate predictions/ COHORT --csv scores.csv --report scores.json
      a cohort (a folder with cohort.json) says what each case has annotated, and only that is scored;
      its test cases are taken if one of them was predicted

  nnstudent evaluate predictions/ labelsTs/ --protocol flare23
      the challenge's own figures, quirks included (docs/reference/metrics.md)

  nnstudent evaluate predictions/ labels/ --classes liver,spleen --whole-organs
      two organs, and only where the scan shows all of them

  nnstudent evaluate student/ labels/ --against teacher/
      both methods on the same cases: mean difference with its interval, Wilcoxon signed-rank test, effect size

A case without a prediction scores 0 and is named; --common-only leaves it out and names it. A case that cannot be scored is named,
and is in no mean.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnstudent.evaluation.compare import MethodComparison
    from nnstudent.evaluation.lesions import DetectionSummary
    from nnstudent.evaluation.scores import Mean, Scores
    from nnstudent.evaluation.statistics import PairedComparison

HELP = "score segmentations against the truth: DSC and NSD"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.set_defaults(prints_result=True)
    parser.add_argument(
        "predictions", type=Path, metavar="PREDICTIONS", help="a label map, or a folder of them"
    )
    parser.add_argument(
        "truth",
        type=Path,
        metavar="TRUTH",
        help="a label map, a folder of them, or a cohort folder",
    )
    parser.add_argument(
        "--protocol",
        choices=("strict", "flare23"),
        default="strict",
        help="what is counted how (default: strict)",
    )
    parser.add_argument(
        "--cohort",
        type=Path,
        help="where TRUTH is label maps: the cohort that says what is annotated in them",
    )
    parser.add_argument(
        "--taxonomy",
        type=Path,
        metavar="FILE",
        help="label table: flare23 or a TOML file (default: the cohort's, or that of a dataset.json, else FLARE23's)",
    )
    parser.add_argument(
        "--classes",
        type=_names,
        metavar="A,B",
        help="score only these classes (default: all that are annotated)",
    )
    parser.add_argument(
        "--cases",
        choices=("auto", "test", "train", "all"),
        default="auto",
        help="which cases of a cohort (default: test, if predicted)",
    )
    parser.add_argument(
        "--whole-organs",
        action="store_true",
        help="leave out organs that the field of view cuts or shows a fragment of",
    )
    parser.add_argument(
        "--common-only",
        action="store_true",
        help="leave out cases without a prediction instead of scoring them 0",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="PREDICTIONS2",
        help="another method's label maps of the same cases: compare case by case",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="decides what the bootstrap draws (default: 0)"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a row a case and class, and the means"
    )
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write all of it as JSON")


def run(args: argparse.Namespace) -> int:
    """Evaluate as asked; returns the exit code."""
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.errors import Failure
    from nnstudent.evaluation.compare import compare_methods
    from nnstudent.evaluation.evaluate import evaluate
    from nnstudent.evaluation.pairs import label_maps
    from nnstudent.taxonomy import find_taxonomy

    if args.against is not None:
        label_maps(args.against, what="predictions to compare with")  # before the others are scored
    display = Display()
    score = partial(
        evaluate,
        truth=args.truth,
        taxonomy=None if args.taxonomy is None else find_taxonomy(args.taxonomy),
        protocol=args.protocol,
        classes=args.classes,
        annotation=None if args.cohort is None else read_cohort(args.cohort),
        subset=args.cases,
        whole_organs=args.whole_organs,
        common_only=args.common_only,
        seed=args.seed,
        progress=display,
    )
    try:
        scores = score(args.predictions)
        other = None if args.against is None else score(args.against)
    finally:
        display.close()
    compared = None if other is None else compare_methods(scores, other, seed=args.seed)
    more = (
        {}
        if compared is None or other is None
        else {"against": {"predictions": str(args.against), **compared.to_dict()}}
    )
    if scores.cases:
        print(table(scores))
        for name, found in scores.detection().items():
            print(f"\n{lesion_table(name, found)}")
    if compared is not None:
        print(f"\n{comparison_table(compared, str(args.predictions), str(args.against))}")
    _tell(scores)
    failures = list(scores.failures)
    if other is not None:
        _tell(other, of=f" in {args.against}")
        failures += [
            Failure(failure.case, f"{failure.reason} (--against)") for failure in other.failures
        ]
    code = name_failures("evaluate", failures, done=len(scores.cases))
    with (
        ExitStack() as stack
    ):  # what one of the two files meets does not keep the other from being written
        if args.csv is not None:
            stack.callback(scores.write_csv, args.csv)
        stack.callback(write_report, args.report, {**scores.to_dict(), **more})
    return code


def table(scores: Scores) -> str:
    """The means as a table: a line a class, then organs and tumor."""
    means = scores.means()
    names = [
        *scores.classes,
        *(name for name in ("organs", "tumor") if means[name].n and name not in scores.classes),
    ]
    width = max(map(len, ["class", *names]))
    count = max(len(str(len(scores.cases))), 2)
    told = f"{'median':<6}  {'95 % CI':<13}"
    head = f"{'class':<{width}}  {'DSC':<15}  {told}  {'NSD':<15}  {told}  {'n':>{count}}"
    lines = [
        f"{name:<{width}}  {_cell(means[name], 'dsc')}  {_cell(means[name], 'nsd')}  {means[name].n:>{count}}"
        for name in names
    ]
    title = f"{len(scores.cases)} case{'s' if len(scores.cases) != 1 else ''}, protocol {scores.protocol.name}, mean ± SD over the n cases"
    return "\n".join([title, head, *lines])


def lesion_table(name: str, found: DetectionSummary) -> str:
    """Lesions of one class: a line a size, then all."""
    rows = [
        (
            _volumes(item.from_ml, item.to_ml),
            item.lesions,
            item.found,
            item.sensitivity,
            item.false_positives,
        )
        for item in found.bins
    ]
    rows.append(("all", found.lesions, found.found, found.sensitivity, found.false_positives))
    lines = [
        f"{title:<12}  {lesions:>7}  {hit:>5}  {'–' if math.isnan(part) else f'{part:.4f}':>11}  {false:>15}  {false / found.scans:>6.2f}"
        for title, lesions, hit, part, false in rows
    ]
    least_iou = found.to_dict()["rule"]["least_iou"]
    scans = f"{found.scans} scan{'s' if found.scans != 1 else ''}"
    title = f"{name} by lesion, {scans}; found is an IoU of at least {least_iou}, one to one"
    head = f"{'size':<12}  {'lesions':>7}  {'found':>5}  {'sensitivity':>11}  {'false positives':>15}  {'a scan':>6}"
    return "\n".join([title, head, *lines])


def _volumes(low: float, high: float) -> str:
    return (
        f"< {high:g} ml"
        if low == 0
        else f">= {low:g} ml"
        if math.isinf(high)
        else f"{low:g}-{high:g} ml"
    )


def _cell(mean: Mean, metric: str) -> str:
    value, deviation = getattr(mean, metric), getattr(mean, f"{metric}_sd")
    middle, (low, high) = getattr(mean, f"{metric}_median"), getattr(mean, f"{metric}_interval")
    text = "NaN" if math.isnan(value) else f"{value:.4f}"
    spread = text if math.isnan(deviation) else f"{text} ± {deviation:.4f}"
    interval = "–" if math.isnan(low) else f"{low:.4f}-{high:.4f}"
    return f"{spread:<15}  {'NaN' if math.isnan(middle) else f'{middle:.4f}':<6}  {interval:<13}"


def comparison_table(compared: MethodComparison, first: str, second: str) -> str:
    """The differences of two methods: a line a class and metric, then the means."""
    width = max(map(len, ["class", *compared.results]))
    lines = [
        f"{name:<{width}}  {metric.upper():<6}  {_signed(result.difference):<10}  "
        f"{_bounds(result):<17}  {_p(result.p):<8}  {_p(result.p_holm):<8}  "
        f"{'–' if math.isnan(result.effect) else f'{result.effect:+.2f}':<6}  "
        f"{result.n:>3}  {result.n_different:>6}"
        for name, by_metric in compared.results.items()
        for metric, result in by_metric.items()
    ]
    title = f"{first} − {second}, {len(compared.cases)} cases on both sides: Wilcoxon signed-rank, effect is the rank-biserial correlation"
    head = f"{'class':<{width}}  metric  difference  {'95 % CI':<17}  p         p (Holm)  effect    n  differ"
    rest = [
        f"only in {where}: {', '.join(ids)}"
        for where, ids in ((first, compared.only_first), (second, compared.only_second))
        if ids
    ]
    return "\n".join([title, head, *lines, *rest])


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.4f}"


def _bounds(result: PairedComparison) -> str:
    low, high = result.interval
    return "–" if math.isnan(low) else f"{low:+.4f} {high:+.4f}"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def _tell(scores: Scores, *, of: str = "") -> None:
    for id in scores.missing:
        print(
            f"nnstudent evaluate: no prediction of {id}{of}: {'left out' if scores.common_only else 'scores 0'}",
            file=sys.stderr,
        )
    if scores.without_truth:
        print(
            f"nnstudent evaluate: not scored, no truth of that name{of}: {', '.join(scores.without_truth)}",
            file=sys.stderr,
        )
    for case in scores.cases:
        for name, why in case.left_out.items():
            if not of:  # the truth is the same
                print(f"nnstudent evaluate: {case.id}: {name} left out: {why}", file=sys.stderr)
        if case.prediction is not None:
            for warning in case.warnings:
                print(f"nnstudent evaluate: {case.id}{of}: {warning}", file=sys.stderr)
    for note in () if of else scores.notes:
        print(f"nnstudent evaluate: {note} (--cohort or --classes)", file=sys.stderr)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
