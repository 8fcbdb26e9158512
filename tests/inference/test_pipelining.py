from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.inference.files.find import CaseFile
from nnstudent.inference.files.segment import segment_file, segment_files
from nnstudent.inference.model_runner import ModelRunner
from nnstudent.inference.pipelining import MemoryReservation, run_pipelined, run_serial, run_stages
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_labels, write_image
from tests.inference.conftest import blobs


def unlimited() -> MemoryReservation:
    return MemoryReservation(base_mb=0, limit_mb=lambda: 1e9, strict=False)


class Work:
    """Cases that note which of them is in which stage, and fail or end early as planned."""

    def __init__(
        self,
        plans: list[tuple[str, int]],
        *,
        needs: list[float] | None = None,
        reservation: MemoryReservation | None = None,
    ) -> None:
        self.plans, self.needs, self.reservation = plans, needs, reservation
        self.at_work: dict[int, int] = {}
        self.most = 0
        self.seen: list[tuple[int, int]] = []
        self.lock = threading.Lock()

    def stages(self, number: int):
        how, where = self.plans[number]
        try:
            for stage in range(3):
                if self.reservation is not None and self.needs is not None and stage == 0:
                    self.reservation.acquire(str(number), self.needs[number])
                with self.lock:
                    assert stage not in self.at_work.values(), "two cases in one stage"
                    self.at_work[number] = stage
                    self.most = max(self.most, len(self.at_work))
                    self.seen.append((number, stage))
                time.sleep(0.0005)
                if stage == where and how != "whole":
                    if how == "error":
                        raise ValueError(f"case {number} in stage {stage}")
                    return -number
                if stage < 2:
                    with self.lock:
                        self.at_work[number] = -1 - number  # waits
                    yield
            return number
        finally:
            with self.lock:
                self.at_work.pop(number, None)
            if self.reservation is not None:
                self.reservation.release(str(number))

    def all(self):
        return (self.stages(number) for number in range(len(self.plans)))


def told(run) -> list[object]:
    outcomes: list[object] = []
    run(
        lambda outcome: outcomes.append(
            str(outcome.exception()) if outcome.exception() else outcome.result()
        )
    )
    return outcomes


plans = st.lists(
    st.tuples(st.sampled_from(["whole", "whole", "error", "early"]), st.integers(0, 2)), max_size=9
)


@given(plans=plans)
def test_overlapped_cases_come_out_as_in_turn(plans):
    in_order, beside = Work(plans), Work(plans)
    expected = told(lambda take: run_serial(in_order.all(), take))
    assert told(lambda take: run_pipelined(beside.all(), take, reservation=unlimited())) == expected
    assert len(expected) == len(plans)
    assert sorted(beside.seen) == sorted(in_order.seen)
    assert in_order.most <= 1
    assert beside.most <= 3, "one ahead and one behind"


@given(needs=st.lists(st.floats(1, 60), min_size=1, max_size=8), plans=plans)
def test_no_more_memory_is_promised_than_there_is(needs, plans):
    reservation = MemoryReservation(base_mb=40, limit_mb=lambda: 100, strict=True)
    work = Work(
        (plans + [("whole", 0)] * len(needs))[: len(needs)],
        needs=[40 + need for need in needs],
        reservation=reservation,
    )
    assert len(told(lambda take: run_pipelined(work.all(), take, reservation=reservation))) == len(
        needs
    )
    assert reservation.highest_mb <= 100 + 1e-9
    assert reservation.highest_mb >= 40 + max(needs) - 1e-9


def test_cases_that_do_not_fit_beside_each_other_are_done_one_by_one():
    for need, most in ((40.0, 1), (30.0, 2), (20.0, 3)):
        reservation = MemoryReservation(base_mb=40, limit_mb=lambda: 100, strict=True)
        work = Work([("whole", 0)] * 6, needs=[40 + need] * 6, reservation=reservation)
        told(
            lambda take, work=work, reservation=reservation: run_pipelined(
                work.all(), take, reservation=reservation
            )
        )
        assert reservation.highest_mb == 40 + most * need
        assert work.most <= most


@pytest.mark.parametrize(("strict", "begins"), [(True, False), (False, True)])
def test_what_is_of_unknown_size_waits_under_a_limit(strict, begins):
    reservation = MemoryReservation(base_mb=0, limit_mb=lambda: 100, strict=strict)
    reservation.acquire("a", 30)
    thread = threading.Thread(target=lambda: reservation.acquire("b", None))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive() != begins
    reservation.release("a")
    thread.join(5)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed, depth in enumerate((14, 22, 9, 30)):
        write_image(
            folder / f"{'abcd'[seed]}.nii.gz", blobs((depth, 20, 22), (5.0, 4.0, 4.0), seed=seed)
        )
    (folder / "bb.nii.gz").write_text("not an image")
    return folder


def test_a_folder_gives_what_its_cases_give_one_by_one(scans, tmp_path, isotropic):
    segmenter = Segmenter(isotropic, threads=2)
    counted: list[tuple[str, int, int]] = []
    result = segment_files(
        scans, tmp_path / "out", segmenter, progress=lambda *told: counted.append(told)
    )
    assert counted == [("cases", number, 5) for number in range(1, 6)]
    assert [row["id"] for row in result.rows] == ["a", "b", "c", "d"]
    assert [failure.case for failure in result.failures] == ["bb"]
    for row in result.rows:
        alone = segment_file(
            CaseFile(row["id"], scans / f"{row['id']}.nii.gz", tmp_path / "alone.nii.gz"), segmenter
        ).record()
        for key in ("organs", "windows", "warnings"):
            assert row[key] == alone[key]
        assert (
            sum(value for key, value in row["seconds"].items() if key != "total")
            <= row["seconds"]["total"] + 0.01
        )
        left, right = (
            read_labels(path).array
            for path in (tmp_path / "out" / f"{row['id']}.nii.gz", tmp_path / "alone.nii.gz")
        )
        assert (left == right).all()


def test_a_folder_under_a_tight_limit_is_done_one_by_one(scans, tmp_path, isotropic):
    segmenter = Segmenter(isotropic, threads=2)
    alone = max(
        row["predicted_peak_mb"]
        for row in segment_files(scans / "d.nii.gz", tmp_path / "d", segmenter).rows
    )
    tight = Segmenter(isotropic, threads=2, memory_limit_mb=alone * 1.05)
    result = segment_files(scans, tmp_path / "out", tight)
    assert len(result.rows) == 4
    assert all(row["predicted_peak_mb"] <= alone * 1.05 for row in result.rows)


def test_stopped_by_a_key_nothing_is_half_written(scans, tmp_path, isotropic, monkeypatch):
    segmenter = Segmenter(isotropic, threads=2)
    engine = segmenter.engine_of(0, 0)

    class Stopped:
        name, precision, restores_on, head = engine.name, engine.precision, None, engine.head

        def features(self, window):
            # The second case or the third is with the network.
            if (tmp_path / "out" / "a.nii.gz").exists():
                raise KeyboardInterrupt
            return engine.features(window)

        __call__ = features

    monkeypatch.setattr(ModelRunner, "engine_of", lambda self, network, member: Stopped())
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        segment_files(scans, tmp_path / "out", segmenter)
    assert threading.active_count() == before
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a.nii.gz"} <= written <= {"a.nii.gz", "b.nii.gz", "c.nii.gz"}
    for name in written:
        read_labels(tmp_path / "out" / name)


def test_stages_can_be_done_here_and_now():
    assert run_stages(Work([("whole", 0)]).stages(0)) == 0
    with pytest.raises(ValueError, match="case 0 in stage 1"):
        run_stages(Work([("error", 1)]).stages(0))
