"""``select``: keep the pseudo-labels that the folds agree on, lay the truth over them, write the set that the student learns from."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nnstudent.cases import for_each_case
from nnstudent.cohort import ledger
from nnstudent.cohort.cohort import Case, Cohort, write_cohort
from nnstudent.cohort.fuse import check_ids, fuse, ids_in
from nnstudent.cohort.uncertainty import (
    Uncertainty,
    fused_uncertainty,
    has_uncertainty,
    probability_path,
    read_uncertainty,
    remove_uncertainty,
    runner_up_path,
    write_uncertainty,
)
from nnstudent.errors import Failure, InputError
from nnstudent.io.atomic import write_json
from nnstudent.io.lock import writing
from nnstudent.io.nifti import read_grid, read_labels, write_labels
from nnstudent.io.record import file_hash, is_made_from, write_record
from nnstudent.progress import Progress, silent
from nnstudent.pseudo import pseudo_label
from nnstudent.pseudo.pseudo_label import PseudoLabel
from nnstudent.pseudo.selection import Decision, SelectSettings, decide, dropped, trimmed
from nnstudent.serialization import Record, read_json_table
from nnstudent.taxonomy import IGNORE, Taxonomy
from nnstudent.types import LabelArray
from nnstudent.volume import Volume

log = logging.getLogger(__name__)

DATASET = Path("nnUNet_raw/Dataset001_fused")


@dataclass(frozen=True)
class SelectResult:
    """What select did.

    Attributes:
        classes: The classes that the student is to learn.
        decisions: One a training case, in the cohort's order.
        failures: The cases that could not be read; they are dropped.
        written: How many fused label maps were written; the others were there already.
        ignored: By case kept, the share of its voxels that the student is not to learn from.
    """

    classes: tuple[str, ...]
    decisions: tuple[Decision, ...]
    failures: tuple[Failure, ...]
    written: int
    ignored: Mapping[str, float] = field(default_factory=dict)

    @property
    def kept(self) -> tuple[str, ...]:
        """Ids of the cases that the student learns from."""
        return tuple(decision.case for decision in self.decisions if decision.kept)


def select(
    cohort: Cohort,
    pseudo: Path,
    out: Path,
    *,
    settings: SelectSettings | None = None,
    classes: Sequence[str] | None = None,
    progress: Progress = silent,
) -> SelectResult:
    """Choose the cases that the student learns from and write their fused labels.

    Writes into ``out``: ``cohort.json`` (the cases kept, each with the classes that its truth or pseudo-label covers),
    ``ledger.jsonl`` (a row for each training case and class) and ``nnUNet_raw/Dataset001_fused`` (``dataset.json`` that points at
    the images where they are, and ``labelsTr``); a case with a class left open is not in ``dataset.json``, for nnU-Net would
    take that class for absent. With ``ignore_below`` nnU-Net's label ``ignore`` is the highest value, and 255 in the label maps that
    ``cohort.json`` names, which are then ``labels``. Of pseudo-labels that ``label --probability`` made, ``probability`` and ``runner_up``
    say what is thought of each voxel of the fused labels. What is there and made from the same files is not written again.

    Args:
        cohort: The cases; those with role ``test`` are left out altogether.
        pseudo: Folder that ``label`` wrote; may lack cases, or be missing where every case is annotated throughout.
        out: Folder to write into.
        settings: What a pseudo-label must reach.
        classes: What the student is to learn; by default every class that is annotated somewhere or known to a model.
        progress: Told after each case.

    Raises:
        InputError: No case is kept, ``classes`` names a class that is not in the table, or with ``ignore_below`` a pseudo-label comes
            without its probabilities.
        OutputError: ``out`` cannot be written.
    """
    settings = settings or SelectSettings()
    taxonomy = cohort.taxonomy
    found, failures = _pseudo_labels(cohort, pseudo)
    known = tuple(
        sorted({name for item in found.values() if item.classes is None for name in item.found})
    )
    learned = _classes(cohort, found, known) if classes is None else taxonomy.sorted(classes)

    cases = cohort.train()
    decisions: list[Decision] = []
    for case in cases:
        choice = decide(
            case,
            found.get(case.id),
            classes=learned,
            taxonomy=taxonomy,
            settings=settings,
            known=known,
        )
        decisions.append(dropped(choice, failures[case.id]) if case.id in failures else choice)
    decisions = list(trimmed(decisions, settings=settings))
    if settings.ignore_below:
        _check_probabilities(pseudo, decisions)

    _warn_of_holes(found, decisions, set(taxonomy.lesions) - set(learned))

    with writing(out):
        return _fuse(
            cohort,
            pseudo,
            out,
            found,
            decisions,
            failures,
            learned=learned,
            settings=settings,
            progress=progress,
        )


def _ignored(record: Path) -> float:
    """The share of a fused label map that is ignored."""
    share: float = Record(read_json_table(record, what="a fused label"), str(record)).get(
        "ignored", float, 0.0
    )
    return share


def _fuse(
    cohort: Cohort,
    pseudo: Path,
    out: Path,
    found: Mapping[str, PseudoLabel],
    decisions: Sequence[Decision],
    failures: Mapping[str, str],
    *,
    learned: tuple[str, ...],
    settings: SelectSettings,
    progress: Progress,
) -> SelectResult:
    """Write the fused labels of the cases that were chosen, and the set that they make up."""
    cases = cohort.train()
    choices = {choice.case: choice for choice in decisions}

    def write(case: Case) -> tuple[bool, float] | None:
        choice = choices[case.id]
        if not choice.kept:
            return None
        item = found.get(case.id) if choice.filled else None
        new = _write_fused(
            case,
            item,
            choice.filled,
            pseudo,
            out,
            learned=learned,
            cohort=cohort,
            below=settings.ignore_below,
        )
        return new, _ignored(out / "records" / f"{case.id}.json")

    results, failed = for_each_case(
        cases, write, files=partial(_files, pseudo), what="select", progress=progress
    )
    failures = {**failures, **{failure.case: failure.reason for failure in failed}}
    for failure in failed:
        choices[failure.case] = dropped(choices[failure.case], failure.reason)
    decisions = [choices[case.id] for case in cases]
    kept = {case.id: made for case, made in results if made is not None}
    written = sum(new for new, _ in kept.values())
    ignored = {id: share for id, (_, share) in kept.items()}

    result = SelectResult(
        learned,
        tuple(decisions),
        tuple(Failure(*pair) for pair in failures.items()),
        written,
        ignored,
    )
    ledger.write_ledger(
        out / ledger.LEDGER_NAME, (row for choice in decisions for row in choice.rows)
    )
    if not result.kept:
        reason = decisions[0].why if decisions else "the cohort has no training case"
        raise InputError(
            f"{out}: no case is left to learn from ({reason}); {out / ledger.LEDGER_NAME} says why for each"
        )
    _write_dataset(cohort, result, out, settings=settings)
    return result


def _warn_of_holes(
    found: Mapping[str, PseudoLabel], decisions: Sequence[Decision], unlearned: set[str]
) -> None:
    filled = [choice.case for choice in decisions if choice.kept and choice.filled]
    over = [case for case in filled if unlearned.intersection(found[case].found)]
    if over:
        log.warning(
            "%s: in %d of %d pseudo-labels and not learned, which leaves holes in the organs under it; label with the organ teachers alone",
            " and ".join(sorted(unlearned)),
            len(over),
            len(filled),
        )


def _check_probabilities(pseudo: Path, decisions: Sequence[Decision]) -> None:
    used = [choice.case for choice in decisions if choice.kept and choice.filled]
    lacking = [case for case in used if not has_uncertainty(pseudo, case)]
    if lacking:
        raise InputError(
            f"{pseudo}: {len(lacking)} of {len(used)} pseudo-labels come without the probability of each voxel, {lacking[0]} the first; "
            "run label again with --probability, or leave out --ignore-below"
        )


def _pseudo_labels(cohort: Cohort, folder: Path) -> tuple[dict[str, PseudoLabel], dict[str, str]]:
    def read(case: Case) -> PseudoLabel | None:
        item = pseudo_label.read_pseudo_label(folder, case.id)
        if item is not None:
            cohort.taxonomy.sorted((*(item.classes or ()), *item.found))
        return item

    results, failures = for_each_case(
        cohort.train(),
        read,
        files=lambda case: pseudo_label.paths(folder, case.id)[::-1],
        what="read",
    )
    found = {case.id: item for case, item in results if item is not None}
    return found, {failure.case: failure.reason for failure in failures}


def _files(pseudo: Path, case: Case) -> tuple[Path | None, ...]:
    return case.image, case.label, *pseudo_label.paths(pseudo, case.id)


def _classes(
    cohort: Cohort, found: Mapping[str, PseudoLabel], known: Sequence[str]
) -> tuple[str, ...]:
    names = {name for case in cohort.train() for name in case.annotated}.union(known)
    for item in found.values():
        names.update(item.classes or ())
    if not names:
        raise InputError(
            "no class is annotated in any case or known to any model; nothing to learn"
        )
    return cohort.taxonomy.sorted(names)


def channels(cohort: Cohort, learned: Sequence[str]) -> dict[str, int]:
    """The values in the nnU-Net dataset: consecutive, as nnU-Net requires, in the order of the table's ids."""
    names = sorted(learned, key=lambda name: cohort.taxonomy[name].id)
    return {name: number for number, name in enumerate(names, 1)}


def _same_ids(values: Mapping[str, int], taxonomy: Taxonomy) -> bool:
    return all(taxonomy[name].id == value for name, value in values.items())


def _write_fused(
    case: Case,
    item: PseudoLabel | None,
    filled: Sequence[str],
    pseudo: Path,
    out: Path,
    *,
    learned: Sequence[str],
    cohort: Cohort,
    below: float,
) -> bool:
    """Write the fused label map of a case; False where it is there already."""
    taxonomy = cohort.taxonomy
    values = channels(cohort, learned)
    doubted = item is not None and below > 0
    kept_doubt = item is not None and has_uncertainty(pseudo, case.id)
    made_from = {
        "truth": None if case.label is None else file_hash(case.label),
        "pseudo": None if item is None else file_hash(pseudo_label.paths(pseudo, case.id)[0]),
        "annotated": sorted(case.annotated),
        "filled": sorted(filled),
        "values": values,
        "taxonomy": taxonomy.to_dict(),
        **({"below": below} if doubted else {}),
        **(
            {
                "doubt": [
                    file_hash(path(pseudo, case.id)) for path in (probability_path, runner_up_path)
                ]
            }
            if kept_doubt
            else {}
        ),
    }
    path = out / DATASET / "labelsTr" / f"{case.id}.nii.gz"
    record = out / "records" / f"{case.id}.json"
    plain = out / "labels" / f"{case.id}.nii.gz"
    same_ids = not below and _same_ids(values, taxonomy)
    if is_made_from(record, made_from) and path.is_file() and (same_ids or plain.is_file()):
        return False

    truth = None if case.label is None else read_labels(case.label)
    guess = None if item is None else read_labels(pseudo_label.paths(pseudo, case.id)[0])
    grid = read_grid(case.image)
    for what, volume in (("label", truth), ("pseudo-label", guess)):
        if volume is not None:
            grid.require(volume.grid, what=f"the {what}", advice="index and label the case again")
    table, keep, fill = (np.zeros(256, np.uint8) for _ in range(3))
    for name, value in values.items():
        table[taxonomy[name].id] = value
        keep[taxonomy[name].id] = taxonomy[name].id
    for name in filled:
        fill[taxonomy[name].id] = taxonomy[name].id
    for what, volume in (("label", truth), ("pseudo-label", guess)):
        check_ids(ids_in(None if volume is None else volume.array), taxonomy, what=what)
    # What is not learned is taken out before fusing: a lesion that this student is not taught must not cut a hole into an organ.
    labels = fuse(
        None if truth is None else keep[truth.array],
        None if guess is None else fill[guess.array],
        annotated=[taxonomy[name].id for name in case.annotated],
        taxonomy=taxonomy,
    )
    remove_uncertainty(out, case.id)
    ignored = 0.0
    if kept_doubt and guess is not None:
        doubt = _doubt(case, labels, truth, guess, pseudo, filled, taxonomy=taxonomy)
        write_uncertainty(out, case.id, doubt, grid, like=case.image)
        if (
            doubted
        ):  # an organ that a person drew is learned, whether or not there may be a lesion in it
            out_of_it = (doubt.probability < 255 * below) & ~np.isin(
                labels, [taxonomy[name].id for name in case.annotated]
            )
            labels[out_of_it] = IGNORE
            ignored = float(out_of_it.mean())
    if doubted:
        table[IGNORE], keep[IGNORE] = len(values) + 1, IGNORE
    write_labels(path, Volume(table[labels], grid), like=case.image)
    if not same_ids:  # nnU-Net's values are then not the table's ids, which cohort.json speaks of
        write_labels(plain, Volume(keep[labels], grid), like=case.image)
    doubts = (
        [place(out, case.id) for place in (probability_path, runner_up_path)]
        if has_uncertainty(out, case.id)
        else []
    )
    files = [path, *([] if same_ids else [plain]), *doubts]
    told = {"ignored": round(ignored, 6)} if doubted else {}
    write_record(record, stage="select", made_from=made_from, files=files, case=case.id, **told)
    return True


def _doubt(
    case: Case,
    fused: LabelArray,
    truth: Volume | None,
    guess: Volume,
    pseudo: Path,
    filled: Sequence[str],
    *,
    taxonomy: Taxonomy,
) -> Uncertainty:
    said = read_uncertainty(pseudo, case.id)
    for volume in said:
        guess.grid.require(
            volume.grid,
            what="the probability map",
            of="its pseudo-label",
            advice="label the case again with --probability",
        )
    return fused_uncertainty(
        fused,
        None if truth is None else truth.array,
        guess.array,
        Uncertainty(*(volume.array for volume in said)),
        annotated=[taxonomy[name].id for name in case.annotated],
        filled=[taxonomy[name].id for name in filled],
        taxonomy=taxonomy,
    )


def _write_dataset(
    cohort: Cohort, result: SelectResult, out: Path, *, settings: SelectSettings
) -> None:
    values = channels(cohort, result.classes)
    same_ids = not settings.ignore_below and _same_ids(values, cohort.taxonomy)
    labels = out / DATASET / "labelsTr" if same_ids else out / "labels"
    chosen = [(cohort[choice.case], choice) for choice in result.decisions if choice.kept]
    cases = tuple(
        Case(
            case.id,
            case.image,
            labels / f"{case.id}.nii.gz",
            annotated=frozenset(result.classes) - frozenset(choice.open),
            declared=True,
        )
        for case, choice in chosen
    )
    whole = [case for case, choice in chosen if not choice.open]
    dropped = tuple(
        Failure(decision.case, decision.why) for decision in result.decisions if not decision.kept
    )
    write_cohort(out, Cohort(cohort.taxonomy, cases, dropped))
    table: dict[str, Any] = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0}
        | values
        | ({"ignore": len(values) + 1} if settings.ignore_below else {}),
        "numTraining": len(whole),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "dataset": {
            case.id: {
                "images": [os.path.abspath(case.image)],
                "label": f"labelsTr/{case.id}.nii.gz",
            }
            for case in whole
        },
        "nnstudent": {
            "taxonomy": cohort.taxonomy.to_dict(),
            "classes": {str(value): name for name, value in values.items()},
            "truth": [
                decision.case
                for decision in result.decisions
                if decision.kept and not (decision.filled or decision.open)
            ],
            "settings": asdict(settings),
        },
    }
    write_json(out / DATASET / "dataset.json", table)
