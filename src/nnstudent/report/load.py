"""Reads a run's folder part by part: one that is missing or broken does not affect the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nnstudent.cohort.cohort import Cohort, read_cohort
from nnstudent.cohort.ledger import iterate_ledger
from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError, NnStudentError
from nnstudent.report.costs import Cost, profiled_cost, size_of
from nnstudent.report.protocols import Protocol, fold_title, is_teacher, read_environment
from nnstudent.report.quality import QUALITY, QualityFacts, read_quality
from nnstudent.serialization import Record
from nnstudent.taxonomy import Taxonomy, flare23

T = TypeVar("T")
ORIGINS = ("truth", "pseudo", "dropped")
# Columns of the score tables, in the order shown: file in scores/, heading, meaning.
METHODS = (
    ("teacher", "Teachers", "the ensemble of teachers, which saw labeled scans only"),
    ("baseline", "Without pseudo-labels", "the student's network, trained on labeled scans only"),
    ("student", "Student", "trained on labeled and pseudo-labeled scans"),
)
FEWEST_FOR_DEVIATION = 3  # cases: the standard deviation of two says nothing


@dataclass(frozen=True)
class StageRow:
    """A stage of the run.

    Attributes:
        name: Its name.
        state: ``done``, ``failed``, ``skipped`` or ``left``.
        seconds: Wall time.
        peak_rss_mb: Largest resident memory, in MiB.
        detail: One line for people.
        failures: Id and reason of each case that failed.
    """

    name: str
    state: str
    seconds: float | None
    peak_rss_mb: float | None
    detail: str
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Curve:
    """One training: losses and Dice of each epoch.

    Attributes:
        group: The model, such as ``organ teachers``.
        fold: The fold.
        train_loss: Training losses.
        val_loss: Validation losses.
        dice: Dice on validation patches, 0 to 1.
        seconds: Time of the training.
        epochs: Epochs that it is to have.
    """

    group: str
    fold: str
    train_loss: Sequence[float | None]
    val_loss: Sequence[float | None]
    dice: Sequence[float | None]
    seconds: float | None
    epochs: int | None


@dataclass(frozen=True)
class Method:
    """The scores of one model.

    Attributes:
        key: ``teacher``, ``baseline`` or ``student``.
        title: Its name in the report.
        meaning: What it is, in words.
        data: The content of ``evaluate --report``.
    """

    key: str
    title: str
    meaning: str
    data: Mapping[str, Any]

    def mean(self, name: str, value: str) -> float | None:
        """Return a value of the mean of a class or group.

        Args:
            name: The class, ``organs`` or ``tumor``.
            value: ``dsc``, ``nsd``, ``dsc_sd``, ``nsd_sd`` or ``n``.

        Returns:
            None if there is none.
        """
        found = self.data.get("mean", {}).get(name, {}).get(value)
        return float(found) if isinstance(found, int | float) else None

    def deviation(self, name: str, metric: str) -> float | None:
        """Return the standard deviation of ``dsc`` or ``nsd``; None for fewer than three cases."""
        if (self.mean(name, "n") or 0) < FEWEST_FOR_DEVIATION:
            return None
        return self.mean(name, f"{metric}_sd")

    def case_mean(
        self, case: Mapping[str, Any], metric: str, *, names: Sequence[str]
    ) -> float | None:
        """Return the mean of ``dsc`` or ``nsd`` over the classes that a case was scored on."""
        known = [case.get(metric, {}).get(name) for name in names]
        numbers = [float(number) for number in known if isinstance(number, int | float)]
        return sum(numbers) / len(numbers) if numbers else None


@dataclass(frozen=True)
class LedgerFacts:
    """Where the labels came from.

    Attributes:
        by_class: How many labels of each class have which origin.
        reasons: How often which reason was given, by origin.
        cases: How many cases have a label of which origin.
        round: The round of labeling.
    """

    by_class: Mapping[str, Mapping[str, int]]
    reasons: Mapping[str, Counter[str]]
    cases: Mapping[str, int]
    round: int = 1


@dataclass
class RunData:
    """All that was read of a run.

    Attributes:
        path: The run's folder.
        about: Facts of ``run.json``: version, preset, source, rounds.
        stages: The stages.
        cohort: The cohort, or None.
        ledger: Where the labels came from, or None.
        methods: Scores over all that is annotated.
        whole: Scores over the organs that the field of view shows whole.
        curves: The trainings.
        segment_seconds: For each test case the seconds of each step of segmenting it.
        costs: Time and memory of segmenting each test case.
        environment: The machine that the run was made on; empty if it was not recorded.
        protocols: How each model was trained.
        quality: How the expected Dice fared on the scans of its calibration, or None.
        problems: What could not be read, a line each.
    """

    path: Path
    about: dict[str, str] = field(default_factory=dict)
    stages: list[StageRow] = field(default_factory=list)
    cohort: Cohort | None = None
    ledger: LedgerFacts | None = None
    methods: list[Method] = field(default_factory=list)
    whole: list[Method] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    segment_seconds: list[Mapping[str, Any]] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    environment: Mapping[str, Any] = field(default_factory=dict)
    protocols: list[Protocol] = field(default_factory=list)
    quality: QualityFacts | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def taxonomy(self) -> Taxonomy:
        """The cohort's label table, otherwise FLARE23's."""
        return self.cohort.taxonomy if self.cohort is not None else flare23()

    def method(self, key: str) -> Method | None:
        """Return the scores of ``teacher``, ``baseline`` or ``student``."""
        return next((method for method in self.methods if method.key == key), None)

    def read(self, name: str, reader: Callable[[Path], T]) -> T | None:
        """Read a file of the run; if it is broken, name it in ``problems`` and return None."""
        try:
            return reader(self.path / name)
        except NnStudentError as error:
            self.problems.append(str(error))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.problems.append(f"{name}: not readable ({type(error).__name__}: {error})")
        return None

    def files(self, pattern: str) -> Iterator[Path]:
        """Return the files of the run that match a pattern, sorted."""
        yield from sorted(self.path.glob(pattern))


def load_run(path: Path) -> RunData:
    """Read a run's folder.

    Raises:
        InputError: There is no such folder, or nothing of a run in it.
    """
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected a run, the folder that nnstudent run makes"
        )
    run = RunData(path)
    if (path / "run.json").is_file():
        run.about, run.stages = run.read("run.json", _stages) or ({}, [])
        run.environment = read_environment(path / "run.json")
    if (path / "cohort" / "cohort.json").is_file():
        run.cohort = run.read("cohort/cohort.json", lambda file: read_cohort(file.parent))
    ledger = _last_ledger(path, run.about.get("rounds", ""))
    if ledger is not None:
        run.ledger = run.read(ledger, _ledger)
    run.methods, run.whole = list(_methods(run, "")), list(_methods(run, ".whole"))
    run.curves = list(_curves(run))
    if (path / QUALITY).is_file():
        run.quality = run.read(QUALITY, read_quality)
    _read_costs(run)
    if not (run.stages or run.cohort or run.ledger or run.methods or run.curves or run.problems):
        raise InputError(
            f"{path}: nothing of a run in it (no run.json, cohort/, fused/, scores/ or trainings); "
            "expected what nnstudent run makes"
        )
    return run


def _methods(run: RunData, ending: str) -> Iterator[Method]:
    for key, title, meaning in METHODS:
        name = f"scores/{key}{ending}.json"
        data = run.read(name, _scores) if (run.path / name).is_file() else None
        if data is not None:
            yield Method(key, title, meaning, data)


def _curves(run: RunData) -> Iterator[Curve]:
    files = run.files("*/**/fold_*/progress.json")
    protocols: dict[str, Protocol] = {}
    for file in sorted(files, key=lambda file: (not is_teacher(file), file)):
        curve = run.read(file.relative_to(run.path).as_posix(), _curve)
        if curve is not None:
            title = fold_title(curve.group)
            protocol = protocols.setdefault(title, Protocol(title, is_teacher(file)))
            protocol.add(read_json_table(file, what="a training"), _training(run, file.parent))
            yield curve
    run.protocols = list(protocols.values())


def _training(run: RunData, fold: Path) -> Mapping[str, Any]:
    """Return how a fold was trained; of older runs only the recipe, which its plans hold."""
    for file, pick in (
        (fold / "training.json", lambda data: data),
        (fold.parent / "plans.json", lambda data: {"recipe": data["nnstudent"]["recipe"]}),
    ):
        if file.is_file():
            name = file.relative_to(run.path).as_posix()
            found = run.read(name, lambda path: read_json_table(path, what="a training"))
            try:
                return {} if found is None else pick(found)
            except (KeyError, TypeError):  # a model of nnU-Net's own
                return {}
    return {}


def _read_costs(run: RunData) -> None:
    """Read seconds and costs of each test case; a profile takes precedence over noted seconds."""
    for file in run.files("predictions/student/*.json"):
        seconds = run.read(file.relative_to(run.path).as_posix(), _seconds)
        if seconds is None:
            continue
        run.segment_seconds.append(seconds)
        total = _number(seconds.get("total"))
        if total is not None and not (run.path / "efficiency" / file.name).is_file():
            run.costs.append(Cost(file.stem, _size(run, file.stem), total, profiled=False))
    for file in run.files("efficiency/*.json"):
        cost = run.read(
            file.relative_to(run.path).as_posix(),
            lambda place: profiled_cost(place, _size(run, place.stem)),
        )
        if cost is not None:
            run.costs.append(cost)


def _stages(path: Path) -> tuple[dict[str, str], list[StageRow]]:
    data = read_json_table(path, what="a run")
    about = {
        key: str(value)
        for key, value in data.items()
        if key not in ("schema", "stages") and isinstance(value, str | int | float)
    }
    if "source" in about:  # the report may be sent to people who need not know where it lay
        about["source"] = Path(about["source"]).name
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
    """Return the ledger that the last student learned from: of ``roundN``, or of the run itself."""
    count = int(rounds) if rounds.isdecimal() else 1
    folders = [*(f"round{number}/" for number in range(count, 1, -1)), ""]
    names = [f"{folder}fused/ledger.jsonl" for folder in folders]
    return next((name for name in names if (path / name).is_file()), None)


def _ledger(path: Path) -> LedgerFacts:
    by_class: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    cases: dict[str, set[str]] = {}
    rounds = {1}
    for row in iterate_ledger(path):
        by_class.setdefault(row.cls, Counter())[row.origin] += 1
        reasons.setdefault(row.origin, Counter())[row.why] += 1
        cases.setdefault(row.origin, set()).add(row.case)
        rounds.add(row.round or 1)
    counts = {origin: len(ids) for origin, ids in cases.items()}
    return LedgerFacts(by_class, reasons, counts, max(rounds))


def _scores(path: Path) -> Mapping[str, Any]:
    """Read an evaluation; what the report takes from it is of the right type."""
    data = read_json_table(path, what="an evaluation")
    if not isinstance(data.get("cases"), list) or not isinstance(data.get("mean"), dict):
        raise InputError(
            f"{path}: not the report of an evaluation (no cases or mean in it); write it with: "
            "nnstudent evaluate … --report"
        )
    record = Record(data, str(path))
    for row in record.rows("cases"):
        row.get("id", str)
        for metric in ("dsc", "nsd"):
            row.get(metric, dict[str, float | None])
    for name in data["mean"]:
        Record(data["mean"][name], f"{path}: mean of {name}")
    record.get("protocol", str, "")
    record.get("common_only", bool, False)
    record.get("notes", tuple[str, ...], ())
    record.get("missing", tuple[str, ...], ())
    for row in record.rows("failures", []):
        row.get("id", str)
        row.get("reason", str)
    for name, found in record.get("lesions", dict[str, dict[str, Any]], {}).items():
        known = Record(found, f"{path}: lesions: {name}")
        known.get("scans", int)
        for row in [known, *known.rows("bins")]:
            for key in ("lesions", "found", "false_positives"):
                row.get(key, int)
            row.get("sensitivity", float | None)
            row.get("to_ml", float | None, None)
        for row in known.rows("bins"):
            row.get("from_ml", float)
    return data


def _seconds(path: Path) -> Mapping[str, Any] | None:
    seconds = read_json_table(path, what="a segmentation").get("seconds")
    return seconds if isinstance(seconds, dict) else None


def _size(run: RunData, id: str) -> tuple[int, ...] | None:
    case = run.cohort.find(id) if run.cohort is not None else None
    labels = run.path / "predictions" / "student" / f"{id}.nii.gz"
    return size_of(labels, None if case is None else case.image)


def _curve(path: Path) -> Curve:
    data = read_json_table(path, what="a training")
    model = path.parent.parent
    group = {"organs": "organ teachers", "tumor": "tumor teachers"}.get(model.name, model.name)
    if model.parent.name == "baseline":
        group = "student without pseudo-labels"
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
