"""The cases of a folder of segmentations, the worst first, as the expected Dice tells."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError
from nnstudent.inference.labels.volumetry import COLUMNS, Row, is_statistics, read_statistics
from nnstudent.quality.choose import Candidate
from nnstudent.quality.model import VERDICTS
from nnstudent.words import class_title, count

log = logging.getLogger(__name__)
_RANKING = ("case", "fail", "look", "least_expected_dice", "failing", "to_look_at")


@dataclass(frozen=True)
class RankedOrgan:
    """One organ of a case.

    Attributes:
        name: The class.
        verdict: ``pass``, ``look`` or ``fail``.
        expected_dice: Expected Dice; None if it was not found.
        low: Lower end of its interval; None if it was not found.
        high: Upper end.
    """

    name: str
    verdict: str
    expected_dice: float | None
    low: float | None
    high: float | None

    @property
    def badness(self) -> tuple[int, float]:
        """Sorts the worst organ first."""
        return -VERDICTS.index(self.verdict), _number(self.expected_dice)

    def text(self) -> str:
        """The text for a person: ``gallbladder 0.31 (0.10 to 0.52)``."""
        title = class_title(self.name)
        if self.expected_dice is None or self.low is None or self.high is None:
            return f"{title} not found"
        return f"{title} {self.expected_dice:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class RankedCase:
    """One case.

    Attributes:
        id: Name of the case.
        organs: Its organs, the worst first.
        picture: Its preview; None if there is none.
    """

    id: str
    organs: tuple[RankedOrgan, ...]
    picture: Path | None = None

    def of(self, verdict: str) -> tuple[RankedOrgan, ...]:
        """The organs with a verdict."""
        return tuple(organ for organ in self.organs if organ.verdict == verdict)

    @property
    def worst(self) -> float:
        """The lowest expected Dice; 1 if no organ has one."""
        return min((_number(organ.expected_dice) for organ in self.organs), default=1.0)

    @property
    def badness(self) -> tuple[float, ...]:
        """Sorts the worst case first."""
        return -len(self.of("fail")), -len(self.of("look")), self.worst

    def record(self) -> dict[str, Any]:
        """The case as plain data."""
        return {
            "id": self.id,
            "fail": [organ.name for organ in self.of("fail")],
            "look": [organ.name for organ in self.of("look")],
            "least_expected_dice": None if self.worst == 1.0 else self.worst,
            "picture": None if self.picture is None else str(self.picture),
            "organs": {
                organ.name: {
                    "verdict": organ.verdict,
                    "expected_dice": organ.expected_dice,
                    "dice_interval": None if organ.low is None else [organ.low, organ.high],
                }
                for organ in self.organs
            },
        }


def rank_folder(folder: Path) -> tuple[RankedCase, ...]:
    """The cases of a folder that ``segment --statistics`` wrote, the worst first.

    Args:
        folder: A folder with ``statistics.csv``, or with a CSV beside each label map.

    Raises:
        InputError: The folder is missing, or no table in it has an expected Dice.
    """
    cases = [_case(id, own, folder) for id, own in _tables(folder).items()]
    if not any(case.organs for case in cases):
        raise InputError(
            f"{folder}: no expected Dice in its tables, because the model has no calibration of "
            "it; calibrate it with: nnstudent qc SCANS --calibrate CORRECTED --model BUNDLE "
            "-o CALIBRATED"
        )
    return tuple(sorted(cases, key=lambda case: case.badness))


def candidates(folder: Path) -> tuple[Candidate, ...]:
    """The cases of a folder as candidates for correction, in the order of their names.

    Args:
        folder: See :func:`rank_folder`; an expected Dice is not needed.

    Raises:
        InputError: The folder is missing, or has no table.
    """
    return tuple(candidate_of(id, rows) for id, rows in sorted(_tables(folder).items()))


def candidate_of(id: str, rows: Iterable[Row]) -> Candidate:
    """A scan as a candidate for correction, from what was measured of its organs.

    Args:
        id: Name of the case.
        rows: Its rows of statistics.
    """
    organs = [dict(zip(COLUMNS, row, strict=False)) for row in rows]
    measures = {
        f"{organ['organ']} {name}": value
        for organ in organs
        for name in ("volume_ml", "mean_hu", "sd_hu")
        if (value := _value(organ[name])) is not None
    }
    return Candidate(id, _column(organs, "confidence"), _column(organs, "expected_dice"), measures)


def _column(organs: Iterable[Mapping[str, str]], name: str) -> dict[str, float]:
    values = {organ["organ"]: _value(organ.get(name, "")) for organ in organs}
    return {organ: value for organ, value in values.items() if value is not None}


def ranking_csv(cases: Iterable[RankedCase]) -> str:
    """A table with a row per case, the worst first."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_RANKING)
    for case in cases:
        fail, look = case.of("fail"), case.of("look")
        worst = "" if case.worst == 1.0 else f"{case.worst:.3f}"
        named = (" ".join(organ.name for organ in some) for some in (fail, look))
        table.writerow((case.id, len(fail), len(look), worst, *named))
    return text.getvalue()


def ranking_lines(cases: Sequence[RankedCase], *, most: int = 30) -> Iterator[str]:
    """A line per case for a terminal, the worst first.

    Args:
        cases: The ranked cases.
        most: How many are listed.
    """
    width = max((len(case.id) for case in cases[:most]), default=4)
    for case in cases[:most]:
        bad = [f"fail: {organ.text()}" for organ in case.of("fail")]
        bad += [f"look: {organ.text()}" for organ in case.of("look")]
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        yield f"{case.id:<{width}}  {'; '.join(bad[:3]) + more if bad else 'pass'}"
    if len(cases) > most:
        yield f"… and {count(len(cases) - most, 'better case')}"


def _tables(folder: Path) -> dict[str, list[Row]]:
    """The rows of each case of a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one that nnstudent segment wrote")
    rows: dict[str, list[Row]] = {}
    for path in sorted(folder.glob("*.csv")):
        if path.name != "statistics.csv" and not is_statistics(path):
            if not _is_ranking(path):
                log.warning("%s: passed over; it is no table of segment --statistics", path)
            continue
        found = read_statistics(path)
        # The table of one case is named after its label map, which may have another name.
        alone = path.name != "statistics.csv" and len({row[0] for row in found}) == 1
        for row in found:
            rows.setdefault(path.stem if alone else row[0], []).append(row)
    if not rows:
        raise InputError(
            f"{folder}: no table of nnstudent segment --statistics in it; "
            "give the scans and a folder for the results: nnstudent qc SCANS -o RESULTS"
        )
    return rows


def _is_ranking(path: Path) -> bool:
    """Whether a file is what :func:`ranking_csv` made before."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(99).startswith(",".join(_RANKING).encode())


def _case(id: str, rows: Iterable[Row], folder: Path) -> RankedCase:
    organs = []
    for row in rows:
        values = dict(zip(COLUMNS, row, strict=False))
        if values.get("verdict") in VERDICTS:
            expected, low, high = (
                _value(values[name]) for name in ("expected_dice", "dice_low", "dice_high")
            )
            organs.append(RankedOrgan(values["organ"], values["verdict"], expected, low, high))
    picture = folder / f"{id}.png"
    return RankedCase(
        id,
        tuple(sorted(organs, key=lambda organ: organ.badness)),
        picture if picture.is_file() else None,
    )


def _value(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _number(value: float | None) -> float:
    return 1.0 if value is None else value
