"""Which scans are to be corrected next."""

from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.quality.choose import STRATEGIES, Candidate, choose_next

SCANS = (
    Candidate("a", {"liver": 0.99, "spleen": 0.95}, {"liver": 0.95, "spleen": 0.9}, {"hu": 100.0}),
    Candidate("b", {"liver": 0.70, "spleen": 0.94}, {"liver": 0.60, "spleen": 0.9}, {"hu": 104.0}),
    Candidate("c", {"liver": 0.98, "spleen": 0.50}, {"liver": 0.93, "spleen": 0.3}, {"hu": 96.0}),
    Candidate("d", {"liver": 0.97, "spleen": 0.60}, {"liver": 0.92, "spleen": 0.4}, {"hu": 20.0}),
    Candidate("e", {}, {}, {}),
)


def test_quality_takes_the_lowest_expected_dice() -> None:
    assert choose_next(SCANS, 3, strategy="quality") == ("c", "d", "b")


def test_uncertainty_takes_each_organ_in_turn() -> None:
    # By confidence alone it would be c, d: both for the spleen.
    assert choose_next(SCANS, 2, strategy="uncertainty") == ("c", "b")
    assert choose_next(SCANS, 9, strategy="uncertainty")[-1] == "e"


def test_diversity_takes_what_looks_unlike_the_others() -> None:
    chosen = choose_next(SCANS, 3, strategy="diversity")
    assert "d" in chosen
    assert len(set(chosen)) == 3


def test_what_was_corrected_counts() -> None:
    rest = SCANS[:3]
    # The spleen goes first; one correction later it is the liver's turn.
    assert choose_next(rest, 1, strategy="uncertainty") == ("c",)
    assert choose_next(rest, 1, strategy="uncertainty", corrected=SCANS[3:4]) == ("b",)
    away = Candidate("x", {}, {}, {"hu": 104.0})
    assert choose_next(SCANS[:3], 1, strategy="diversity", corrected=[away]) == ("c",)


def test_random_foreground_takes_scans_in_which_the_drawn_organ_was_found() -> None:
    """Nine scans of a liver, one of a spleen: by organs, the one is drawn half of the time."""
    scans = [Candidate(f"liver {k}", {"liver": 0.9}) for k in range(9)]
    scans.append(Candidate("spleen", {"spleen": 0.9}))
    first = [
        choose_next(scans, 1, strategy="random-foreground", seed=seed)[0] for seed in range(200)
    ]
    assert 70 <= first.count("spleen") <= 130
    assert len(set(first)) == 10
    assert len(set(choose_next(scans, 10, strategy="random-foreground"))) == 10


def test_random_is_the_same_for_the_same_seed() -> None:
    first = choose_next(SCANS, 5, strategy="random", seed=1)
    assert first == choose_next(SCANS, 5, strategy="random", seed=1)
    assert sorted(first) == ["a", "b", "c", "d", "e"]
    assert any(choose_next(SCANS, 5, strategy="random", seed=k) != first for k in range(5))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_of_no_scans_none_is_chosen(strategy: str) -> None:
    assert choose_next((), 3, strategy=strategy) == ()


def test_what_cannot_be_chosen_is_refused() -> None:
    with pytest.raises(InputError, match="strategy 'best'; expected one of quality, uncertainty"):
        choose_next(SCANS, 1, strategy="best")
    with pytest.raises(InputError, match="0 scans to correct next; expected at least 1"):
        choose_next(SCANS, 0, strategy="random")
    with pytest.raises(InputError, match="no scan has an expected Dice"):
        choose_next(SCANS[-1:], 1, strategy="quality")
