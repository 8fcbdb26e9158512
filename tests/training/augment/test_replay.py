"""Which windows come again."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from nnstudent.training.augment.replay import Replay  # noqa: E402

LESION, CLASSES, SHAPE = 3, 4, (4, 5, 6)


def said(voxels: int) -> torch.Tensor:
    """Logits of one window that call so many voxels lesion, all others background."""
    logits = torch.zeros(1, CLASSES, *SHAPE)
    logits[0, 0] = 1.0
    logits[0, LESION].view(-1)[:voxels] = 5.0
    return logits


def noted(
    replay: Replay,
    voxels: int,
    labels: torch.Tensor | None = None,
    possible: torch.Tensor | None = None,
) -> int:
    labels = torch.zeros(1, 1, *SHAPE) if labels is None else labels
    return replay.record(
        torch.full((1, 1, *SHAPE), float(voxels)),
        [labels],
        [f"case{voxels}"],
        said(voxels),
        possible,
    )


def test_the_hardest_are_kept_and_handed_out_once() -> None:
    replay = Replay(1.0, lesions=[LESION], least=5)
    for voxels in (3, 50, 9, *range(10, 40)):
        noted(replay, voxels)
    drawn = []
    while (hard := replay.draw()) is not None:
        assert float(hard.image.mean()) == hard.false
        assert hard.cases == [f"case{hard.false}"]
        drawn.append(hard.false)
    assert sorted(drawn) == [*range(25, 40), 50]


def test_what_is_truth_or_open_or_ignored_is_not_invented() -> None:
    replay = Replay(1.0, lesions=[LESION], least=1)
    labels = torch.zeros(1, 1, *SHAPE)
    labels.view(-1)[:4] = LESION
    labels.view(-1)[4:6] = CLASSES  # ignored
    labels.view(-1)[6:8] = 1
    assert noted(replay, 10, labels) == 4
    possible = torch.eye(CLASSES, dtype=torch.bool)[None].clone()
    # Nobody looked for lesions in this case, so one may be in the background, but not in class 1.
    possible[0, 0, LESION] = True
    assert noted(replay, 10, labels, possible) == 2


def test_new_windows_come_as_often_as_asked() -> None:
    replay = Replay(0.25, lesions=[LESION], least=1)
    np.random.seed(0)  # noqa: NPY002
    again = 0
    for _ in range(2000):
        noted(replay, 8)
        again += replay.draw() is not None
    assert again / 2000 == pytest.approx(0.25, abs=0.04)
