"""The benchmark of distillation: its teacher is wider and computes the same, its student is small."""

from __future__ import annotations

import pytest

from bench.distill import FEATURES, SPACING_MM, each, student_preset, widened

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("times", [2, 4])
def test_a_wider_layer_repeats_what_the_narrow_one_gives(times: int) -> None:
    torch.manual_seed(0)
    small, image = torch.nn.Conv3d(3, 2, 3, padding=1), torch.randn(1, 3, 4, 4, 4)
    wide = torch.nn.Conv3d(3 * times, 2 * times, 3, padding=1)
    with torch.no_grad():
        given = small.state_dict()
        for name, tensor in wide.state_dict().items():
            tensor.copy_(widened(given[name], tuple(tensor.shape), name=name))
        expected = small(image).repeat_interleave(times, dim=1)
        found = wide(image.repeat_interleave(times, dim=1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_student_is_small_and_learns_as_many_steps_as_asked() -> None:
    preset = student_preset(1000)
    assert preset.label_precision == "auto"
    assert preset.student.network.features == FEATURES
    assert preset.student.data.spacing_mm == SPACING_MM
    assert preset.student.training.epochs * preset.student.training.iterations == 1000


def test_a_number_for_each_stage() -> None:
    assert each(2, 3) == [2, 2, 2]
    assert each([1, 2], 2) == [1, 2]
