from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnstudent.bundle.export import export
from nnstudent.cohort.cohort import Cohort, write_cohort
from nnstudent.errors import InputError
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_image, read_labels, write_labels
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.taxonomy import IGNORE
from nnstudent.training.annotated import PartialLabels, possible_classes, volumes_if_annotated
from nnstudent.training.design.describe import describe
from nnstudent.training.losses.dice_ce import MarginalLoss
from nnstudent.training.plans import make_dataset_json
from nnstudent.training.provenance import task_source
from nnstudent.training.study import study
from nnstudent.training.task import make_splits, organ_task, student_task
from nnstudent.training.teach import teach
from nnstudent.volume import Volume
from tests.training.conftest import TABLE, tiny_recipe

Array = npt.NDArray[np.float64]
CHANNELS, LESION = 5, 4  # background, three organs, a lesion
SHAPE = (3, CHANNELS, 2, 3, 2)
WEIGHTS = (1.0, 2.0, 0.5, 3.0, 7.0)
EVERYTHING = frozenset(range(1, CHANNELS))
ANNOTATED = st.lists(
    st.frozensets(st.sampled_from(sorted(EVERYTHING)), min_size=1),
    min_size=SHAPE[0],
    max_size=SHAPE[0],
)


def ordinary(
    *, batch_dice: bool = False, weights: Sequence[float] | None = None, ignore: bool = False
) -> DC_and_CE_loss:
    """nnU-Net's loss as its trainer builds it."""
    loss = DC_and_CE_loss(
        {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False},
        {},
        ignore_label=CHANNELS if ignore else None,
        dice_class=MemoryEfficientSoftDiceLoss,
    )
    loss.ce.weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    return loss


def batch(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=rng, dtype=torch.float64)
    return logits, torch.randint(
        0, shape[1], (shape[0], 1, *shape[2:]), generator=rng, dtype=torch.int16
    )


def tables(annotated: Sequence[frozenset[int]]) -> torch.Tensor:
    return torch.from_numpy(
        np.stack(
            [possible_classes(known, channels=CHANNELS, lesions={LESION}) for known in annotated]
        )
    )


def by_hand(
    logits: Array,
    target: npt.NDArray[np.int16],
    annotated: Sequence[frozenset[int]],
    *,
    batch_dice: bool,
    weights: Sequence[float],
) -> float:
    """The loss from its definition, voxel by voxel."""
    samples = range(len(logits))
    ce, weight = 0.0, 0.0
    of_label, mass, drawn = (
        np.zeros((len(logits), CHANNELS)) for _ in range(3)
    )  # where the class is drawn; elsewhere; voxels
    wrong, total, region = (
        np.zeros((len(logits), CHANNELS)) for _ in range(3)
    )  # of open classes where they cannot be
    for b in samples:
        for v in np.ndindex(*logits.shape[2:]):
            p = np.exp(logits[(b, slice(None), *v)])
            p /= p.sum()
            label = int(target[(b, 0, *v)])
            if label == CHANNELS:  # ignored
                continue
            painted = (
                label in EVERYTHING - annotated[b]
            )  # known to be there, though nobody annotated the class
            open_here = [
                u
                for u in EVERYTHING - annotated[b]
                if label == 0 or (u == LESION and label != LESION)
            ]
            open_here = [label] if painted else open_here
            right = p[label] + sum(p[u] for u in open_here if u != label)
            forbidden = [u for u in EVERYTHING - annotated[b] if u not in open_here]
            ce += weights[label] * (math.log(1 + sum(p[u] for u in forbidden)) - math.log(right))
            weight += weights[label]
            for k in annotated[b]:
                of_label[b, k] += right if label == k else 0
                mass[b, k] += p[k] if label != k else 0
                drawn[b, k] += label == k
            for u in EVERYTHING - annotated[b]:
                total[b, u] += p[u]
                wrong[b, u] += p[u] if u in forbidden else 0
                region[b, u] += u in forbidden
    groups = [list(samples)] if batch_dice else [[b] for b in samples]
    dice, exclusion = [], 0.0
    for group in groups:
        for k in EVERYTHING:
            looked, left = (
                [b for b in group if k in annotated[b]],
                [b for b in group if k not in annotated[b]],
            )
            if looked:
                hit = of_label[looked, k].sum()
                dice.append(
                    (2 * hit + 1e-5) / (hit + mass[looked, k].sum() + drawn[looked, k].sum() + 1e-5)
                )
            if left:
                exclusion += (
                    2 * wrong[left, k].sum() / (total[left, k].sum() + region[left, k].sum() + 1e-5)
                )
    return ce / weight - sum(dice) / len(dice) + exclusion / (len(groups) * len(EVERYTHING))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=ANNOTATED,
    batch_dice=st.booleans(),
    weighted=st.booleans(),
)
def test_it_is_the_sum_by_hand(
    seed: int, annotated: list[frozenset[int]], batch_dice: bool, weighted: bool
) -> None:
    logits, target = batch(seed)
    loss = MarginalLoss(ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None))
    found = loss(logits, target, tables(annotated))
    wanted = by_hand(
        logits.numpy(),
        target.numpy(),
        annotated,
        batch_dice=batch_dice,
        weights=WEIGHTS if weighted else (1.0,) * CHANNELS,
    )
    assert float(found) == pytest.approx(wanted, abs=1e-12)


def with_ignored(target: torch.Tensor, seed: int, share: float) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.where(torch.rand(target.shape, generator=rng) < share, CHANNELS, target)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    annotated=ANNOTATED,
    batch_dice=st.booleans(),
    weighted=st.booleans(),
    share=st.floats(0, 0.9),
)
def test_an_ignored_voxel_counts_in_no_sum(
    seed: int, annotated: list[frozenset[int]], batch_dice: bool, weighted: bool, share: float
) -> None:
    logits, target = batch(seed)
    target = with_ignored(target, seed, share)
    assume((target != CHANNELS).any())
    weights = WEIGHTS if weighted else (1.0,) * CHANNELS
    loss = MarginalLoss(
        ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None, ignore=True)
    )
    partly = by_hand(
        logits.numpy(), target.numpy(), annotated, batch_dice=batch_dice, weights=weights
    )
    assert float(loss(logits, target, tables(annotated))) == pytest.approx(partly, abs=1e-12)
    # and where the case is annotated throughout, which nnU-Net computes, its Dice in single precision
    whole = by_hand(
        logits.numpy(), target.numpy(), [EVERYTHING] * 3, batch_dice=batch_dice, weights=weights
    )
    assert float(loss(logits, target)) == pytest.approx(whole, abs=2e-6)


@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize("share", [0.4, 1.0])
def test_nothing_is_learned_at_an_ignored_voxel(partly: bool, share: float) -> None:
    logits, target = batch(6)
    target = with_ignored(target, 6, share)
    logits.requires_grad_()
    possible = tables([frozenset({1, 2}), EVERYTHING, frozenset({3})]) if partly else None
    MarginalLoss(ordinary(weights=WEIGHTS, ignore=True))(logits, target, possible).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    ignored = (target == CHANNELS).expand_as(logits)
    assert (logits.grad[ignored] == 0).all()
    assert (logits.grad[~ignored] != 0).all()


@pytest.mark.parametrize("batch_dice", [False, True])
def test_its_gradient_is_that_of_the_sum_by_hand(batch_dice: bool) -> None:
    annotated = [EVERYTHING, frozenset({1, 2}), frozenset({3, LESION})]
    logits, target = batch(5)
    logits.requires_grad_()
    MarginalLoss(ordinary(batch_dice=batch_dice, weights=WEIGHTS))(
        logits, target, tables(annotated)
    ).backward()
    assert logits.grad is not None
    values, step = logits.detach().numpy(), 1e-5
    for at in list(np.ndindex(*SHAPE))[::3]:
        sides = []
        for sign in (1, -1):
            moved = values.copy()
            moved[at] += sign * step
            sides.append(
                by_hand(moved, target.numpy(), annotated, batch_dice=batch_dice, weights=WEIGHTS)
            )
        assert float(logits.grad[at]) == pytest.approx((sides[0] - sides[1]) / (2 * step), abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), batch_dice=st.booleans(), weighted=st.booleans())
def test_annotated_throughout_it_is_nnunets_own_loss(
    seed: int, batch_dice: bool, weighted: bool
) -> None:
    base = ordinary(batch_dice=batch_dice, weights=WEIGHTS if weighted else None)
    logits, target = batch(seed)
    wanted = base(logits, target)
    assert torch.equal(MarginalLoss(base)(logits, target), wanted)
    # and so is its general form, up to nnU-Net's own sums in single precision
    assert float(MarginalLoss(base)(logits, target, tables([EVERYTHING] * 3))) == pytest.approx(
        float(wanted), abs=2e-6
    )


def test_deep_supervision_sums_it_over_resolutions() -> None:
    annotated = [EVERYTHING, frozenset({1}), frozenset({2, LESION})]
    fine, coarse = batch(1), batch(2, (3, CHANNELS, 1, 2, 1))
    loss = MarginalLoss(ordinary())
    possible = tables(annotated)
    found = DeepSupervisionWrapper(loss, (2 / 3, 1 / 3))(
        [fine[0], coarse[0]], [fine[1], coarse[1]], [possible] * 2
    )
    assert float(found) == pytest.approx(
        float(2 / 3 * loss(*fine, possible) + 1 / 3 * loss(*coarse, possible)), abs=1e-12
    )


def _sure(*classes: int) -> torch.Tensor:
    """Logits of one sample that is certain of a class at each of some voxels, (1, class, voxel, 1, 1)."""
    return 30.0 * torch.eye(CHANNELS, dtype=torch.float64)[list(classes)].T[None, :, :, None, None]


def _labels(*classes: int) -> torch.Tensor:
    return torch.tensor(classes)[None, None, :, None, None]


def test_what_is_open_costs_nothing_and_what_is_excluded_does() -> None:
    loss = MarginalLoss(ordinary())
    possible = tables([frozenset({1, 2})])  # organ 3 and the lesion are open
    best = float(loss(_sure(0, 0, 1, 2), _labels(0, 0, 1, 2), possible))
    assert best == pytest.approx(-1, abs=1e-6)
    for same in (
        (0, 3, 1, 2),
        (LESION, 3, 1, 2),
        (0, 0, LESION, 2),
    ):  # in the background; a lesion also inside an organ
        assert float(loss(_sure(*same), _labels(0, 0, 1, 2), possible)) == pytest.approx(
            best, abs=1e-4
        )
    for worse in ((0, 1, 1, 2), (0, 0, 3, 2), (0, 0, 2, 2), (0, 0, 0, 2)):
        assert float(loss(_sure(*worse), _labels(0, 0, 1, 2), possible)) > best + 1


def test_an_open_class_drawn_anyway_is_certain_there_and_open_elsewhere() -> None:
    loss, possible = MarginalLoss(ordinary()), tables([frozenset({1})])
    best = float(loss(_sure(0, 1, 3, LESION), _labels(0, 1, 3, LESION), possible))
    assert float(
        loss(_sure(LESION, 1, 3, LESION), _labels(0, 1, 3, LESION), possible)
    ) == pytest.approx(best, abs=1e-4)
    for worse in ((0, 1, 3, 0), (0, 1, 0, LESION), (0, 1, 3, 2)):
        assert float(loss(_sure(*worse), _labels(0, 1, 3, LESION), possible)) > best + 1


def test_a_batch_without_an_annotated_class_is_finite() -> None:
    logits, target = batch(4)
    logits.requires_grad_()
    loss = MarginalLoss(ordinary())(logits, torch.zeros_like(target), tables([frozenset()] * 3))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_that_is_surely_wrong_still_learns(dtype: torch.dtype) -> None:
    """Where every class that may be there has a probability of 0 in this precision."""
    logits = torch.zeros(1, CHANNELS, 1, 1, 2, dtype=dtype)
    logits[:, 1] = 2000.0
    logits.requires_grad_()
    loss = MarginalLoss(ordinary())(logits, torch.zeros(1, 1, 1, 1, 2), tables([frozenset({1, 2})]))
    loss.backward()
    assert 1990 < float(loss.detach()) < 2010
    assert (logits.grad[:, 1] > 0.1).all()


def test_what_a_label_leaves_open() -> None:
    found = possible_classes({1, 4}, channels=6, lesions={4, 5})
    assert [set(np.flatnonzero(row)) for row in found] == [{0, 2, 3, 5}, {1, 5}, {2}, {3}, {4}, {5}]
    assert np.array_equal(possible_classes({1, 2, 3}, channels=4, lesions={3}), np.eye(4))


def test_partial_labels_travel_in_dataset_json() -> None:
    made = make_dataset_json(
        TABLE, ("left_ball", "right_ball", "spot"), cases=3, annotated={"p": (1,), "q": (1, 2)}
    )
    read = PartialLabels.read(json.loads(json.dumps(made)))
    assert set(read.possible) == {"p", "q"}
    whole, p, q = read.of(["full", "p", "q"])
    assert np.array_equal(whole, np.eye(4))
    assert [set(np.flatnonzero(row)) for row in p] == [{0, 2, 3}, {1, 3}, {2}, {3}]
    assert [set(np.flatnonzero(row)) for row in q] == [{0, 3}, {1, 3}, {2, 3}, {3}]
    assert not PartialLabels.read(make_dataset_json(TABLE, ("spot",), cases=1))
    assert "annotated" not in make_dataset_json(TABLE, ("spot",), cases=1)["nnstudent"]


@pytest.mark.parametrize(
    ("whole", "partly", "share"),
    [(8, 16, 0.5), (1, 2, 0.5), (1, 16, 0.2), (2, 2, None), (0, 3, None), (3, 0, None)],
)
def test_half_of_the_windows_are_from_complete_cases(
    whole: int, partly: int, share: float | None
) -> None:
    labels = PartialLabels({f"p{i}": np.eye(2, dtype=np.bool_) for i in range(partly)}, 2)
    cases = [f"p{i}" for i in range(partly)] + [f"w{i}" for i in range(whole)]
    drawn = labels.draw(cases)
    if share is None:
        assert drawn is None
    else:
        assert drawn is not None
        assert sum(drawn) == pytest.approx(1)
        assert sum(drawn[partly:]) == pytest.approx(share)


def test_a_class_that_few_looked_for_is_not_rare() -> None:
    volumes = [(100.0, 10.0, 4.0), (100.0, 10.0, 0.0), (200.0, 20.0, 0.0)]
    assert volumes_if_annotated(volumes, [{1, 2}, {1}, {1}]) == pytest.approx((400, 40, 16))
    assert volumes_if_annotated(volumes, [{1, 2}] * 3) == pytest.approx((400, 40, 4))


def test_marginal_teachers_learn_from_all_and_validate_on_the_complete(balls: Cohort) -> None:
    task = organ_task(balls, tiny_recipe(partial="marginal"), folds=2)
    assert [case.id for case in task.cases] == ["a", "b", "c", "d", "partial"]
    assert task.marginal == {"partial": (1,)}
    for split in make_splits(task, [case.id for case in task.cases]):
        assert "partial" in split.train
        assert set(split.val) < {"a", "b", "c", "d"}
    only = replace(balls, cases=tuple(case for case in balls if case.id in ("partial", "none")))
    with pytest.raises(InputError, match=r"^right_ball: annotated in none of 2 training cases"):
        organ_task(only, tiny_recipe(partial="marginal"), folds=2)


def test_plan_only_says_which_loss(balls: Cohort) -> None:
    said = {}
    for partial in ("background", "marginal"):
        task = student_task(balls, tiny_recipe(partial=partial), organs_only=False, pseudo={})
        said[partial] = next(line for line in describe(task).lines() if "open classes" in line)
    assert "background; 3 of 5 cases lack classes" in said["background"]
    assert "marginal loss with exclusion; 3 of 5 cases lack classes" in said["marginal"]
    full = organ_task(balls, tiny_recipe(), folds=2)
    assert not any("open classes" in line for line in describe(full).lines())


def test_presets_leave_open_what_the_paper_takes_for_background() -> None:
    assert [load_preset(name).student.training.partial for name in ("paper", "laptop", "demo")] == [
        "background",
        "marginal",
        "marginal",
    ]
    assert {
        load_preset(name).teachers.training.partial for name in ("paper", "laptop", "demo")
    } == {"background"}


def test_a_model_of_complete_cases_is_made_from_the_same_whatever_the_loss(
    balls: Cohort, tmp_path: Path
) -> None:
    full = replace(balls, cases=tuple(case for case in balls if case.id in ("c", "d")))
    made = [
        [
            task_source(
                student_task(cohort, tiny_recipe(partial=partial), organs_only=False, pseudo={}),
                tmp_path / "hashes.json",
            )
            for partial in ("background", "marginal")
        ]
        for cohort in (full, balls)
    ]
    assert made[0][0] == made[0][1]
    assert made[1][0] != made[1][1]


@pytest.mark.parametrize("partial", ["background", "marginal"])
def test_a_student_trains_with_ignored_voxels_and_segments(
    balls: Cohort, tmp_path: Path, partial: str
) -> None:
    cases = []
    for case in balls.train():
        if case.label is not None:
            labels = read_labels(case.label)
            array = labels.array.copy()
            array[:4] = IGNORE
            write_labels(tmp_path / "labels" / f"{case.id}.nii.gz", Volume(array, labels.grid))
            cases.append(replace(case, label=tmp_path / "labels" / f"{case.id}.nii.gz"))
    write_cohort(tmp_path / "fused", replace(balls, cases=tuple(cases)))
    (tmp_path / "fused" / "ledger.jsonl").write_text("")
    recipe = tiny_recipe(partial=partial, epochs=1, class_weights="rarity")
    model = study(tmp_path / "fused", tmp_path / "student", recipe)

    written = json.loads((model / "dataset.json").read_text())
    assert written["labels"] == {
        "background": 0,
        "left_ball": 1,
        "right_ball": 2,
        "spot": 3,
        "ignore": 4,
    }
    manager = PlansManager(json.loads((model / "plans.json").read_text())).get_label_manager(
        written
    )
    assert (manager.ignore_label, manager.num_segmentation_heads) == (4, 4)
    curves = json.loads((model / "fold_0" / "progress.json").read_text())
    assert all(math.isfinite(value) for value in (*curves["train_loss"], *curves["val_loss"]))
    assert list(curves["dice_by_class"]) == ["left_ball", "right_ball", "spot"]
    # nnU-Net draws as many intensities from each case, of foreground only, which the ignored voxels are not
    own = [
        (read_image(case.image).array, read_labels(case.label).array)
        for case in cases
        if case.label is not None
    ]
    intensity = json.loads((model / "plans.json").read_text())[
        "foreground_intensity_properties_per_channel"
    ]["0"]
    assert intensity["mean"] == pytest.approx(
        np.mean([hu[(at > 0) & (at != IGNORE)].mean() for hu, at in own]), abs=3
    )

    segmenter = Segmenter(export(model, tmp_path / "bundle", torch_weights=False), threads=1)
    assert segmenter.model.classes == ("left_ball", "right_ball", "spot")
    found = segmenter(read_image(balls.test()[0].image)).labels.array
    assert set(np.unique(found)) <= {0, 3, 7, 20}


def test_teachers_and_students_train_with_it(balls: Cohort, tmp_path: Path) -> None:
    recipe = tiny_recipe(partial="marginal", epochs=1)
    deep = replace(
        recipe,
        network=replace(
            recipe.network, features=(4, 8, 8), strides=((1, 1, 1), (2, 2, 2), (2, 2, 2))
        ),
    )  # of three resolutions, so that there is deep supervision
    preset = Preset("open", teachers=deep, student=recipe, folds=2)
    trained = teach(
        balls, tmp_path / "teachers", preset.teaching, target="organs", folds=[0]
    ).organs
    assert trained is not None
    assert trained.folds == (0,)
    write_cohort(tmp_path / "fused", balls)
    (tmp_path / "fused" / "ledger.jsonl").write_text("")
    student = study(tmp_path / "fused", tmp_path / "student", preset.student)
    for model, annotated in (
        (trained.model, {"partial": [1]}),
        (student, {"a": [1, 2], "b": [1, 2], "partial": [1]}),
    ):
        assert (
            json.loads((model / "dataset.json").read_text())["nnstudent"]["annotated"] == annotated
        )
        curves = json.loads((model / "fold_0" / "progress.json").read_text())
        assert all(math.isfinite(value) for value in (*curves["train_loss"], *curves["val_loss"]))
