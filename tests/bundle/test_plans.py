"""nnU-Net's plans become a specification, and what is not supported is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nnstudent.bundle.plans import from_nnunet
from nnstudent.bundle.spec import NetworkSpec, Resampling
from nnstudent.errors import InputError
from tests.inference.folders import ANISOTROPIC, ISOTROPIC, dataset, plans


def described(change: Any = None, data: Any = None, **more: Any) -> NetworkSpec:
    written = plans(ISOTROPIC, **more)
    if change is not None:
        change(written, written["configurations"]["3d_fullres"])
    return from_nnunet(written, data or dataset(("liver",)), configuration="3d_fullres", name="m")[
        0
    ]


def test_plans_become_a_description_and_survive_json():
    spec = from_nnunet(
        plans(ANISOTROPIC), dataset(("liver", "spleen")), configuration="3d_fullres", name="m"
    )[0]
    assert (spec.patch, spec.spacing_mm, spec.orientation) == ((8, 48, 64), (8.0, 2.4, 2.4), "RAS")
    assert spec.image_resampling == Resampling(3, 0, None)
    assert spec.score_resampling == Resampling(1, 0, None)
    assert (spec.normalization.lower, spec.normalization.upper) == (-160.0, 300.0)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_configurations_inherit():
    def inherit(written, configuration):
        written["configurations"]["base"] = configuration
        written["configurations"]["3d_fullres"] = {
            "inherits_from": "base",
            "spacing": [1.0, 2.0, 3.0],
        }

    assert described(inherit).spacing_mm == (1.0, 2.0, 3.0)
    with pytest.raises(InputError, match="no usable configuration"):
        described(lambda written, c: c.update(inherits_from="3d_fullres"))


def test_nnunets_torch_resampling_is_linear_and_nearest():
    def change(written, configuration):
        configuration["resampling_fn_data"] = "resample_torch_fornnunet"
        configuration["resampling_fn_data_kwargs"] = {
            "is_seg": False,
            "force_separate_z": False,
            "memefficient_seg_resampling": False,
        }

    assert described(change).image_resampling == Resampling(1, 0, False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w, c: c.pop("architecture"), "neither architecture nor UNet_class_name"),
        (
            lambda w, c: [c.pop("architecture"), c.update(UNet_class_name="os.system")],
            "UNet_class_name 'os.system' is not supported",
        ),
        (
            lambda w, c: [c.pop("architecture"), c.update(UNet_class_name="PlainConvUNet")],
            "malformed .KeyError: 'n_conv_per_stage_encoder'",
        ),
        (lambda w, c: c.update(previous_stage="3d_lowres"), "cascade"),
        (lambda w, c: c.update(patch_size=[64, 64]), "2D"),
        (
            lambda w, c: c.update(normalization_schemes=["RGBTo01Normalization"]),
            "RGBTo01Normalization is not supported",
        ),
        (
            lambda w, c: c.update(resampling_fn_data="no_resampling_hack"),
            "no_resampling_hack, which is not supported",
        ),
        (lambda w, c: w.update(image_reader_writer="Tiff3DIO"), "reader Tiff3DIO"),
        (lambda w, c: w.pop("transpose_forward"), "malformed"),
        (lambda w, c: c.update(spacing=[0, 1, 1]), "positive lengths"),
    ],
)
def test_what_is_not_supported_is_one_line(change, says):
    with pytest.raises(InputError, match=says) as caught:
        described(change)
    assert "\n" not in str(caught.value)
