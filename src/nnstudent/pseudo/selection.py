"""Whether the student may learn from a case, and where each of its classes comes from: the pure part of ``select``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nnstudent.cohort.cohort import Case
from nnstudent.cohort.ledger import LedgerRow
from nnstudent.errors import InputError
from nnstudent.pseudo.pseudo_label import PseudoLabel
from nnstudent.taxonomy import LabelClass, Taxonomy

NOT_LEARNED = "not a class of this student"


@dataclass(frozen=True)
class SelectSettings:
    """What a pseudo-label must reach to be learned from.

    Attributes:
        min_agreement: Least mean, over the organs that it fills in, of the folds' pairwise DSC, 0 to 1.
        min_class_agreement: Least agreement of the worst of these organs.
        min_confidence: Least mean, over the same organs, of the ensemble's probability over the organ's own voxels, 0 to 1; with
            ``leave_open`` of each class by itself, lesions too.
        keep: Share of the cases with an agreement, best first, that is kept at most.
        leave_open: Whether a case may be learned from without knowing all of its classes, which the student's loss has to allow
            for (``partial = "marginal"``). Then each class is judged by itself, and a case whose pseudo-label is dropped keeps its
            truth.
        max_change: Largest change from round to round, the mean over rounds of the voxels that changed among those that are foreground, 0
            to 1: of the case; with ``leave_open`` of each organ by itself. Where there was no round before it has no say.
        ignore_below: Voxels of a pseudo-label whose ensemble probability is under this are not learned from: nnU-Net's ignore label.

    Raises:
        InputError: A value is not from 0 to 1.
    """

    min_agreement: float = 0.6
    min_class_agreement: float = 0.0
    min_confidence: float = 0.0
    keep: float = 1.0
    leave_open: bool = False
    max_change: float = 1.0
    ignore_below: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise InputError(f"select: {name} = {value}; expected 0 to 1")


@dataclass(frozen=True)
class Decision:
    """What becomes of one case.

    Attributes:
        case: The case's id.
        kept: Whether the student learns from it.
        why: One line.
        filled: The classes that the pseudo-label fills in; empty for a case that is annotated throughout.
        open: The classes that nobody looked for and no pseudo-label fills in.
        score: Mean agreement over the organs filled in, or None where there is none.
        rows: The ledger's rows, one a class of the label table.
    """

    case: str
    kept: bool
    why: str
    filled: tuple[str, ...]
    score: float | None
    rows: tuple[LedgerRow, ...]
    open: tuple[str, ...] = ()


def decide(
    case: Case,
    pseudo: PseudoLabel | None,
    *,
    classes: Sequence[str],
    taxonomy: Taxonomy,
    settings: SelectSettings,
    known: Sequence[str] = (),
) -> Decision:
    """Decide on one case.

    A case that is annotated throughout is always kept. Any other is kept if every class that nobody looked for in it is known
    to the makers of its pseudo-label, and the folds agree well enough on the organs filled in. Lesions have no say: folds
    disagree about them in cases whose organs are fine, and their score is in the ledger. A case whose pseudo-label is dropped is
    dropped as a whole, its truth included: the student's loss would else punish every organ that the truth leaves out.

    With ``leave_open`` an organ is filled in if the folds agree on it and it does not change from round to round. What has no agreement
    of its own, for a single model labeled it or every fold missed it, and lesions are filled in if the case as a whole would be kept
    and, where they were found, the ensemble is sure enough of them. The others are left open, and the case is kept if any class of it is
    known.

    Args:
        case: The case.
        pseudo: Its pseudo-label, or None.
        classes: The classes that the student learns.
        taxonomy: The label table.
        settings: What a pseudo-label must reach.
        known: The classes that the makers know, where the pseudo-label itself does not say.
    """
    missing = tuple(name for name in classes if name not in case.annotated)
    asked = (
        _known(missing, pseudo, known) if settings.leave_open else missing
    )  # what no model knows may stay open and has no say then
    score, why, kept = _judge(
        case, pseudo, filled=asked or missing, taxonomy=taxonomy, settings=settings, known=known
    )
    filled = missing
    if settings.leave_open:
        steady = replace(settings, max_change=1.0)  # of an organ its own change decides
        without = _judge(
            case, pseudo, filled=asked, taxonomy=taxonomy, settings=steady, known=known
        )[2]
        whole = {name: kept if taxonomy[name].kind == "lesion" else without for name in asked}
        filled = tuple(
            name
            for name in asked
            if pseudo
            and _is_taken(pseudo, taxonomy[name], settings=settings, as_a_whole=whole[name])
        )
        kept = bool(filled) or not missing
        if kept and len(filled) < len(missing):
            why = f"{why}; {len(filled)} of {len(missing)} classes filled in, the others left open"
    rows = [_row(case, pseudo, name, filled=filled, why=why) for name in classes]
    rows += [
        LedgerRow(case.id, name, "dropped", None, 0, None, NOT_LEARNED)
        for name in taxonomy.names
        if name not in classes
    ]
    open_ = tuple(name for name in missing if name not in filled)
    choice = Decision(case.id, True, why, filled, score, tuple(rows), open_)
    return choice if kept else _without_pseudo(choice, why, leave_open=settings.leave_open)


def dropped(choice: Decision, why: str) -> Decision:
    """The same decision turned into a drop, its rows included."""
    rows = (
        row
        if row.why == NOT_LEARNED
        else replace(row, origin="dropped", why=_why_dropped(row.origin == "truth", why))
        for row in choice.rows
    )
    return replace(choice, kept=False, why=why, rows=tuple(rows))


def _without_pseudo(choice: Decision, why: str, *, leave_open: bool) -> Decision:
    """The same decision without its pseudo-label: on the truth alone where classes may be left open, else a drop."""
    if not leave_open or all(row.origin != "truth" for row in choice.rows):
        return dropped(choice, why)
    rows = (
        replace(row, origin="dropped", why=why) if row.origin == "pseudo" else row
        for row in choice.rows
    )
    return replace(
        choice,
        why=f"its truth alone: {why}",
        filled=(),
        open=choice.filled + choice.open,
        rows=tuple(rows),
    )


def trimmed(choices: Sequence[Decision], *, settings: SelectSettings) -> tuple[Decision, ...]:
    """Drop the worst of the pseudo-labels that have an agreement, so that at most the share ``settings.keep`` of them is left.

    Args:
        choices: Decisions, in any order.
        settings: What is kept.

    Returns:
        The decisions in the order given.
    """
    judged = [
        choice for choice in choices if choice.kept and choice.filled and choice.score is not None
    ]
    ranked = sorted(judged, key=lambda choice: -(choice.score or 0))
    room = math.ceil(settings.keep * len(ranked) - 1e-9)
    out = {choice.case for choice in ranked[room:]}
    return tuple(
        _without_pseudo(
            choice,
            f"{choice.why}, but not among the best {room} of {len(ranked)}",
            leave_open=settings.leave_open,
        )
        if choice.case in out
        else choice
        for choice in choices
    )


def _known(
    names: Sequence[str], pseudo: PseudoLabel | None, known: Sequence[str]
) -> tuple[str, ...]:
    """Those of the classes that the makers of the pseudo-label know."""
    makers = () if pseudo is None else known if pseudo.classes is None else pseudo.classes
    return tuple(name for name in names if name in makers)


def _is_taken(
    pseudo: PseudoLabel, item: LabelClass, *, settings: SelectSettings, as_a_whole: bool
) -> bool:
    if item.kind != "lesion" and pseudo.class_change.get(item.name, 0.0) > settings.max_change:
        return False
    agreement = pseudo.agreement.get(item.name) if pseudo.folds.get(item.name, 0) > 1 else None
    sure = pseudo.confidence.get(item.name)
    if sure is not None and sure < settings.min_confidence:
        return False
    if agreement is None or item.kind == "lesion":
        return as_a_whole
    return agreement >= max(settings.min_agreement, settings.min_class_agreement)


def _judge(
    case: Case,
    pseudo: PseudoLabel | None,
    *,
    filled: Sequence[str],
    taxonomy: Taxonomy,
    settings: SelectSettings,
    known: Sequence[str],
) -> tuple[float | None, str, bool]:
    if not filled:
        return None, "annotated throughout", True
    if pseudo is None:
        return None, f"no pseudo-label, and {_few(filled)} not annotated; run label again", False
    there = _known(filled, pseudo, known)
    lacking = [name for name in filled if name not in there]
    if lacking:
        return (
            None,
            f"{_few(lacking)} neither annotated nor known to the models that labeled it",
            False,
        )

    organs = [name for name in filled if taxonomy[name].kind == "organ"]
    found = [name for name in organs if name in pseudo.found]
    if not organs:
        return None, f"only {_few(filled)} filled in", True
    if not found and not any(taxonomy[name].kind == "organ" for name in case.annotated):
        return None, f"the models found none of {len(organs)} organs", False

    if pseudo.change is not None and pseudo.change > settings.max_change:
        return (
            _mean(pseudo.agreement.get(name) for name in organs),
            f"{100 * pseudo.change:.1f} % of its foreground changes from round to round, over {100 * settings.max_change:.1f} %",
            False,
        )
    sure = _mean(pseudo.confidence.get(name) for name in organs)
    if sure is not None and sure < settings.min_confidence:
        return (
            _mean(pseudo.agreement.get(name) for name in organs),
            f"mean confidence {sure:.2f}, under {settings.min_confidence:.2f}",
            False,
        )
    if max((pseudo.folds.get(name, 0) for name in organs), default=0) < 2:
        return (
            None,
            "kept without agreement: "
            + ("a single fold" if pseudo.folds else "labels made elsewhere"),
            True,
        )
    score = _mean(pseudo.agreement.get(name) for name in organs)
    if score is None:
        return None, f"the folds agree that {_few(organs)} is not in view", True
    relation, kept = ("at least", True) if score >= settings.min_agreement else ("under", False)
    seen = {name: pseudo.agreement[name] for name in organs if name in pseudo.agreement}
    worst = min(seen, key=lambda name: seen[name])
    if kept and seen[worst] < settings.min_class_agreement:
        return (
            score,
            f"folds agree {seen[worst]:.2f} on {worst}, under {settings.min_class_agreement:.2f} for one organ",
            False,
        )
    return (
        score,
        f"folds agree {score:.2f} over {len(seen)} organs, {relation} {settings.min_agreement:.2f}",
        kept,
    )


def _row(
    case: Case, pseudo: PseudoLabel | None, name: str, *, filled: Sequence[str], why: str
) -> LedgerRow:
    if name in case.annotated:
        return LedgerRow(case.id, name, "truth", None, 0, None, "annotated")
    model = None if pseudo is None else pseudo.models.get(name)
    score = None if pseudo is None else pseudo.agreement.get(name)
    change = None if pseudo is None else pseudo.class_change.get(name)
    return LedgerRow(
        case.id,
        name,
        "pseudo" if name in filled else "dropped",
        model,
        0 if pseudo is None else pseudo.round,
        score,
        why,
        change,
    )


def _why_dropped(annotated: bool, why: str) -> str:
    return f"annotated, but the case is dropped: {why}" if annotated else why


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _few(names: Sequence[str]) -> str:
    return (
        ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
    )
