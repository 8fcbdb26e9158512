from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.errors import InputError
from nnstudent.inference.files.find import CaseFile
from nnstudent.inference.files.segment import segment_file
from nnstudent.inference.grid import restore as restoring
from nnstudent.inference.grid.torch_restore import TorchLinear
from nnstudent.inference.labels.postprocess import DEFAULT, postprocess
from nnstudent.inference.labels.scores import mean_scores
from nnstudent.inference.lesion_stage import lesions_alone
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pseudo.teacher import open_teacher
from nnstudent.taxonomy import flare23
from nnstudent.volume import Volume
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder

CODES = [
    "".join(c)
    for axes in itertools.permutations(("LR", "PA", "IS"))
    for c in itertools.product(*axes)
]


@pytest.fixture(scope="module")
def segmenter(isotropic) -> Segmenter:
    return Segmenter(isotropic, threads=2)


@pytest.fixture(scope="module")
def image() -> Volume:
    return blobs((18, 24, 30), (5.0, 4.0, 4.0))


@pytest.mark.parametrize("codes", CODES)
def test_turning_the_scan_turns_the_labels(codes, segmenter, image):
    turned = image.reoriented(codes)
    assert turned.grid.axcodes == codes
    labels = segmenter(turned).labels
    assert labels.grid is turned.grid
    np.testing.assert_array_equal(labels.reoriented("RAS").array, segmenter(image).labels.array)


angles = st.floats(-40, 40)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    codes=st.sampled_from(CODES),
    tilt=st.tuples(angles, angles, angles),
    sform=st.integers(0, 4),
    qform=st.integers(0, 4),
)
def test_the_file_lies_on_the_inputs_grid_with_its_header(
    codes, tilt, sform, qform, segmenter, image, tmp_path
):
    turned = image.reoriented(codes)
    affine = rotation(tilt) @ turned.grid.affine
    if sform == 0 and qform == 0:
        affine = np.eye(4) * [4.0, 4.0, 5.0, 1.0]  # without a form NIfTI knows only the spacing
    scan = nib.Nifti1Image(turned.array.T, affine)
    scan.header.set_xyzt_units("mm", "sec")
    scan.set_sform(affine, sform)
    scan.set_qform(affine, qform)
    nib.save(scan, tmp_path / "ct.nii.gz")
    segment_file(CaseFile("ct", tmp_path / "ct.nii.gz", tmp_path / "out.nii.gz"), segmenter)
    stored, labels = nib.load(tmp_path / "ct.nii.gz"), nib.load(tmp_path / "out.nii.gz")
    assert labels.shape == stored.shape
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(labels.affine, stored.affine)
    for field in (
        "pixdim",
        "sform_code",
        "qform_code",
        "srow_x",
        "srow_y",
        "srow_z",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "xyzt_units",
    ):
        np.testing.assert_array_equal(labels.header[field], stored.header[field], err_msg=field)
    assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2, 3}


def rotation(degrees: tuple[float, float, float]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def test_openvino_and_torch_agree(isotropic, image):
    openvino, torch = (
        Segmenter(isotropic, engine=engine).predict(image) for engine in ("openvino", "torch")
    )
    scale = np.abs(torch.values).max()
    np.testing.assert_allclose(openvino.values / scale, torch.values / scale, atol=1e-4)


def test_the_way_back_on_a_device_gives_the_same_labels(isotropic, image, monkeypatch):
    made = []
    monkeypatch.setattr(
        restoring,
        "TorchLinear",
        lambda *args, **more: made.append(more["device"]) or TorchLinear(*args, **more),
    )
    segmenter = Segmenter(isotropic, engine="torch", postprocess=())
    here = segmenter(image).labels.array
    assert not made
    segmenter.engine_of(0, 0).restores_on = "cpu"  # as "cuda" is on a GPU
    assert (segmenter(image).labels.array == here).mean() > 0.9999
    assert made == ["cpu"]


def test_what_the_result_says(segmenter, image):
    told = []
    result = segmenter(image, progress=lambda what, done, total: told.append((what, done, total)))
    assert list(result.organs) == ["liver", "spleen", "aorta"]
    for name, facts in result.organs.items():
        mask = result.labels.array == segmenter.taxonomy[name].id
        assert facts.volume_ml == pytest.approx(mask.sum() * 4 * 4 * 5 / 1000)
        assert facts.confidence is not None
        assert 1 / 4 <= facts.confidence <= 1
    assert result.windows == {"planned": len(told), "run": len(told), "skipped": 0}
    assert told[-1][1] == told[-1][2]
    assert result.seconds["total"] >= result.seconds["network"] > 0
    assert (result.engine, result.precision, result.model) == (
        "openvino",
        "fp32",
        segmenter.model.hash,
    )


def test_the_members_of_an_ensemble(tmp_path, image):
    folder = make_folder(tmp_path / "model", ISOTROPIC, folds=(0, 2), seed=5)
    segmenter = Segmenter(folder, postprocess=())
    assert segmenter.members == ("fold_0", "fold_2")
    each = list(segmenter.predict_members(image))
    np.testing.assert_array_equal(each[1].values, segmenter.predict(image, member=1).values)
    np.testing.assert_allclose(
        segmenter.predict(image).values, (each[0].values + each[1].values) / 2, atol=1e-6
    )
    assert np.abs(each[0].values - each[1].values).max() > 0.1
    np.testing.assert_array_equal(
        segmenter.restore(mean_scores(each), onto=image).array, segmenter(image).labels.array
    )
    probabilities = mean_scores(scores.probabilities() for scores in each)
    np.testing.assert_allclose(probabilities.values.sum(0), 1, atol=1e-5)
    assert segmenter.restore(probabilities, onto=image).grid is image.grid
    with pytest.raises(InputError, match="counted from 0"):
        segmenter.predict(image, member=2)


def test_later_networks_are_laid_over_earlier_ones(tmp_path, image):
    organs = make_folder(tmp_path / "organs", ISOTROPIC)
    tumor = make_folder(tmp_path / "tumor", ISOTROPIC, classes=("tumor",), seed=9)
    with pytest.raises(
        InputError, match="--taxonomy"
    ):  # each has its own values, and both have a class 1
        export(organs, tmp_path / "bundle", overlay=[tumor])
    table = flare23()
    both = Segmenter(
        export(organs, tmp_path / "bundle", overlay=[tumor], taxonomy=table), postprocess=()
    )(image)
    first, second = (
        Segmenter(export(folder, tmp_path / folder.name / "b", taxonomy=table), postprocess=())(
            image
        ).labels.array
        for folder in (organs, tumor)
    )
    assert 0 < (second == 14).mean() < 1
    np.testing.assert_array_equal(both.labels.array, np.where(second == 14, 14, first))
    assert list(both.organs) == ["liver", "spleen", "aorta", "tumor"]


def test_of_a_tumor_model_that_knows_organs_only_the_lesions_are_laid_over(tmp_path, image):
    table = flare23()
    organs = make_folder(tmp_path / "organs", ISOTROPIC)
    tumor = make_folder(
        tmp_path / "tumor", ISOTROPIC, classes=("liver", "pancreas", "tumor"), seed=9
    )
    with pytest.raises(InputError, match="none of which is a lesion class"):
        export(organs, tmp_path / "b", overlay=[organs], lesions_only=True, taxonomy=table)
    bundle = export(organs, tmp_path / "bundle", overlay=[tumor], lesions_only=True, taxonomy=table)
    both = Segmenter(bundle, postprocess=())(image)
    first = Segmenter(export(organs, tmp_path / "first", taxonomy=table), postprocess=())
    second = Segmenter(export(tumor, tmp_path / "second", taxonomy=table), postprocess=())
    # Its window's scores are interpolated as odds, so they are compared on the network's own grid.
    own = lesions_alone(second.predict(image), table.lesions)
    lesions = second.restore(own, onto=image).array
    assert 0 < (lesions == 14).mean() < 1
    expected = np.where(lesions == 14, 14, first(image).labels.array)
    np.testing.assert_array_equal(both.labels.array, expected)
    assert not (both.labels.array == table["pancreas"].id).any()
    # As a teacher it says no more than that.
    channels = open_teacher(bundle, table).channel_ids
    assert channels == ((0, 1, 3, 5), (0, 0, 0, 14))


def test_labels_are_corrected_by_the_rules(isotropic, segmenter, image):
    plain = Segmenter(isotropic, postprocess=())(image)
    both = segmenter(image)
    np.testing.assert_array_equal(
        both.labels.array, postprocess(plain.labels, segmenter.taxonomy, rules=DEFAULT).array
    )
    assert both.organs["spleen"].volume_ml < plain.organs["spleen"].volume_ml, (
        "stray voxels of a random network are gone"
    )


def test_the_image_may_have_any_number_type(segmenter, image):
    as_float = Volume(image.array.astype(np.float32), image.grid)
    np.testing.assert_array_equal(segmenter(as_float).labels.array, segmenter(image).labels.array)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"threads": 0}, "at least 1"),
        ({"tta": True}, "trained without mirrored images"),
        ({"postprocess": ("nonsense",)}, "expected none, or some of"),
        ({"engine": "onnx"}, "expected one of auto, openvino, torch"),
        ({"device": "tpu"}, "OpenVINO has CPU"),
        ({"device": "nonsense", "engine": "torch"}, "use cpu or cuda"),
    ],
)
def test_unusable_settings_are_one_line(isotropic, arguments, says):
    with pytest.raises(InputError, match=says) as caught:
        Segmenter(isotropic, **arguments)
    assert "\n" not in str(caught.value)


def test_cuda_without_a_gpu_is_one_line(isotropic):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(InputError, match="no CUDA"):
        Segmenter(isotropic, device="cuda")
    assert Segmenter(isotropic, device="auto").engine_of(0, 0).name == "openvino"


def test_a_model_can_be_given_opened_or_as_a_path(isotropic):
    assert Segmenter(open_model(isotropic)).model.hash == Segmenter(Path(isotropic)).model.hash
