"""What a run's folder holds, read part by part: a part that is missing or broken takes no other with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.cohort.ledger import read_ledger
from nnstudent.errors import InputError, NnStudentError
from nnstudent.report.costs import Cost, profiled_cost, size_of
from nnstudent.serialization import read_json_table
from nnstudent.taxonomy import Taxonomy, flare23

T = TypeVar("T")
ORIGINS = ("truth", "pseudo", "dropped")
# Columns of the score tables, in the order in which they are shown: file in scores/, heading, what it is.
METHODS = (
    ("teacher", "Teachers", "the ensemble of teachers, which saw labeled scans only"),
    ("baseline", "Without pseudo-labels", "the student's network, trained on labeled scans only"),
    ("student", "Student", "trained on labeled and pseudo-labeled scans"),
)


@dataclass(frozen=True)
class StageRow:
    """A stage of the run: its state, seconds, peak memory in MiB, a line of detail, and the cases that failed."""

    name: str
    state: str
    seconds: float | None
    peak_rss_mb: float | None
    detail: str
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Curve:
    """One training: losses and Dice an epoch. ``group`` is the model (``organ teachers``), ``fold`` one of its trainings."""

    group: str
    fold: str
    train_loss: Sequence[float | None]
    val_loss: Sequence[float | None]
    dice: Sequence[float | None]
    seconds: float | None
    epochs: int | None


@dataclass(frozen=True)
class Method:
    """Scores of one model: the content of ``evaluate --report``."""

    key: str
    title: str
    meaning: str
    data: Mapping[str, Any]

    def mean(self, name: str, value: str) -> float | None:
        """A value (``dsc``, ``nsd``, ``dsc_sd``, ``nsd_sd``, ``n``) of the mean of a class or group; None where there is none."""
        found = self.data.get("mean", {}).get(name, {}).get(value)
        return float(found) if isinstance(found, int | float) else None

    def case_mean(self, case: Mapping[str, Any], value: str, names: Sequence[str]) -> float | None:
        """Mean of ``dsc`` or ``nsd`` over those of the classes that a case was scored on."""
        known = [case.get(value, {}).get(name) for name in names]
        numbers = [float(number) for number in known if isinstance(number, int | float)]
        return sum(numbers) / len(numbers) if numbers else None


@dataclass(frozen=True)
class LedgerFacts:
    """Where the labels came from: counts by class and origin, how often which reason was given, and in which round."""

    by_class: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, Counter[str]]
    cases: Mapping[str, int]
    round: int = 1


@dataclass
class Run:
    """All that was found of a run.

    ``methods`` are scored on all that is annotated, ``whole`` on the organs that the field of view does not cut.
    ``segmenting`` holds, for each test case, the seconds that segmenting it took, ``costs`` these and memory by size;
    ``problems`` names what could not be read.
    """

    path: Path
    about: dict[str, str] = field(default_factory=dict)
    stages: list[StageRow] = field(default_factory=list)
    cohort: Cohort | None = None
    ledger: LedgerFacts | None = None
    methods: list[Method] = field(default_factory=list)
    whole: list[Method] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    segmenting: list[Mapping[str, Any]] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def taxonomy(self) -> Taxonomy:
        """The cohort's label table, else FLARE23's."""
        return self.cohort.taxonomy if self.cohort is not None else flare23()

    def method(self, key: str) -> Method | None:
        """The scores of ``teacher``, ``baseline`` or ``student``."""
        return next((method for method in self.methods if method.key == key), None)


def gather(path: Path) -> Run:
    """Read a run's folder.

    Raises:
        InputError: There is no such folder, or nothing of a run in it.
    """
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected a run, the folder that nnstudent run makes"
        )
    run = Run(path)
    if (path / "run.json").is_file():
        nothing: tuple[dict[str, str], list[StageRow]] = ({}, [])
        run.about, run.stages = _part(run, "run.json", _stages, nothing)
    if (path / "cohort" / "cohort.json").is_file():
        run.cohort = _part(run, "cohort/cohort.json", lambda _: read_cohort(path / "cohort"), None)
    ledger = _last_ledger(path, run.about.get("rounds", ""))
    if ledger is not None:
        run.ledger = _part(run, ledger, _ledger, None)
    for into, ending in ((run.methods, ""), (run.whole, ".whole")):
        for key, title, meaning in METHODS:
            name = f"scores/{key}{ending}.json"
            data = _part(run, name, _scores, None) if (path / name).is_file() else None
            if data is not None:
                into.append(Method(key, title, meaning, data))
    for file in sorted(
        path.glob("*/**/fold_*/progress.json"),
        key=lambda file: ("teachers" not in file.parts, file),
    ):
        curve = _part(run, file.relative_to(path).as_posix(), _curve, None)
        if curve is not None:
            run.curves.append(curve)
    for file in sorted((path / "predictions" / "student").glob("*.json")):
        seconds = _part(run, file.relative_to(path).as_posix(), _seconds, None)
        if seconds is not None:
            run.segmenting.append(seconds)
            if (
                isinstance(seconds.get("total"), int | float)
                and not (path / "efficiency" / file.name).is_file()
            ):
                run.costs.append(
                    Cost(file.stem, _size(run, file.stem), float(seconds["total"]), profiled=False)
                )
    for file in sorted((path / "efficiency").glob("*.json")):
        cost = _part(
            run,
            file.relative_to(path).as_posix(),
            lambda place: profiled_cost(place, _size(run, place.stem)),
            None,
        )
        if cost is not None:
            run.costs.append(cost)
    if not (run.stages or run.cohort or run.ledger or run.methods or run.curves or run.problems):
        raise InputError(
            f"{path}: nothing of a run in it (no run.json, cohort/, fused/, scores/ or trainings); expected what nnstudent run makes"
        )
    return run


def _part(run: Run, name: str, read: Callable[[Path], T], otherwise: T) -> T:
    try:
        return read(run.path / name)
    except NnStudentError as error:
        run.problems.append(str(error))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        run.problems.append(f"{name}: not readable ({type(error).__name__}: {error})")
    return otherwise


def _stages(path: Path) -> tuple[dict[str, str], list[StageRow]]:
    data = read_json_table(path, what="a run")
    about = {
        key: str(value)
        for key, value in data.items()
        if key not in ("schema", "stages") and isinstance(value, str | int | float)
    }
    if "source" in about:
        about["source"] = Path(
            about["source"]
        ).name  # where it lay is nobody's business whom the report is sent to
    rows = [
        StageRow(
            name=str(row["name"]),
            state=str(row.get("state", "")),
            seconds=_number(row.get("seconds")),
            peak_rss_mb=_number(row.get("peak_rss_mb")),
            detail=str(row.get("detail") or ""),
            failures=tuple(
                (str(item.get("case", "")), str(item.get("reason", "")))
                for item in row.get("failures", ())
            ),
        )
        for row in data.get("stages", ())
    ]
    return about, rows


def _last_ledger(path: Path, rounds: str) -> str | None:
    """Where the labels came from that the last student learned from: in ``roundN``, or after one round in the run itself."""
    later = [f"round{number}/" for number in range(int(rounds) if rounds.isdecimal() else 1, 1, -1)]
    return next(
        (
            name
            for folder in (*later, "")
            if (path / (name := f"{folder}fused/ledger.jsonl")).is_file()
        ),
        None,
    )


def _ledger(path: Path) -> LedgerFacts:
    by_class: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    cases: dict[str, set[str]] = {}
    rounds = {1}
    for row in read_ledger(path):
        by_class.setdefault(row.cls, Counter())[row.origin] += 1
        reasons.setdefault(row.origin, Counter())[row.why] += 1
        cases.setdefault(row.origin, set()).add(row.case)
        rounds.add(row.round or 1)
    return LedgerFacts(
        by_class, reasons, {origin: len(ids) for origin, ids in cases.items()}, max(rounds)
    )


def _scores(path: Path) -> Mapping[str, Any]:
    data = read_json_table(path, what="an evaluation")
    if not isinstance(data.get("cases"), list) or not isinstance(data.get("mean"), dict):
        raise InputError(
            f"{path}: not the report of an evaluation (no cases or mean in it); write it with: nnstudent evaluate … --report"
        )
    return data


def _seconds(path: Path) -> Mapping[str, Any] | None:
    seconds = read_json_table(path, what="a segmentation").get("seconds")
    return seconds if isinstance(seconds, dict) else None


def _size(run: Run, id: str) -> tuple[int, ...] | None:
    image = next((case.image for case in run.cohort or () if case.id == id), None)
    return size_of(run.path / "predictions" / "student" / f"{id}.nii.gz", image)


def _curve(path: Path) -> Curve:
    data = read_json_table(path, what="a training")
    model = path.parent.parent
    group = {"organs": "organ teachers", "tumor": "tumor teachers"}.get(model.name, model.name)
    if model.parent.name.startswith("round"):
        group += f", round {model.parent.name.removeprefix('round')}"
    seconds = [float(value) for value in data.get("seconds", ()) if isinstance(value, int | float)]
    return Curve(
        group=group,
        fold=path.parent.name.removeprefix("fold_"),
        train_loss=[_number(value) for value in data["train_loss"]],
        val_loss=[_number(value) for value in data.get("val_loss", ())],
        dice=[_number(value) for value in data.get("dice", ())],
        seconds=sum(seconds) if seconds else None,
        epochs=data.get("epochs") if isinstance(data.get("epochs"), int) else None,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
