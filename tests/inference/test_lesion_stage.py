"""What a lesion stage keeps, and what it lays over the organs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.export import export
from nnstudent.bundle.lesion_stage import add_lesion_stage
from nnstudent.bundle.spec import HostRule, NetworkSpec
from nnstudent.cli.main import main
from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.lesion_stage import REACH_MM, log_odds, nearest_host, threshold_by_host
from nnstudent.inference.pipelining import run_stages
from nnstudent.inference.segmenter import Segmenter
from nnstudent.pseudo.settings import TeacherOptions
from nnstudent.pseudo.teacher import classes_known, open_teacher
from nnstudent.taxonomy import Taxonomy, flare23
from tests.inference.conftest import blobs
from tests.inference.folders import ISOTROPIC, make_folder
from tests.inference.lesion_bundles import make_lesion_bundles

LIVER, SPLEEN, AORTA = 1, 3, 5
SPACING = (4.0, 2.5, 2.5)  # 0.025 ml


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Log odds far below 0 and organs: a liver and a spleen, far apart, with an aorta between."""
    organs = np.zeros((12, 30, 60), np.uint8)
    organs[2:10, 5:25, 3:20] = LIVER
    organs[2:10, 5:25, 45:58] = SPLEEN
    organs[:, 12:16, 30:34] = AORTA
    return np.full(organs.shape, -9.0, np.float32), organs


def test_log_odds_are_those_of_the_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 4, (5, 3, 4, 6)).astype(np.float32)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(0)
    own = p[2] + p[4]
    np.testing.assert_allclose(log_odds(logits, [2, 4]), np.log(own / (1 - own)), atol=1e-4)


def test_each_host_has_its_threshold() -> None:
    odds, organs = scene()
    odds[4:6, 10:14, 8:12] = odds[4:6, 10:14, 50:54] = np.log(0.7 / 0.3)
    kept = (
        threshold_by_host(
            odds, organs, {LIVER: HostRule(0.6), SPLEEN: HostRule(0.8)}, spacing_mm=SPACING
        )
        > 0
    )
    assert kept[4:6, 10:14, 8:12].all()
    assert not kept[:, :, 40:].any()


def test_pieces_under_the_least_size_of_their_host_are_left_out() -> None:
    odds, organs = scene()
    odds[4:6, 10:14, 8:12] = 5.0  # 32 voxels, 0.8 ml
    odds[4:6, 10:14, 50:54] = 5.0
    kept = (
        threshold_by_host(
            odds,
            organs,
            {LIVER: HostRule(0.5, 1.0), SPLEEN: HostRule(0.5, 0.5)},
            spacing_mm=SPACING,
        )
        > 0
    )
    assert not kept[:, :, :25].any()
    assert kept[4:6, 10:14, 50:54].all()


def test_nothing_is_kept_out_of_reach_of_a_host() -> None:
    odds, organs = scene()
    odds[5:7, 14:17] = 5.0  # through the liver and beyond
    kept = threshold_by_host(odds, organs, {LIVER: HostRule()}, spacing_mm=SPACING) > 0
    host, _ = nearest_host(organs, [LIVER], spacing_mm=SPACING)
    np.testing.assert_array_equal(kept, (host == LIVER) & (odds > 0))
    reach = int(REACH_MM / 2.5)
    assert kept[5, 15, 19 + reach]
    assert not kept[5, 15, 19 + reach + 1]
    assert (
        not threshold_by_host(
            odds, np.zeros_like(organs), {LIVER: HostRule()}, spacing_mm=SPACING
        ).max()
        > 0
    )


def test_what_lies_beside_a_host_and_not_in_it_is_something_else() -> None:
    odds, organs = scene()
    odds[4:8, 10:14, 22:24] = 5.0  # 5 to 10 mm beyond the liver
    odds[4:8, 18:22, 17:23] = 5.0  # grows out of it
    kept = threshold_by_host(odds, organs, {LIVER: HostRule()}, spacing_mm=SPACING) > 0
    assert not kept[:, :16].any()
    assert kept[4:8, 18:22, 17:23].all()


@pytest.mark.parametrize(("threshold", "least_ml"), [(0.0, 0.0), (1.0, 0.0), (0.5, -1.0)])
def test_a_rule_that_means_nothing_is_refused(threshold: float, least_ml: float) -> None:
    with pytest.raises(InputError, match="a lesion threshold of"):
        HostRule(threshold, least_ml)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A bundle of organs, a lesion stage's folder, and both in one bundle."""
    return make_lesion_bundles(tmp_path_factory.mktemp("lesions"))


def test_a_stage_changes_nothing_but_lesions(bundles):
    organs, _, both = bundles
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0))
    before = Segmenter(organs, postprocess=())(image).labels.array
    after = Segmenter(both, postprocess=())(image)
    tumor = flare23()["tumor"].id
    changed = after.labels.array != before
    assert changed.any(), "the stage finds nothing, which shows nothing"
    assert (after.labels.array[changed] == tumor).all()
    host, _ = nearest_host(
        before, [flare23()["spleen"].id], spacing_mm=image.spacing_mm, reach_mm=REACH_MM + 16
    )  # and three voxels of its grid
    assert (host[changed] > 0).all()
    assert 0 < after.organs["tumor"].confidence <= 1


def test_a_stage_has_a_say_in_the_probabilities_of_lesions_only(bundles):
    # The stage knows livers too, and sees the image in canonical axes.
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0)).reoriented("LIP")
    before, after = (
        run_stages(Segmenter(path, postprocess=()).stages(image, keep=True)).probabilities
        for path in bundles[::2]
    )
    for name in ("liver", "spleen", "aorta"):
        was = before.probability(name).array
        assert was.any()
        assert np.array_equal(after.probability(name).array, was)
    assert after.probability("tumor").array.any()
    before.close()
    after.close()


def with_tumors(folder: Path) -> Path:
    """A bundle whose network takes something for a tumor."""
    return export(
        make_folder(folder / "first", ISOTROPIC, classes=("liver", "tumor"), seed=5),
        folder / "organs",
        taxonomy=flare23(),
        torch_weights=False,
    )


def test_a_stage_decides_about_the_lesions_of_the_networks_before_it(bundles, tmp_path):
    _, stage, _ = bundles
    first = with_tumors(tmp_path)
    never = {"liver": HostRule(0.999, 1000.0)}
    both = add_lesion_stage(
        first, stage, tmp_path / "both", hosts=never, context_mm=8.0, torch_weights=False
    )
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0))
    tumor = flare23()["tumor"].id
    before, after = (Segmenter(path, postprocess=())(image).labels.array for path in (first, both))
    assert (before == tumor).any()
    assert not (after == tumor).any()
    assert (after[before == 1] == 1).all()


def test_without_a_host_there_are_no_lesions(bundles, tmp_path, monkeypatch):
    _, stage, _ = bundles
    first = with_tumors(tmp_path)
    hosts = {"liver": HostRule()}
    both = add_lesion_stage(first, stage, tmp_path / "both", hosts=hosts, torch_weights=False)
    monkeypatch.setattr("nnstudent.inference.case_run.crop_for_second_stage", lambda *_, **__: None)
    labels = Segmenter(both, postprocess=())(blobs((30, 26, 34), (5.0, 4.0, 4.0))).labels.array
    assert not (labels == flare23()["tumor"].id).any()


def test_a_teacher_with_a_stage_labels_lesions_as_segment_shows_them(bundles):
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0))
    table = flare23()
    shown = Segmenter(bundles[2], postprocess=())(image)
    teacher = open_teacher(bundles[2], table, options=TeacherOptions("argmax"))
    assert "tumor" in teacher.classes
    assert "tumor" in classes_known(open_model(bundles[2]), table)
    predicted = teacher.predict(image, uncertainty=True)
    lesions = predicted.labels == table["tumor"].id
    assert lesions.any()
    # A teacher restores probabilities where segment restores logits, so hosts differ at borders.
    assert dsc(lesions, shown.labels.array == table["tumor"].id) > 0.9
    assert predicted.confidence["tumor"] == pytest.approx(shown.organs["tumor"].confidence, 0.05)
    assert (predicted.uncertainty.probability[lesions] == 255).all()
    # Its hosts need not be wanted.
    few = Taxonomy("few", (table["tumor"],))
    alone = open_teacher(bundles[2], few, options=TeacherOptions("argmax")).predict(image)
    np.testing.assert_array_equal(alone.labels > 0, lesions)


def test_a_new_stage_takes_the_place_of_the_old_one(bundles, tmp_path, caplog):
    _, stage, both = bundles
    out = add_lesion_stage(
        both, stage, tmp_path / "out", hosts={"liver": HostRule()}, torch_weights=False
    )
    assert f"{both}: its lesion stage stage is replaced" in caplog.messages
    first, second = open_model(out).networks
    assert not first.spec.hosts
    assert second.spec.hosts == {"liver": HostRule()}
    files = {path.name for path in (out / "networks").iterdir()}
    assert files == {path.name for path in (both / "networks").iterdir()}


def test_the_rules_are_kept_in_the_bundle(bundles):
    spec = open_model(bundles[2]).networks[-1].spec
    assert spec.hosts == {"spleen": HostRule(0.3, 0.0)}
    assert spec.context_mm == 8.0
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert "lesions only, in and around spleen" in (bundles[2] / "card.md").read_text("utf-8")


def test_what_cannot_be_a_stage_is_refused(bundles, tmp_path):
    organs, stage, _ = bundles
    with pytest.raises(InputError, match="no class 'pancreas'; expected some of liver, spleen"):
        add_lesion_stage(organs, stage, tmp_path / "a", hosts={"pancreas": HostRule()})
    with pytest.raises(InputError, match="none of which is a lesion class"):
        add_lesion_stage(
            organs,
            make_folder(tmp_path / "o", ISOTROPIC),
            tmp_path / "b",
            hosts={"spleen": HostRule()},
        )
    without = export(tmp_path / "o", tmp_path / "plain", torch_weights=False)
    with pytest.raises(
        InputError,
        match=r"has no lesion class tumor, which .* segments; export it again with a table that has",
    ):
        add_lesion_stage(without, stage, tmp_path / "c", hosts={"spleen": HostRule()})
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_stage_may_see_larger_windows_than_it_learned_on(bundles, tmp_path):
    organs, stage, _ = bundles
    patch = open_model(stage).networks[0].spec.patch
    window = tuple(2 * size for size in patch)
    wide = add_lesion_stage(
        organs,
        stage,
        tmp_path / "wide",
        hosts={"spleen": HostRule()},
        window=window,
        torch_weights=False,
    )
    assert open_model(wide).networks[-1].spec.patch == window
    assert Segmenter(wide, postprocess=())(blobs((30, 26, 34), (5.0, 4.0, 4.0))).labels.array.any()


def test_the_command_puts_a_stage_behind_a_bundle(bundles, tmp_path, capsys):
    organs, stage, _ = bundles
    hosts = tmp_path / "hosts.json"
    hosts.write_text('{"spleen": {"threshold": 0.4, "least_ml": 0.2}}')
    words = [
        "export",
        str(stage),
        "-o",
        str(tmp_path / "out"),
        "--behind",
        str(organs),
        "--no-torch",
    ]
    assert main([*words, "--hosts", str(hosts)]) == 0
    assert open_model(tmp_path / "out").networks[-1].spec.hosts == {"spleen": HostRule(0.4, 0.2)}
    for more, said in (
        ([], "--behind and --hosts go together"),
        (["--hosts", str(hosts), "--window", "8,8"], "--window 8,8; expected three numbers"),
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err
    hosts.write_text('{"spleen": {"treshold": 0.4}}')
    assert main([*words, "--hosts", str(hosts)]) == 2
    assert "unknown key 'treshold'" in capsys.readouterr().err


def relative_stage(stage: Path, folder: Path, hosts: Sequence[str]) -> Path:
    """A stage that has learned on intensities relative to some organs."""
    shutil.copytree(stage, folder)
    plans = json.loads((folder / "plans.json").read_text("utf-8"))
    plans["nnstudent"] = {"recipe": {"data": {"hosts": list(hosts)}}}
    (folder / "plans.json").write_text(json.dumps(plans), "utf-8")
    return folder


def test_a_stage_may_see_intensities_relative_to_organs(bundles, tmp_path):
    organs, stage, _ = bundles
    relative = relative_stage(stage, tmp_path / "relative", ["liver"])
    with pytest.raises(InputError, match="sees intensities relative to organs"):
        Segmenter(relative)
    both = add_lesion_stage(
        organs,
        relative,
        tmp_path / "out",
        hosts={"liver": HostRule(0.3, 0.0)},
        context_mm=8.0,
        torch_weights=False,
    )
    spec = open_model(both).networks[-1].spec
    assert spec.relative_to == ("liver",)
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    # The same network on the image itself finds something else.
    image = blobs((30, 26, 34), (5.0, 4.0, 4.0))
    plain = add_lesion_stage(
        organs,
        stage,
        tmp_path / "plain",
        hosts={"liver": HostRule(0.3, 0.0)},
        context_mm=8.0,
        torch_weights=False,
    )
    one, other = (Segmenter(path, postprocess=())(image).labels.array for path in (both, plain))
    assert (one != other).any()


def test_organs_that_the_stage_or_the_bundle_lacks_are_refused(bundles, tmp_path):
    organs, stage, _ = bundles
    relative = relative_stage(stage, tmp_path / "relative", ["liver"])
    with pytest.raises(InputError, match=r"hosts spleen: .* has learned lesions of liver only"):
        add_lesion_stage(organs, relative, tmp_path / "out", hosts={"spleen": HostRule()})
    wrong = relative_stage(stage, tmp_path / "wrong", ["pancreas"])
    with pytest.raises(InputError, match="the recipe's hosts: no class 'pancreas'"):
        add_lesion_stage(organs, wrong, tmp_path / "out", hosts={"spleen": HostRule()})
