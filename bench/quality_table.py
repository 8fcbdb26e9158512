"""The figures of bench.quality, from its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

import nnstudent
from nnstudent.io.atomic import write_json
from nnstudent.quality.features import CaseFeatures
from nnstudent.quality.fit import KnownCase, calibrate, recalibrate
from nnstudent.quality.judged import Judged, judged
from nnstudent.quality.model import POOR, QualityModel

FOLDS = 10


def write_table(rows: Sequence[Mapping[str, Any]], path: Path | None) -> None:
    """Print every figure, and write them as JSON.

    Args:
        rows: What was measured.
        path: The JSON; None to print only.
    """
    cases = {kind: known(rows, kind) for kind in dict.fromkeys(row["set"] for row in rows)}
    calibration, unseen = cases.get("calibration", {}), cases.get("unseen", {})
    everything = {**calibration, **unseen}
    shifts = {kind: some for kind, some in cases.items() if kind.startswith("shift:")}
    bad = [case for some in shifts.values() for case in some.values()]
    model = calibrate(list(everything.values()), also=bad)
    across = crossed(everything, also=bad)
    found: dict[str, Any] = {
        "scans": {kind: len(some) for kind, some in cases.items()},
        "cross": figures(across),
    }
    if len(calibration) >= 20:
        apart = calibrate(list(calibration.values()))
        found["unseen"] = figures(judged(apart, unseen))
    found["organs"] = {
        organ: figures([item for item in across if item.organ == organ]) for organ in model.norms
    }
    shifted: list[Judged] = []
    for kind, some in shifts.items():
        # The regression has seen no scan that is bad in this way.
        others = [case for name, other in shifts.items() if name != kind for case in other.values()]
        items = judged(calibrate(list(everything.values()), also=others), some)
        found[kind] = figures(items) | {"missed": missed(some, model)}
        shifted += items
    found["all_shifts"] = figures(shifted)
    if "ct" in cases:
        found["ct"] = on_ct(model, cases["ct"])
    print(json.dumps(found, indent=1))
    if path is not None:
        write_json(path, found)


def shipped(rows: Sequence[Mapping[str, Any]]) -> QualityModel:
    """The calibration of the bundled student: on all phantoms, adapted to the public CT."""
    usual = [case for kind in ("calibration", "unseen") for case in known(rows, kind).values()]
    kinds = sorted({row["set"] for row in rows if row["set"].startswith("shift:")})
    bad = [case for kind in kinds for case in known(rows, kind).values()]
    ct = known(rows, "ct")
    rests_on = {
        "scans": len(usual),
        "truth": f"exact labels of synthetic patients that it never saw, and of {len(bad)} more "
        "with noise, thick slices, cuts, streaks and the like, from which only the regression "
        "learned",
        "precision": "the fastest of the machine",
        "made_by": f"nnstudent {nnstudent.__version__}",
    }
    adapted_to = {
        "scans": len(ct),
        "truth": f"labels of {', '.join(ct)} by other models, not by experts; the student learned "
        "from three of them, so that it expects too much rather than too little",
    }
    model = calibrate(usual, also=bad, rests_on=rests_on)
    return recalibrate(model, list(ct.values()), rests_on={**rests_on, "adapted_to": adapted_to})


def known(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, KnownCase]:
    """The cases of one set by their names."""
    return {
        row["id"]: KnownCase(CaseFeatures.from_dict(row["features"], where=row["id"]), row["dice"])
        for row in rows
        if row["set"] == kind
    }


def missed(cases: Mapping[str, KnownCase], model: QualityModel) -> dict[str, int]:
    """Organs that are there and were not found, and how many of them are named."""
    lost = [
        (case, organ)
        for case in cases.values()
        for organ in case.dice
        if organ in case.features.absent
    ]
    named = sum(organ in model(case.features) for case, organ in lost)
    return {"organs": len(lost), "named": named}


def crossed(cases: Mapping[str, KnownCase], *, also: Sequence[KnownCase] = ()) -> list[Judged]:
    """Every case judged by a calibration without its fold."""
    names = sorted(cases)
    found = []
    for fold in range(FOLDS):
        rest = [cases[name] for k, name in enumerate(names) if k % FOLDS != fold]
        own = {name: cases[name] for k, name in enumerate(names) if k % FOLDS == fold}
        found += judged(calibrate(rest, also=also), own)
    return found


def figures(items: Sequence[Judged]) -> dict[str, Any]:
    """Coverage, width, correlations, and how well organs below 0.5 are found."""
    if not items:
        return {"organs": 0}
    expected, true, low, high, confidence = (
        np.array([getattr(item, name) for item in items])
        for name in ("expected", "true", "low", "high", "confidence")
    )
    poor = true < POOR
    verdicts = np.array([item.verdict for item in items])
    return {
        "organs": len(items),
        "coverage": round(float(np.mean((low <= true) & (true <= high))), 3),
        "below_low": round(float(np.mean(true < low)), 3),
        "width": round(float(np.mean(high - low)), 3),
        "mean_true": round(float(true.mean()), 3),
        "mean_expected": round(float(expected.mean()), 3),
        "mean_absolute_error": round(float(np.abs(expected - true).mean()), 3),
        "spearman": _spearman(expected, true),
        "spearman_of_confidence": _spearman(confidence, true),
        "auroc": _auroc(-expected, poor),
        "auroc_of_confidence": _auroc(-confidence, poor),
        "poor": int(poor.sum()),
        "poor_flagged": int((poor & (verdicts != "pass")).sum()),
        "poor_failed": int((poor & (verdicts == "fail")).sum()),
        "verdicts": {name: int((verdicts == name).sum()) for name in ("pass", "look", "fail")},
        "poor_among_pass": int((poor & (verdicts == "pass")).sum()),
    }


def on_ct(model: QualityModel, cases: Mapping[str, KnownCase]) -> dict[str, Any]:
    """Each CT judged by the calibration on phantoms, adapted to the other CT, and not adapted."""
    adapted, worst = [], {}
    for scan in cases:
        others = [case for name, case in cases.items() if name != scan]
        items = judged(recalibrate(model, others), {scan: cases[scan]})
        adapted += items
        order = sorted(items, key=lambda item: item.expected)
        true = sorted(items, key=lambda item: item.true)
        worst[scan] = {
            "expected_worst": [item.organ for item in order[:4]],
            "true_worst": [item.organ for item in true[:4]],
            "spearman": _spearman(
                np.array([item.expected for item in items]), np.array([item.true for item in items])
            ),
        }
    return {
        "adapted_to_the_others": figures(adapted),
        "as_calibrated_on_phantoms": figures(judged(model, cases)),
        "scans": worst,
    }


def _spearman(one: np.typing.NDArray[Any], other: np.typing.NDArray[Any]) -> float | None:
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 3:
        return None
    return round(float(spearmanr(one[known], other[known]).statistic), 3)


def _auroc(score: np.typing.NDArray[Any], poor: np.typing.NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve, by ranks; None without organs of both kinds."""
    known = np.isfinite(score)
    score, poor = score[known], poor[known]
    bad, good = int(poor.sum()), int((~poor).sum())
    if not bad or not good:
        return None
    ranks = rankdata(score)
    return round(float((ranks[poor].sum() - bad * (bad + 1) / 2) / (bad * good)), 3)
