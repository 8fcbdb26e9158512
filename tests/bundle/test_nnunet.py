from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.nnunet import open_folder
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.cli.main import main
from nnstudent.cohort.index import index
from nnstudent.errors import InputError
from tests.cohort.conftest import Files
from tests.inference.folders import dataset


def test_the_axes_that_may_be_mirrored_come_from_the_checkpoint(folder, tmp_path):
    torch = pytest.importorskip("torch", reason="reads checkpoints, and torch is not installed")
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    path = copy / "fold_0" / "checkpoint_final.pth"
    assert open_model(copy).networks[0].spec.mirror_axes == ()
    for axes, expected in (
        ((0, 2), (0, 2)),
        (None, ()),
        ([1], (1,)),
        ((3,), "some of 0, 1 and 2"),
        ("x", "no list of axes"),
    ):
        torch.save(
            torch.load(path, weights_only=False) | {"inference_allowed_mirroring_axes": axes}, path
        )
        if isinstance(expected, str):
            with pytest.raises(InputError, match=expected):
                open_model(copy)
            continue
        spec = open_model(copy).networks[0].spec
        assert (
            spec.mirror_axes
            == expected
            == NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))).mirror_axes
        )


def test_all_folds_are_members_and_one_can_be_chosen(folder):
    assert [member.name for member in open_model(folder).networks[0].members] == [
        "fold_0",
        "fold_1",
    ]
    chosen = open_model(folder, fold=1).networks[0].members
    assert [member.name for member in chosen] == ["fold_1"]
    assert chosen[0].hash == open_model(folder).networks[0].members[1].hash


def test_the_identity_is_of_the_content(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "renamed"))
    assert open_model(copy).hash == open_model(folder).hash
    (copy / "dataset.json").write_text(json.dumps(dataset(("liver", "spleen", "pancreas"))))
    assert open_model(copy).hash != open_model(folder).hash


@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_a_file_that_holds_no_table_is_one_line(folder, tmp_path, name):
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    (copy / name).write_text("[1, 2]")
    with pytest.raises(InputError, match=f"{name}: holds a list; expected the table"):
        open_model(copy)


@pytest.mark.parametrize("lacking", ["plans.json", "dataset.json", "fold_*/checkpoint_final.pth"])
def test_a_folder_that_lacks_a_file(folder, tmp_path, lacking):
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    for path in copy.glob(lacking):
        path.unlink()
    with pytest.raises(InputError, match=r"lacks (plans|dataset|fold_0)") as caught:
        open_model(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lacking", ["plans.json", "dataset.json", "fold_*/checkpoint_final.pth"])
def test_a_model_that_lacks_a_file_is_one_line_of_every_verb(folder, tmp_path, lacking, capsys):
    files = Files(tmp_path / "scans")
    files.ct("a.nii.gz")
    index(files.text("cases.csv", "image\na.nii.gz\n"), tmp_path / "cohort")
    model = Path(shutil.copytree(folder, tmp_path / "model"))
    for path in model.glob(lacking):
        path.unlink()
    out = str(tmp_path / "out")
    for words in (
        ["segment", str(files.folder / "a.nii.gz"), "-o", f"{out}/a.nii.gz", "--model", str(model)],
        ["label", str(tmp_path / "cohort"), "-o", out, "--teacher", str(model)],
        ["export", str(model), "-o", out],
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"nnstudent {words[0]}: {model}: lacks ")
        assert not Path(out).exists()


def test_a_fold_whose_training_did_not_end_is_named(folder, tmp_path, caplog):
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    (copy / "fold_7").mkdir()
    (copy / "fold_7" / "checkpoint_latest.pth").write_bytes(b"half way")
    open_model(copy)
    (said,) = caplog.messages
    assert "fold_7: has no checkpoint_final.pth" in said
    # The best checkpoint of an interrupted training does not join those that have ended, …
    (copy / "fold_7" / "checkpoint_best.pth").write_bytes(b"half way")
    assert len(open_model(copy).networks[0].members) == 2
    # … unless none has, or it is named.
    (copy / "fold_0" / "checkpoint_final.pth").rename(copy / "fold_0" / "checkpoint_best.pth")
    assert [member.name for member in open_model(copy, fold=0).networks[0].members] == ["fold_0"]
    assert "takes checkpoint_best.pth" in caplog.messages[-1]


def test_what_is_no_model(tmp_path, folder):
    for path, fold, says in (
        (tmp_path / "nothing", None, "no such folder"),
        (tmp_path, None, "is no model"),
        (folder, 4, "lacks fold_4"),
    ):
        with pytest.raises(InputError, match=says):
            open_model(path, fold=fold)
    shutil.copytree(folder, tmp_path / "student")
    for open_it in (open_model, open_folder):
        with pytest.raises(InputError, match=r"fold_K\); student in it is, name one"):
            open_it(tmp_path)
