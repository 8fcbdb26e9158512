"""Score segmentations against the truth: DSC and NSD per case, class and mean.

  nnstudent evaluate predictions/ labels/
      compares label maps of the same name, on all classes
  nnstudent evaluate predictions/ COHORT --csv scores.csv --report scores.json
      a cohort folder says what is annotated in each case, and only that is
      scored; takes its test cases if any of them was predicted
  nnstudent evaluate predictions/ labelsTs/ --protocol flare23
      the challenge's own figures, quirks included (docs/reference/metrics.md)
  nnstudent evaluate predictions/ labels/ --classes liver,spleen --whole-organs
      two organs, and only where the image shows all of the organ
  nnstudent evaluate student/ labels/ --against teacher/
      compares two methods case by case: mean difference with its interval,
      Wilcoxon signed-rank test, effect size
  nnstudent evaluate predictions/ COHORT --parts SCORES --part 2/8
      the second of eight machines; --merge 8 then gives the means of all

A case without a prediction scores 0 and is named; --common-only leaves it out
instead. A case that cannot be scored is named and counts in no mean.
"""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.choices import CASES_OF_A_COHORT, PROTOCOLS
from nnstudent.cli.common import add_classes, add_merge, add_part, add_report, add_taxonomy
from nnstudent.words import count

if TYPE_CHECKING:
    from nnstudent.evaluation.compare import MethodComparison
    from nnstudent.evaluation.lesions import DetectionSummary
    from nnstudent.evaluation.scores import Mean, Scores
    from nnstudent.evaluation.shared import Share
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
        "--against",
        type=Path,
        metavar="PREDICTIONS2",
        help="another method's label maps of the same cases, to compare case by case",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="strict",
        help="rules of scoring (default: strict)",
    )
    add_classes(
        parser,
        "--classes",
        help="score only these classes (default: all that are annotated)",
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a row per case and class, and the means"
    )
    add_report(parser, help="write all scores as JSON")
    _add_cases(parser.add_argument_group("which cases and organs"))


def _add_cases(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--cohort",
        type=Path,
        help="if TRUTH is label maps: the cohort folder that says what is annotated in them",
    )
    group.add_argument(
        "--cases",
        choices=CASES_OF_A_COHORT,
        default="auto",
        help="which cases of a cohort; auto takes the test cases if any of them was predicted, "
        "otherwise all (default: auto)",
    )
    group.add_argument(
        "--whole-organs",
        action="store_true",
        help="leave out organs that touch the first or last slice or are only a fragment",
    )
    group.add_argument(
        "--common-only",
        action="store_true",
        help="leave out cases without a prediction instead of scoring them 0",
    )
    group.add_argument(
        "--seed", type=int, default=0, help="seed of the bootstrap intervals (default: 0)"
    )
    add_part(group, help="score only the I-th of N parts of the cases; needs --parts")
    add_merge(group, help="score nothing, and put together the scores of N parts; needs --parts")
    group.add_argument(
        "--parts", type=Path, metavar="FOLDER", help="where the parts keep their scores"
    )
    add_taxonomy(group, default="the cohort's, or that of a dataset.json, otherwise FLARE23's")


def run(args: argparse.Namespace) -> int:
    """Score the predictions and print the means."""
    from nnstudent.cli.common import Display, print_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.errors import Failure
    from nnstudent.evaluation.compare import compare_methods
    from nnstudent.evaluation.evaluate import evaluate
    from nnstudent.evaluation.pairs import label_maps
    from nnstudent.taxonomy import find_taxonomy

    share = _share(args)
    if args.against is not None:  # before the others are scored
        label_maps(args.against, what="predictions to compare with")
    with Display() as display:
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
            share=share,
            progress=display,
        )
        scores = score(args.predictions)
        other = None if args.against is None else score(args.against)
    _print_scores(scores)
    failures, more = list(scores.failures), {}
    if other is not None:
        compared = compare_methods(scores, other, seed=args.seed)
        more = {"against": {"predictions": str(args.against), **compared.to_dict()}}
        table = comparison_table(compared, first=str(args.predictions), second=str(args.against))
        print(f"\n{table}")
        _print_other(other, args.against)
        failures += [
            Failure(failure.case, f"{failure.reason} (--against)") for failure in other.failures
        ]
    code = print_failures("evaluate", failures, done=len(scores.cases))
    with ExitStack() as stack:  # one file that cannot be written does not stop the other
        if args.csv is not None:
            stack.callback(scores.write_csv, args.csv)
        stack.callback(write_report, args.report, {**scores.to_dict(), **more})
    return code


def _share(args: argparse.Namespace) -> Share | None:
    """Return which part of the cases is scored or merged; None for all in one call.

    Raises:
        InputError: The options contradict each other.
    """
    from nnstudent.errors import InputError
    from nnstudent.evaluation.shared import Share
    from nnstudent.io.parts import WHOLE

    if args.part == WHOLE and args.merge is None:
        return None
    if args.parts is None:
        raise InputError(
            "--part and --merge need --parts FOLDER, where the parts keep their scores"
        )
    if args.against is not None:
        raise InputError("--against with parts: expected one of the two; score each in one call")
    again = f"nnstudent evaluate {args.predictions} {args.truth} --parts {args.parts} …"
    return Share(args.parts, args.part, args.merge, again)


def _print_scores(scores: Scores) -> None:
    """Print the means, the lesions and what a reader should know."""
    if scores.cases:
        print(mean_table(scores))
        for name, found in scores.detection().items():
            print(f"\n{lesion_table(name, found)}")
    _print_missing(scores)
    for case in scores.cases:
        for name, why in case.left_out.items():
            _say(f"{case.id}: {name} left out: {why}")
        if case.prediction is not None:
            for warning in case.warnings:
                _say(f"{case.id}: {warning}")
    for note in scores.notes:
        _say(note)


def _print_other(scores: Scores, folder: Path) -> None:
    """Print what a reader should know of the predictions of ``--against``."""
    place = f" in {folder}"
    _print_missing(scores, place=place)
    for case in scores.cases:
        if case.prediction is not None:
            for warning in case.warnings:
                _say(f"{case.id}{place}: {warning}")


def _print_missing(scores: Scores, *, place: str = "") -> None:
    for id in scores.missing:
        _say(f"no prediction of {id}{place}: {'left out' if scores.common_only else 'scores 0'}")
    if scores.without_truth:
        _say(f"no truth of this name{place}, not scored: {', '.join(scores.without_truth)}")


def _say(line: str) -> None:
    print(f"nnstudent evaluate: {line}", file=sys.stderr)


def mean_table(scores: Scores) -> str:
    """Return the means as a table: a line per class, then organs and tumor."""
    means = scores.means()
    groups = [n for n in ("organs", "tumor") if means[n].n and n not in scores.classes]
    rows = [*scores.classes, *groups]
    width = max(map(len, ["class", *rows]))
    n_width = max(len(str(len(scores.cases))), 2)
    more = f"{'median':<6}  {'95 % CI':<13}"
    head = f"{'class':<{width}}  {'DSC':<15}  {more}  {'NSD':<15}  {more}  {'n':>{n_width}}"
    lines = [
        f"{name:<{width}}  {_cell(means[name], 'dsc')}  {_cell(means[name], 'nsd')}"
        f"  {means[name].n:>{n_width}}"
        for name in rows
    ]
    cases = count(len(scores.cases), "case")
    title = f"{cases}, protocol {scores.protocol.name}, mean ± SD over the n cases"
    return "\n".join([title, head, *lines])


def lesion_table(name: str, found: DetectionSummary) -> str:
    """Return the lesions of one class as a table: a line per size, then all."""
    rows: list[tuple[str, Any]] = [
        (_volumes(item.from_ml, item.to_ml), item) for item in found.bins
    ]
    lines = [
        f"{'size':<12}  {'lesions':>7}  {'found':>5}  {'sensitivity':>11}"
        f"  {'false positives':>15}  {'per scan':>8}"
    ]
    for title, item in [*rows, ("all", found)]:
        part = "–" if math.isnan(item.sensitivity) else f"{item.sensitivity:.4f}"
        false = item.false_positives
        lines.append(
            f"{title:<12}  {item.lesions:>7}  {item.found:>5}  {part:>11}"
            f"  {false:>15}  {false / found.scans:>8.2f}"
        )
    least_iou = found.to_dict()["rule"]["least_iou"]
    title = f"{name} by lesion, {count(found.scans, 'scan')}"
    return "\n".join([f"{title}; found means an IoU of at least {least_iou}, one to one", *lines])


def _volumes(low: float, high: float) -> str:
    if low == 0:
        return f"< {high:g} ml"
    return f">= {low:g} ml" if math.isinf(high) else f"{low:g}-{high:g} ml"


def _cell(mean: Mean, metric: str) -> str:
    value, deviation = getattr(mean, metric), getattr(mean, f"{metric}_sd")
    middle, (low, high) = getattr(mean, f"{metric}_median"), getattr(mean, f"{metric}_interval")
    text = "NaN" if math.isnan(value) else f"{value:.4f}"
    spread = text if math.isnan(deviation) else f"{text} ± {deviation:.4f}"
    interval = "–" if math.isnan(low) else f"{low:.4f}-{high:.4f}"
    return f"{spread:<15}  {'NaN' if math.isnan(middle) else f'{middle:.4f}':<6}  {interval:<13}"


def comparison_table(compared: MethodComparison, *, first: str, second: str) -> str:
    """Return the differences of two methods as a table: a line per class and metric, then means."""
    width = max(map(len, ["class", *compared.results]))
    head = (
        f"{'class':<{width}}  metric  difference  {'95 % CI':<17}  p         p (Holm)"
        "  effect    n  differ"
    )
    lines = [
        f"{name:<{width}}  {metric.upper():<6}  {_comparison(result)}"
        for name, by_metric in compared.results.items()
        for metric, result in by_metric.items()
    ]
    title = (
        f"{first} − {second}, {count(len(compared.cases), 'case')} of both: Wilcoxon "
        "signed-rank test; effect is the rank-biserial correlation"
    )
    rest = [
        f"only in {place}: {', '.join(ids)}"
        for place, ids in ((first, compared.only_first), (second, compared.only_second))
        if ids
    ]
    return "\n".join([title, head, *lines, *rest])


def _comparison(result: PairedComparison) -> str:
    difference = "–" if math.isnan(result.difference) else f"{result.difference:+.4f}"
    low, high = result.interval
    interval = "–" if math.isnan(low) else f"{low:+.4f} {high:+.4f}"
    effect = "–" if math.isnan(result.effect) else f"{result.effect:+.2f}"
    return (
        f"{difference:<10}  {interval:<17}  {_p(result.p):<8}  {_p(result.p_holm):<8}"
        f"  {effect:<6}  {result.n:>3}  {result.n_different:>6}"
    )


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"
