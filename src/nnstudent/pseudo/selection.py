"""Whether the student learns from a case, and where each of its classes comes from.

These are the pure functions behind ``select``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from nnstudent.cohort.cohort import Case
from nnstudent.cohort.ledger import LedgerRow, Origin
from nnstudent.errors import InputError
from nnstudent.pseudo.pseudo_label import PseudoLabel
from nnstudent.taxonomy import LabelClass, Taxonomy

NOT_LEARNED = "not a class of this student"


@dataclass(frozen=True)
class SelectSettings:
    """What a pseudo-label must reach for the student to learn from it.

    Attributes:
        min_agreement: Lowest mean pairwise DSC of the folds over the organs filled in, 0 to 1.
        min_class_agreement: Lowest agreement of any one of these organs, 0 to 1.
        min_confidence: Lowest mean confidence over these organs, 0 to 1; with ``leave_open``, of
            each class alone, lesions too.
        keep: Largest share of the cases with an agreement that is kept, best first, 0 to 1.
        leave_open: Learn from a case without knowing all of its classes. The student's loss must
            allow for it (``partial = "marginal"``). Each class is then judged alone, and a case
            whose pseudo-label is dropped keeps its truth.
        max_change: Largest share of the foreground that may change from round to round, averaged
            over rounds, 0 to 1: of the case, and with ``leave_open`` of each organ alone. It has no
            effect in the first round.
        min_lesion_agreement: Least agreement of the folds on one lesion, 0 to 1: the mean over its
            voxels of the share of the folds that see a lesion there. Voxels of a lesion with less
            are not learned from. A lesion of a single fold has no agreement, and stays.
        ignore_below: Voxels of a pseudo-label with a lower ensemble probability are not learned
            from; they get nnU-Net's ignore label.

    Raises:
        InputError: A value is not 0 to 1.
    """

    min_agreement: float = 0.6
    min_class_agreement: float = 0.0
    min_confidence: float = 0.0
    keep: float = 1.0
    leave_open: bool = False
    max_change: float = 1.0
    ignore_below: float = 0.0
    min_lesion_agreement: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= 1:
                raise InputError(f"select: {name} = {value}; expected 0 to 1")


@dataclass(frozen=True, slots=True)
class Basis:
    """What a case was judged by; the rows of the ledger follow from it and the decision.

    Attributes:
        annotated: The classes that are annotated in the case.
        pseudo: Its pseudo-label, or None.
        classes: The classes that the student learns.
        names: The classes of the label table.
        filled: The classes that the pseudo-label could fill in.
        why: What was said of the pseudo-label, in one line.
    """

    annotated: frozenset[str]
    pseudo: PseudoLabel | None
    classes: tuple[str, ...]
    names: tuple[str, ...]
    filled: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one case.

    Attributes:
        case: The case's id.
        kept: Whether the student learns from it.
        why: The reason, in one line.
        filled: The classes that the pseudo-label fills in; empty if all classes are annotated.
        score: Mean agreement over the organs filled in; None if there is none.
        basis: What it was judged by.
        open: The classes that are neither annotated nor filled in.
        why_dropped: Why the case is dropped, truth included; empty if it is not.
        why_unfilled: Why the pseudo-label is dropped and the truth kept; empty if it is not.
    """

    case: str
    kept: bool
    why: str
    filled: tuple[str, ...]
    score: float | None
    basis: Basis
    open: tuple[str, ...] = ()
    why_dropped: str = ""
    why_unfilled: str = ""

    @property
    def rows(self) -> Iterator[LedgerRow]:
        """Its rows of the ledger, one for each class of the label table, made one at a time."""
        for name in self.basis.classes:
            yield self._row(name)
        for name in self.basis.names:
            if name not in self.basis.classes:
                yield LedgerRow(self.case, name, "dropped", None, 0, None, NOT_LEARNED)

    def _row(self, name: str) -> LedgerRow:
        basis, pseudo = self.basis, self.basis.pseudo
        if name in basis.annotated:
            origin: Origin = "dropped" if self.why_dropped else "truth"
            why = f"annotated, but the case is dropped: {self.why_dropped}"
            why = why if self.why_dropped else "annotated"
            return LedgerRow(self.case, name, origin, None, 0, None, why)
        why = self.why_dropped or basis.why
        if name in basis.filled:
            why = self.why_dropped or self.why_unfilled or basis.why
        origin = "pseudo" if self.kept and name in self.filled else "dropped"
        if pseudo is None:
            return LedgerRow(self.case, name, origin, None, 0, None, why)
        return LedgerRow(
            self.case,
            name,
            origin,
            pseudo.models.get(name),
            pseudo.round,
            pseudo.agreement.get(name),
            why,
            pseudo.class_change.get(name),
        )


class _Judgment(NamedTuple):
    score: float | None
    why: str
    kept: bool


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

    A case with all classes annotated is always kept. Any other is kept if the models of its
    pseudo-label know every class that it lacks, and if the folds agree well enough on the organs
    filled in. Lesions do not count: folds disagree about them in cases whose organs are fine. Their
    score is in the ledger. If the pseudo-label is dropped, the whole case is, truth included,
    because the student's loss would punish every organ that the truth lacks.

    With ``leave_open``, an organ is filled in if the folds agree on it and it is stable from round
    to round. A lesion, and an organ without an agreement of its own (a single model labeled it, or
    every fold missed it), is filled in if the case as a whole would be kept and the ensemble is
    confident enough of the class. The other classes are left open, and the case is kept if any of
    its classes is known.

    Args:
        case: The case.
        pseudo: Its pseudo-label, or None.
        classes: The classes that the student learns.
        taxonomy: The label table.
        settings: What a pseudo-label must reach.
        known: The classes that the models know, if the pseudo-label itself does not say.
    """
    missing = tuple(name for name in classes if name not in case.annotated)
    # With leave_open a class that no model knows stays open and does not count against the case.
    judged = _known_of(missing, pseudo, known) if settings.leave_open else missing
    score, why, kept = _judge(
        case, pseudo, filled=judged or missing, taxonomy=taxonomy, settings=settings, known=known
    )
    filled = missing
    if settings.leave_open:
        stable = replace(settings, max_change=1.0)  # each organ's own change decides
        organs_kept = _judge(
            case, pseudo, filled=judged, taxonomy=taxonomy, settings=stable, known=known
        ).kept
        case_kept = {
            name: kept if taxonomy[name].kind == "lesion" else organs_kept for name in judged
        }
        filled = tuple(
            name
            for name in judged
            if pseudo
            and _is_filled(pseudo, taxonomy[name], settings=settings, case_kept=case_kept[name])
        )
        kept = bool(filled) or not missing
        if kept and len(filled) < len(missing):
            why = f"{why}; {len(filled)} of {len(missing)} classes filled in, the others left open"
    left_open = tuple(name for name in missing if name not in filled)
    basis = Basis(case.annotated, pseudo, tuple(classes), taxonomy.names, filled, why)
    decision = Decision(case.id, True, why, filled, score, basis, left_open)
    return decision if kept else _without_pseudo(decision, why, leave_open=settings.leave_open)


def drop(decision: Decision, why: str) -> Decision:
    """Return the decision as one that drops the case, rows included."""
    return replace(decision, kept=False, why=why, why_dropped=why)


def _without_pseudo(decision: Decision, why: str, *, leave_open: bool) -> Decision:
    """Return the decision without its pseudo-label.

    If classes may be left open, the truth alone is kept; otherwise the case is dropped.
    """
    basis = decision.basis
    if not leave_open or basis.annotated.isdisjoint(basis.classes):
        return drop(decision, why)
    return replace(
        decision,
        why=f"its truth alone: {why}",
        filled=(),
        open=decision.filled + decision.open,
        why_unfilled=why,
    )


def keep_best(decisions: Sequence[Decision], *, settings: SelectSettings) -> tuple[Decision, ...]:
    """Drop the worst pseudo-labels, so that at most the share ``settings.keep`` is left.

    Only pseudo-labels with an agreement are ranked.

    Args:
        decisions: Decisions, in any order.
        settings: What is kept.

    Returns:
        The decisions, in the same order.
    """
    ranked = sorted(
        (item for item in decisions if item.kept and item.filled and item.score is not None),
        key=lambda item: -(item.score or 0),
    )
    room = math.ceil(settings.keep * len(ranked) - 1e-9)
    worst = {item.case for item in ranked[room:]}
    return tuple(
        _without_pseudo(
            item,
            f"{item.why}, but not among the best {room} of {len(ranked)}",
            leave_open=settings.leave_open,
        )
        if item.case in worst
        else item
        for item in decisions
    )


def _known_of(
    names: Sequence[str], pseudo: PseudoLabel | None, known: Sequence[str]
) -> tuple[str, ...]:
    """Return those of the classes that the models of the pseudo-label know."""
    by_models = () if pseudo is None else known if pseudo.classes is None else pseudo.classes
    return tuple(name for name in names if name in by_models)


def _is_filled(
    pseudo: PseudoLabel, item: LabelClass, *, settings: SelectSettings, case_kept: bool
) -> bool:
    """Return whether a class is filled in where classes may be left open."""
    if item.kind != "lesion" and pseudo.class_change.get(item.name, 0.0) > settings.max_change:
        return False
    agreement = pseudo.agreement.get(item.name) if pseudo.folds.get(item.name, 0) > 1 else None
    confidence = pseudo.confidence.get(item.name)
    if confidence is not None and confidence < settings.min_confidence:
        return False
    if agreement is None or item.kind == "lesion":
        return case_kept
    return agreement >= max(settings.min_agreement, settings.min_class_agreement)


def _judge(
    case: Case,
    pseudo: PseudoLabel | None,
    *,
    filled: Sequence[str],
    taxonomy: Taxonomy,
    settings: SelectSettings,
    known: Sequence[str],
) -> _Judgment:
    """Judge a case by all the classes that its pseudo-label would fill in."""
    if not filled:
        return _Judgment(None, "annotated throughout", True)
    if pseudo is None:
        why = f"no pseudo-label, and {_few(filled)} not annotated; run label again"
        return _Judgment(None, why, False)
    by_models = _known_of(filled, pseudo, known)
    unknown = [name for name in filled if name not in by_models]
    if unknown:
        why = f"{_few(unknown)} neither annotated nor known to the models that labeled it"
        return _Judgment(None, why, False)
    organs = [name for name in filled if taxonomy[name].kind == "organ"]
    if not organs:
        return _Judgment(None, f"only {_few(filled)} filled in", True)
    found = [name for name in organs if name in pseudo.found]
    if not found and not any(taxonomy[name].kind == "organ" for name in case.annotated):
        return _Judgment(None, f"the models found none of {len(organs)} organs", False)
    return _judge_organs(pseudo, organs, settings)


def _judge_organs(
    pseudo: PseudoLabel, organs: Sequence[str], settings: SelectSettings
) -> _Judgment:
    """Judge a pseudo-label by its organs: stability, confidence, agreement."""
    score = _mean(pseudo.agreement.get(name) for name in organs)
    change = pseudo.mean_change
    if change is not None and change > settings.max_change:
        why = (
            f"{100 * change:.1f} % of its foreground changes from round to round, "
            f"over {100 * settings.max_change:.1f} %"
        )
        return _Judgment(score, why, False)
    confidence = _mean(pseudo.confidence.get(name) for name in organs)
    if confidence is not None and confidence < settings.min_confidence:
        why = f"mean confidence {confidence:.2f}, under {settings.min_confidence:.2f}"
        return _Judgment(score, why, False)
    if max((pseudo.folds.get(name, 0) for name in organs), default=0) < 2:
        reason = "a single fold" if pseudo.folds else "labels made elsewhere"
        return _Judgment(None, f"kept without agreement: {reason}", True)
    if score is None:
        return _Judgment(None, f"the folds agree that {_few(organs)} is not in view", True)
    relation, kept = ("at least", True) if score >= settings.min_agreement else ("under", False)
    seen = {name: pseudo.agreement[name] for name in organs if name in pseudo.agreement}
    worst = min(seen, key=lambda name: seen[name])
    if kept and seen[worst] < settings.min_class_agreement:
        why = (
            f"folds agree {seen[worst]:.2f} on {worst}, "
            f"under {settings.min_class_agreement:.2f} for one organ"
        )
        return _Judgment(score, why, False)
    why = (
        f"folds agree {score:.2f} over {len(seen)} organ{'' if len(seen) == 1 else 's'}, "
        f"{relation} {settings.min_agreement:.2f}"
    )
    return _Judgment(score, why, kept)


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _few(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names)
    return f"{', '.join(names[:2])} and {len(names) - 2} more"
