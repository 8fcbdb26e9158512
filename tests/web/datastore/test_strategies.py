from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.choices import STRATEGIES as OF_QC
from nnstudent.errors import InputError
from nnstudent.inference.labels.volumetry import write_statistics
from nnstudent.web.datastore.scans import NotFoundError, Scan
from nnstudent.web.datastore.strategies import STRATEGIES, Candidate, Chooser
from nnstudent.web.job import Job


@pytest.fixture
def candidate(tmp_path):
    """Makes a scan that was segmented, if organs are given: (confidence, expected Dice, ml)."""

    def make(id: str, **organs: tuple[float, float | str, float]) -> Candidate:
        job = None
        if organs:
            job = Job(id, tmp_path / id, "datastore", id, "image", 0.0)
            job.state = "done"
            job.output.mkdir(parents=True)
            rows = [
                (id, name, str(ml), "50", "10", "no", str(sure), str(dice), "", "", "")
                for name, (sure, dice, ml) in organs.items()
            ]
            write_statistics(job.output / "statistics.csv", rows)
        return Candidate(Scan(id, id, Path(), "image"), job)

    return make


def test_the_service_offers_what_qc_offers():
    assert set(STRATEGIES) == {"first", *OF_QC}


def test_nobody_gets_what_another_has(candidate):
    chooser = Chooser()
    scans = [candidate("a"), candidate("b")]
    assert chooser.next("first", scans, by="anna").id == "a"
    assert chooser.next("first", scans, by="anna").id == "a", "the same again"
    assert chooser.next("first", scans, by="ben").id == "b"
    assert chooser.next("first", scans, by="carl") is None


def test_quality_takes_the_lowest_expected_dice_and_a_scan_without_result_last(candidate):
    scans = [
        candidate("a"),
        candidate("b", liver=(0.9, 0.95, 1500)),
        candidate("c", liver=(0.95, 0.9, 1500), spleen=(0.9, 0.4, 200)),
    ]
    chosen = [Chooser().next("quality", scans[:-k] or scans, by="anna").id for k in (3, 1)]
    assert chosen == ["c", "b"]


def test_uncertainty_takes_organs_in_turn_as_scans_are_corrected(candidate):
    a = candidate("a", liver=(0.95, "", 1500), left_adrenal_gland=(0.5, "", 3))
    b = candidate("b", liver=(0.8, "", 1500), left_adrenal_gland=(0.6, "", 3))
    c = candidate("c", liver=(0.9, "", 1500), left_adrenal_gland=(0.55, "", 3))
    assert Chooser().next("uncertainty", [a, b, c], by="anna").id == "a"
    # The glands are the least sure again, and yet it is the liver's turn.
    assert Chooser().next("uncertainty", [b, c], by="anna", corrected=[a]).id == "b"


def test_diversity_looks_away_from_what_was_corrected(candidate):
    sizes = {"small": 900, "usual": 1500, "large": 2100}
    scans = {id: candidate(id, liver=(0.9, "", ml)) for id, ml in sizes.items()}
    rest = [scans["small"], scans["usual"]]
    done = [scans["large"]]
    assert Chooser().next("diversity", rest, by="anna", corrected=done).id == "small"
    assert Chooser().next("diversity", list(scans.values()), by="anna").id == "usual"


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_chooses_among_scans_that_were_not_segmented(candidate, name):
    assert Chooser().next(name, [candidate("a")], by="anna").id == "a"


def test_quality_without_a_calibration_is_refused_and_nothing_is_handed_out(candidate):
    chooser, scans = Chooser(), [candidate("a", liver=(0.9, "", 1500))]
    with pytest.raises(InputError, match="no scan has an expected Dice"):
        chooser.next("quality", scans, by="anna")
    assert chooser.next("first", scans, by="ben").id == "a"


def test_an_unknown_strategy_is_named_with_the_closest(candidate):
    with pytest.raises(NotFoundError, match="did you mean random"):
        Chooser().next("randm", [candidate("a")], by="anna")
