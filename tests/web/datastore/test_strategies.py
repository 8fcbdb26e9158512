from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.web.datastore.scans import NotFoundError, Scan
from nnstudent.web.datastore.strategies import STRATEGIES, Candidate, Chooser
from nnstudent.web.job import Job


def candidate(id, **confidences):
    job = None
    if confidences:
        job = Job(id, Path(), "datastore", id, "image", 0.0)
        job.organs = [{"name": name, "confidence": sure} for name, sure in confidences.items()]
    return Candidate(Scan(id, id, Path(), "image"), job)


def test_nobody_gets_what_another_has():
    chooser = Chooser()
    scans = [candidate("a"), candidate("b")]
    assert chooser.next("first", scans, by="anna").id == "a"
    assert chooser.next("first", scans, by="anna").id == "a", "the same again"
    assert chooser.next("first", scans, by="ben").id == "b"
    assert chooser.next("first", scans, by="carl") is None


def test_the_organ_that_is_unusually_unsure_decides():
    scans = [
        candidate("a", liver=0.95, left_adrenal_gland=0.60),
        candidate("b", liver=0.80, left_adrenal_gland=0.61),
        candidate("c", liver=0.96, left_adrenal_gland=0.62),
        candidate("d"),
    ]
    assert scans[STRATEGIES["confidence"].choose(scans)].scan.id == "b"


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_chooses_among_scans_that_were_not_segmented(name):
    assert Chooser().next(name, [candidate("a")], by="anna").id == "a"


def test_an_unknown_strategy_is_named_with_the_closest():
    with pytest.raises(NotFoundError, match="did you mean random"):
        Chooser().next("randm", [candidate("a")], by="anna")
