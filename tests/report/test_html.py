from __future__ import annotations

import base64
import gzip
import io
import json
import re
from html import unescape

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from nnstudent.cli import main
from nnstudent.cli.common import write_report as write_json_report
from nnstudent.cohort.cohort import Cohort, read_cohort, write_cohort
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.evaluate import evaluate
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_image, write_image
from nnstudent.phantom.mark import DESCRIPTION
from nnstudent.report import write_report
from nnstudent.report.embed import Viewer
from nnstudent.report.load import load_run
from nnstudent.report.previews import make_previews
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.evaluation.scenes import GRID, SHAPE, ct, make_cohort, organs, save

pytest.importorskip("jinja2", reason="the report needs the extra [report]")
pytest.importorskip("matplotlib", reason="the report needs the extra [report]")
TABLE = flare23()


VIEWER = Viewer("show('a < b')", "'sha256-x'")


@pytest.fixture(autouse=True)
def built_without_a_viewer(monkeypatch):
    """The same report whether this tree has a viewer or not; tests that want one say so.

    Nor the pictures of each case, which take two seconds each.
    """
    monkeypatch.setattr("nnstudent.report.html.find_viewer", lambda: None)
    monkeypatch.setattr("nnstudent.report.html.make_previews", lambda _: [])


@pytest.fixture
def with_previews(built_without_a_viewer, monkeypatch):
    monkeypatch.setattr("nnstudent.report.html.make_previews", make_previews)


@pytest.fixture
def run(tmp_path):
    """A run as the stages leave it: scores are real evaluations of shifted label maps, the rest is
    written as the stages do."""
    folder = tmp_path / "RUN <1>"
    cohort = make_cohort(folder / "cohort", test=3)
    broken = (Failure("bad_01", "label is on another grid (<script>alert(1)</script>)"),)
    write_cohort(folder / "cohort", Cohort(cohort.taxonomy, cohort.cases, broken))
    for who, shifts in (("teacher", (0, 1, 1)), ("student", (0, 0, 1))):
        for case, shift in zip(cohort.test(), shifts, strict=True):
            save(
                folder / "predictions" / who / f"{case.id}.nii.gz",
                organs(shift=shift, tumor=shift == 0),
            )
            facts = {"id": case.id, "seconds": {"read": 0.1, "total": 2.5 + shift}}
            write_json(folder / "predictions" / who / f"{case.id}.json", facts)
        scores = evaluate(folder / "predictions" / who, folder / "cohort")
        write_json_report(
            folder / "scores" / f"{who}.json", scores.to_dict(), command=["nnstudent", "evaluate"]
        )
        write_json(
            folder / "scores" / f"{who}.whole.json",
            evaluate(folder / "predictions" / who, cohort, whole_organs=True).to_dict(),
        )
    for place, epochs in (
        ("teachers/organs/fold_0", 4),
        ("teachers/organs/fold_1", 3),
        ("student/fold_0", 5),
    ):
        losses = [1.0 - 0.1 * epoch for epoch in range(epochs)]
        curve = {
            "train_loss": losses,
            "val_loss": [*losses[1:], None],
            "dice": [None, *losses[1:]],
            "seconds": [1.5] * epochs,
        }
        write_json(folder / place / "progress.json", {"fold": 0, "epochs": epochs, **curve})
    keys = ("case", "class", "origin", "model", "round", "score", "why")
    rows = [
        ("train_00", "liver", "truth", None, 0, None, "annotated"),
        ("train_01", "liver", "pseudo", "abc", 1, 0.9, "folds agree"),
        ("train_01", "spleen", "dropped", "abc", 1, 0.1, "agreement 0.10 < 0.20"),
    ]
    (folder / "fused").mkdir()
    (folder / "fused" / "ledger.jsonl").write_text(
        "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows)
    )
    stages = [
        {
            "name": "index",
            "state": "done",
            "seconds": 1.25,
            "peak_rss_mb": 210.0,
            "detail": "2 cases",
            "failures": [{"case": "bad_01", "reason": "why"}],
        },
        {
            "name": "study",
            "state": "failed",
            "seconds": 75.0,
            "peak_rss_mb": 2048.0,
            "detail": "no space left",
            "failures": [],
        },
        {"name": "export", "state": "left"},
    ]
    write_json(
        folder / "run.json",
        {
            "schema": 1,
            "version": "0.1.0",
            "preset": "demo",
            "source": "/home/me/phantoms",
            "stages": stages,
        },
    )
    return folder


def rows_of(html: str) -> dict[str, list[str]]:
    """The cells of each table row by its header, tags taken out."""
    found = {}
    for row in re.findall(r"<tr[^>]*><th scope=\"row\">(.*?)</tr>", html, re.S):
        cells = [
            " ".join(unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.split(r"</t[hd]>", row)
        ]
        found.setdefault(cells[0], cells[1:-1])
    return found


def test_the_figures_shown_are_those_of_the_scores(run):
    html = write_report(run).read_text()
    teacher, student = (
        json.loads((run / "scores" / f"{who}.json").read_text())["mean"]
        for who in ("teacher", "student")
    )
    rows = rows_of(html)
    assert student["liver"]["dsc"] != teacher["liver"]["dsc"]
    for name, title in (
        ("liver", "liver"),
        ("left_adrenal_gland", "left adrenal gland"),
        ("tumor", "tumor"),
        ("organs", "mean of the organs"),
    ):
        cells = rows[title]
        for column, (mean, value) in enumerate(
            [(m, v) for m in (teacher, student) for v in ("dsc", "nsd")]
        ):
            assert (
                cells[column]
                == f"{100 * mean[name][value]:.1f} ± {100 * mean[name][f'{value}_sd']:.1f}"
            )
        assert float(cells[4].replace("−", "-")) == pytest.approx(
            100 * (student[name]["dsc"] - teacher[name]["dsc"]), abs=0.051
        )
        assert cells[-1] == "3"
    assert f"{100 * student['organs']['dsc']:.1f} <span" in html


def test_every_part_is_there(run):
    html = write_report(run).read_text()
    for part in ("scores", "pictures", "cohort", "labels", "trainings", "stages"):
        assert f'<section id="{part}">' in html
    assert re.findall(r"(Best|Second best|Worst|Only) case: (\w+)", html) == [
        ("Best", "test_02"),
        ("Second best", "test_03"),
        ("Worst", "test_04"),
    ]
    assert html.count("<figure>") == 3 * 4
    assert html.count("data:image/svg+xml") == 2 * (
        1 + 2
    )  # light and dark: scores, organ teachers, student
    assert rows_of(html)["study"] == ["failed", "1 min 15 s", "2.1 GB", "no space left"]
    assert "agreement 0.10 &lt; 0.20" in html
    assert "2.5 s (median of 3; the longest took 3.5 s)" in html
    assert "Not shown" not in html
    assert html.index("Organ teachers") < html.index("<h3>Student</h3>")
    assert "phantoms" in html
    assert "/home/me" not in html


def test_it_loads_nothing_from_elsewhere(run):
    html = write_report(run).read_text()
    assert not re.search(
        r"https?:|//[a-z]", re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]+", "", html)
    )
    assert "built without its viewer" in html
    assert not re.search(r"<(script|link|iframe|object)\b", html)
    assert all(
        address.startswith(("data:", "#"))
        for address in re.findall(r"(?:src|href|srcset)=\"([^\"]*)\"", html)
    )
    for picture in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html):
        drawn = base64.b64decode(picture).decode()
        assert all(address.startswith("#") for address in re.findall(r"href=\"([^\"]*)\"", drawn))


def test_what_comes_from_data_is_escaped(run):
    html = write_report(run).read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "RUN &lt;1&gt;" in html


def test_the_viewer_and_its_scans_are_in_the_file(run, monkeypatch):
    monkeypatch.setattr("nnstudent.report.html.find_viewer", lambda: VIEWER)
    html = write_report(run).read_text()
    assert "<script>show('a < b')</script>" in html
    assert "script-src 'sha256-x';" in unescape(html)
    assert "without its viewer" not in html
    classes = json.loads(re.search(r'id="viewer-classes">(.*?)</script>', html)[1])
    assert classes[0] == {"id": 1, "title": "liver", "color": list(TABLE["liver"].color)}
    scans = [json.loads(text) for text in re.findall(r'data-scan="[^"]*">(.*?)</script>', html)]
    assert [scan["title"] for scan in scans] == [
        "Best: test_02",
        "Second best: test_03",
        "Worst: test_04",
    ]
    image, truth, prediction = (
        unpacked(text)
        for text in (scans[0]["image"], *(layer["labels"] for layer in scans[0]["layers"]))
    )
    assert image.shape == truth.shape == SHAPE[::-1]
    np.testing.assert_array_equal(truth.affine, image.affine)
    values = (
        Volume(np.asarray(truth.dataobj).T, Grid(SHAPE, truth.affine))
        .reoriented(GRID.axcodes)
        .array
    )
    np.testing.assert_array_equal(values, organs(tumor=True))
    np.testing.assert_array_equal(np.asarray(prediction.dataobj), np.asarray(truth.dataobj))
    hu = Volume(image.get_fdata().T, Grid(SHAPE, image.affine)).reoriented(GRID.axcodes).array
    assert np.abs(hu - np.clip(ct(organs(tumor=True), 2), -160, 240)).max() < 1.6  # eight bits


def unpacked(text: str) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


@pytest.mark.parametrize(
    "part",
    [
        "run.json",
        "cohort/cohort.json",
        "scores/teacher.json",
        "scores/student.json",
        "fused/ledger.jsonl",
        "student/fold_0/progress.json",
    ],
)
@pytest.mark.parametrize("how", ["missing", "broken"])
def test_a_part_that_is_missing_is_left_out_and_one_that_is_broken_is_named(run, part, how):
    if how == "missing":
        (run / part).unlink()
    else:
        (run / part).write_text('{"stages": 3, "cases": [')
    html = write_report(run).read_text()
    assert ("Not shown" in html) == (how == "broken")
    if how == "broken":
        assert part.rsplit("/", 1)[-1] in html.split("Not shown")[1]


def test_of_several_rounds_it_tells_of_the_last(run):
    about = json.loads((run / "run.json").read_text())
    write_json(run / "run.json", about | {"rounds": 3})
    row = {
        "case": "train_01",
        "class": "liver",
        "origin": "pseudo",
        "model": "s",
        "round": 2,
        "score": None,
        "why": "a single fold",
    }
    write_json(
        run / "round2" / "student" / "fold_0" / "progress.json",
        {"fold": 0, "epochs": 1, "train_loss": [0.5]},
    )
    (run / "round2" / "fused").mkdir()
    (run / "round2" / "fused" / "ledger.jsonl").write_text(json.dumps(row) + "\n")
    found = load_run(run)
    assert found.ledger.round == 2
    assert found.ledger.by_class == {"liver": {"pseudo": 1}}
    assert [curve.group for curve in found.curves if "student" in curve.group] == [
        "student, round 2",
        "student",
    ]
    page = write_report(run).read_text()
    assert "at most 3 rounds of labeling" in page
    assert "the student of the round before made in round 2" in page
    write_json(run / "run.json", about | {"rounds": 1})  # what lies there is of an earlier call
    assert load_run(run).ledger.by_class == {
        "liver": {"truth": 1, "pseudo": 1},
        "spleen": {"dropped": 1},
    }
    assert "rounds of labeling" not in write_report(run).read_text()


def test_pictures_come_from_where_the_run_lies_now(run, tmp_path):
    moved = tmp_path / "moved"
    run.rename(moved)
    html = write_report(moved).read_text()
    assert html.count("<figure>") == 3 * 4
    (moved / "predictions" / "student" / "test_02.nii.gz").write_bytes(b"no image")
    assert "no picture of test_02" in write_report(moved).read_text()


def test_only_a_trained_network_makes_a_report(tmp_path):
    write_json(tmp_path / "student" / "fold_0" / "progress.json", {"train_loss": [1.0]})
    html = write_report(tmp_path, out=tmp_path / "out" / "r.html").read_text()
    assert '<section id="trainings">' in html
    assert '<section id="scores">' not in html


def test_nothing_of_a_run_is_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    with pytest.raises(InputError, match="nothing of a run"):
        load_run(tmp_path)


def test_the_command_prints_where_the_report_is(run, capsys):
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out.strip() == str(run / "report.html")


def test_a_baseline_gets_a_column_and_the_headline(run):
    (run / "scores" / "baseline.json").write_text((run / "scores" / "teacher.json").read_text())
    html = write_report(run).read_text()
    assert len(rows_of(html)["liver"]) == 3 * 2 + 2 + 1
    assert "Change by pseudo-labels" in html


def test_phantoms_are_called_so_on_top_and_patients_are_not(run):
    assert "Phantoms are not patients" not in write_report(run).read_text()
    cohort = read_cohort(run / "cohort")
    for place, case in enumerate(cohort.cases):
        image = read_image(case.image)
        write_image(case.image, image, description=DESCRIPTION if place else "")
    html = write_report(run).read_text()
    assert html.index("Phantoms are not patients") < html.index("<nav>")
    assert f"{len(cohort) - 1} of {len(cohort)} scans of this run are" in html


def test_each_case_has_the_picture_of_the_preview(run, with_previews):
    html = write_report(run, title="Mine & yours").read_text()
    assert "<h1>Mine &amp; yours</h1>" in html
    section = html[html.index('<section id="found">') :]
    section = section[: section.index("</section>")]
    assert re.findall(r"<summary>(\w+), organ DSC", section) == ["test_02", "test_03", "test_04"]
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", section)
    sizes = [Image.open(io.BytesIO(base64.b64decode(picture))).width for picture in pictures]
    assert sizes == [1304] * 3
    few = make_previews(load_run(run), most=2)
    assert [preview.id for preview in few] == ["test_02", "test_04"], "the best and the worst"


def test_a_case_without_its_image_has_no_picture_and_is_named_once(run, with_previews):
    cohort = read_cohort(run / "cohort")
    cohort.test()[0].image.unlink()
    html = write_report(run).read_text()
    assert html.count(f"no picture of {cohort.test()[0].id}") == 1
    assert html.count('<figure class="preview">') == 2
