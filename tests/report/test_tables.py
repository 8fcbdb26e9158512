from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.cli import main
from nnstudent.errors import InputError
from nnstudent.io.atomic import write_json
from nnstudent.report import write_tables
from nnstudent.report.costs import spread_out
from nnstudent.report.export import latex, markdown
from nnstudent.report.load import load_run
from nnstudent.report.tables import Table, paper_tables


def profiled(run, case, **changed):
    found = {
        "wall_seconds": 7.25, "exit_code": 0, "peak_rss_mb": 812.4, "rss_area_mb_s": 4200.0,
        "peak_gpu_mb": "no GPU", "gpu_area_mb_s": "no GPU",
    }  # fmt: skip
    write_json(run / "efficiency" / f"{case}.json", {"profile": found | changed})


def tables(run) -> dict[str, Table]:
    return {table.key: table for table in paper_tables(load_run(run))}


def test_scores_are_those_of_the_run(run):
    mean = json.loads((run / "scores" / "student.json").read_text())["mean"]
    table = tables(run)["organs"]
    rows = {row[0]: row[1:] for row in table.rows}
    for title, name in (
        ("Liver", "liver"),
        ("Left adrenal gland", "left_adrenal_gland"),
        ("Average of the organs", "organs"),
    ):
        for cell, metric in zip(rows[title], ("dsc", "nsd"), strict=False):
            assert (
                cell == f"{100 * mean[name][metric]:.2f} ± {100 * mean[name][f'{metric}_sd']:.2f}"
            )
        assert rows[title][2] == "4"
    assert (len(table.rows), table.groups) == (15, 1)


def test_lesions_are_those_of_the_run(run):
    rows = {row[0]: row[1:] for row in tables(run)["lesions"].rows}
    assert rows["Tumor, all"] == ("4", "3", "75.0", "0", "0.00")
    assert rows["Tumor, 0 to 0.5 ml"][:2] == ("4", "3")


def test_time_is_the_segmenters_own_where_nothing_was_profiled(run):
    table = tables(run)["efficiency"]
    assert table.header == ("Case", "Image size", "Time (s)")
    assert ("test_02", "26 × 24 × 14", "2.50") in table.rows
    assert "start-up and loading the model not included" in table.note


def test_a_profile_brings_memory_and_replaces_the_time(run):
    profiled(run, "test_02")
    profiled(run, "test_03", peak_gpu_mb=2538.0, gpu_area_mb_s=23063.0)
    rows = {row[0]: row[1:] for row in tables(run)["efficiency"].rows}
    assert rows["test_02"] == ("26 × 24 × 14", "7.25", "812", "4200", "no GPU", "no GPU")
    assert rows["test_03"][-2:] == ("2538", "23063")
    assert set(rows) == {"test_02", "test_03"}  # what the others took was measured in another way


@pytest.mark.parametrize("changed", [{"exit_code": 1}, {"wall_seconds": None}])
def test_a_profile_of_a_command_that_failed_is_no_figure(run, changed):
    profiled(run, "test_02", **changed)
    found = load_run(run)
    assert "test_02" not in {cost.id for cost in found.costs}
    assert len(found.problems) == 1
    assert "Not readable" in write_tables(run, kind="md").read_text()


def test_unlabeled_scans_gain_what_the_scores_differ(run):
    means = {
        who: json.loads((run / "scores" / f"{who}.json").read_text())["mean"]["organs"]["dsc"]
        for who in ("student", "baseline")
    }
    table = tables(run)["unlabeled"]
    assert [row[1] for row in table.rows] == [
        "labeled",
        "labeled",
        "labeled + unlabeled",
        "by unlabeled scans",
    ]
    gain = table.rows[-1][2]
    assert gain.startswith("+")
    assert float(gain) == pytest.approx(100 * (means["student"] - means["baseline"]), abs=0.006)
    assert "Wilcoxon" in table.note
    assert f"{gain} points" in table.note  # all cases have all organs: both are the same mean


def test_without_a_baseline_the_table_says_so(run):
    (run / "scores" / "baseline.json").unlink()
    table = tables(run)["unlabeled"]
    assert "--baseline" in table.note
    assert len(table.rows) == 2
    (run / "scores" / "student.json").unlink()
    assert "unlabeled" not in tables(run)


def test_nothing_scored_is_no_table(tmp_path, capsys):
    write_json(tmp_path / "run.json", {"stages": [{"name": "index", "state": "done"}]})
    assert main(["report", str(tmp_path), "--format", "md"]) == 2
    assert "no scores" in capsys.readouterr().err
    with pytest.raises(InputError, match="docx"):
        write_tables(tmp_path, kind="docx")


def test_html_has_them_too(run):
    pytest.importorskip("jinja2", reason="the report needs the extra [report]")
    pytest.importorskip("matplotlib", reason="the report needs the extra [report]")
    assert main(["report", str(run)]) == 0
    html = (run / "report.html").read_text()
    part = html[html.index('<section id="tables">') :]
    assert part.count("<table>") == 4
    assert "26 × 24 × 14" in part


@given(st.integers(0, 60), st.integers(2, 20))
def test_a_choice_keeps_the_ends(count, most):
    chosen = spread_out(list(range(count)), most)
    assert len(chosen) == min(count, most)
    assert len(set(chosen)) == len(chosen)
    assert chosen == sorted(chosen)
    assert not count or (chosen[0], chosen[-1]) == (0, count - 1)


HERE = {
    "system": "Linux-6.1", "processor": "Xeon", "cores": 2, "memory_gb": 16.8, "gpus": None,
    "cuda": None, "python": "3.11.7", "packages": {"nnstudent": "0.1.0", "torch": "2.8.0"},
}  # fmt: skip
RECIPE = {
    "network": {"features": [8, 16], "kind": "plain"},
    "data": {"patch": [16, 24, 32], "batch": 2, "spacing_mm": [4.0, 1.2, 1.2]},
    "training": {
        "epochs": 3, "iterations": 250, "optimizer": "sgd", "lr": 0.01, "momentum": 0.99,
        "weight_decay": 3e-5, "schedule": "poly", "warmup": 0, "deep_supervision": True,
        "augment": [{"name": "gamma_inverted"}], "copy_paste": 0.5,
    },
}  # fmt: skip


def trained(run, place, *, record=True, epochs=3, **changed):
    curve = {"train_loss": [0.5] * epochs, "seconds": [60.0] * epochs, "device": "cuda"}
    write_json(run / place / "progress.json", {"epochs": 3, "precision": "mixed", **curve})
    if record:
        known = {
            "cases": 7, "folds": 5, "initialization": "random", "recipe": RECIPE,
            "parameters": 1234567, "gflop": 12.3456, "environments": [HERE],
        }  # fmt: skip
        write_json(run / place / "training.json", known | changed)


def column(table: Table, title: str) -> dict[str, str]:
    place = table.header.index(title)
    return {row[0]: row[place] for row in table.rows}


def test_protocols_are_those_that_were_recorded(run):
    for fold in (0, 1):
        trained(run, f"teachers/organs/fold_{fold}")
    trained(run, "student/fold_0", epochs=2, initialization="model abc")
    found = tables(run)
    teacher = column(found["teachers"], "Organ teachers")
    assert teacher == {
        "Cases": "7",
        "Folds": "2 of 5",
        "Network initialization": "random",
        "Batch size": "2",
        "Patch size (z × y × x)": "16 × 24 × 32",
        "Voxel size (z × y × x, mm)": "4 × 1.2 × 1.2",
        "Total epochs": "3 (250 iterations each)",
        "Optimizer": "SGD, Nesterov momentum 0.99, weight decay 3e-05",
        "Initial learning rate": "0.01",
        "Learning rate schedule": "lr · (1 − epoch / epochs)^0.9",
        "Loss function": "Dice + cross-entropy, deep supervision",
        "Augmentation": "gamma inverted, copy paste",
        "Training time": "6 min 00 s (3 min 00 s a fold)",
        "Device": "cuda, mixed",
        "Network": "U-Net, features 8, 16",
        "Parameters": "1 234 567",
        "FLOPs of a patch": "12.35 G",
    }
    student = column(found["student"], "Student")
    assert student["Total epochs"].endswith("2 done")
    assert student["Network initialization"] == "model abc"
    assert [found[key].like for key in ("environment", "teachers", "student")] == [
        "Table 1",
        "Table 2",
        "Table 3",
    ]


def test_what_is_not_recorded_is_called_so_and_never_guessed(run):
    trained(run, "student/fold_0", record=False)
    cells = column(tables(run)["student"], "Student")
    assert {cells[row] for row in ("Cases", "Batch size", "Optimizer", "Parameters")} == {
        "not recorded"
    }
    assert cells["Training time"] == "3 min 00 s"
    environment = tables(run)["environment"]
    assert {cell for row in environment.rows for cell in row[1:]} == {"not recorded"}
    write_json(run / "student" / "plans.json", {"nnstudent": {"recipe": RECIPE}})
    assert column(tables(run)["student"], "Student")["Batch size"] == "2", "an older run's plans"


def test_the_student_and_its_network_without_pseudo_labels_are_two_columns(run):
    trained(run, "student/fold_0")
    trained(run, "baseline/student/fold_0", cases=3)
    table = tables(run)["student"]
    assert column(table, "Student without pseudo-labels")["Cases"] == "3"
    assert column(table, "Student")["Cases"] == "7"


def test_the_environment_has_a_column_for_each_machine(run):
    write_json(run / "run.json", {"stages": [], "environment": HERE})
    trained(run, "student/fold_0", environments=[HERE | {"gpus": []}])
    one = column(tables(run)["environment"], "Run")
    assert one["Processor"] == "Xeon, 2 cores used"
    assert (one["Memory"], one["GPU"], one["CUDA"]) == ("16.8 GB", "none", "none")
    assert one["Deep learning framework"] == "PyTorch 2.8.0"
    other = HERE | {"system": "Cluster", "gpus": ["A100", "A100"], "cuda": "12.8"}
    trained(run, "teachers/organs/fold_0", environments=[other])
    both = tables(run)["environment"]
    assert both.header == ("", "Run, Student", "Organ teachers")
    assert column(both, "Organ teachers")["GPU"] == "A100, A100"


def test_words_are_laid_out_as_words(run):
    trained(run, "student/fold_0")
    shown = [table for table in paper_tables(load_run(run)) if table.words]
    assert "| --- | --- |" in markdown(shown, title="t")
    text = latex(shown, title="t")
    assert r"\begin{tabular}{lp{0.66\linewidth}}" in text
    assert r"16 $\times$ 24 $\times$ 32" in text


@pytest.mark.parametrize("broken", ["[]", "{", '{"recipe": 3, "environments": "x"}'])
def test_a_broken_record_breaks_no_table(run, broken):
    trained(run, "student/fold_0")
    (run / "student" / "fold_0" / "training.json").write_text(broken)
    assert column(tables(run)["student"], "Student")["Cases"] == "not recorded"


def test_phantoms_are_called_so_before_any_table(run, monkeypatch):
    monkeypatch.setattr("nnstudent.report.context.is_phantom", lambda _: True)
    for kind in ("md", "latex"):
        text = write_tables(run, kind=kind, title="Mine").read_text()
        begins = "## " if kind == "md" else r"\begin{table}"
        assert text.index("Phantoms are not patients") < text.index(begins)
        assert "Mine" in text.splitlines()[0]
