"""Label maps that another program made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nnstudent.cohort.cohort import Case, Cohort
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels, write_image, write_labels
from nnstudent.io.parts import parts
from nnstudent.labels.class_maps import find_map
from nnstudent.pseudo.label import label
from nnstudent.pseudo.pseudo_label import read_pseudo_label
from nnstudent.pseudo.settings import LabelSettings
from nnstudent.taxonomy import flare23
from nnstudent.volume import Grid, Volume
from tests.pseudo.conftest import GRID, SHAPE, Maker


class TestLabelMapsFromAFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        return tmp_path / "external"

    def put(self, folder, id, values, grid=GRID):
        write_labels(
            folder / f"{id}.nii.gz",
            Volume(np.broadcast_to(np.array(values, np.uint8), SHAPE).copy(), grid),
        )

    def test_labels_are_taken_in_under_the_tables_ids(self, maker: Maker, folder, tmp_path):
        cohort = maker.cohort(
            maker.case("a"), maker.case("full", maker.taxonomy.names), maker.case("lost")
        )
        self.put(folder, "a", [0, 1, 2, 2, 5, 5, 0, 0, 0, 0])
        result = label(
            cohort, tmp_path / "out", labels_from=folder, mapping={"5": "liver", "2": "kidney"}
        )
        assert result.made == ("a",)
        assert result.absent == ("lost",)
        assert "no label map for 1 of 2 cases, lost" in result.notices[0]
        assert read_labels(tmp_path / "out" / "a.nii.gz").array[0, 0].tolist() == [
            0,
            0,
            2,
            2,
            1,
            1,
            0,
            0,
            0,
            0,
        ]
        record = read_pseudo_label(tmp_path / "out", "a")
        assert (record.classes, record.found, record.folds) == (
            ("liver", "kidney"),
            ("liver", "kidney"),
            {},
        )
        assert (
            label(
                cohort, tmp_path / "out", labels_from=folder, mapping={"5": "liver", "2": "kidney"}
            ).made
            == ()
        )
        assert label(cohort, tmp_path / "out", labels_from=folder, mapping={"5": "liver"}).made == (
            "a",
        )

    def test_names_in_dataset_json_need_no_map(self, maker: Maker, folder, tmp_path):
        self.put(folder, "a", [0, 1, 2, 3, 0, 0, 0, 0, 0, 0])
        (folder / "dataset.json").write_text(
            json.dumps({"labels": {"background": 0, "kidney": 1, "liver": 2, "bone": 3}})
        )
        label(maker.cohort(maker.case("a")), tmp_path / "out", labels_from=folder)
        assert read_labels(tmp_path / "out" / "a.nii.gz").array[0, 0, :4].tolist() == [0, 2, 1, 0]

    def test_a_foreign_id_or_grid_fails_the_case_only(self, maker: Maker, folder, tmp_path):
        from nnstudent.volume import Grid

        self.put(folder, "ids", 9)
        self.put(folder, "grid", 1, Grid(SHAPE, np.diag([2.0, 1.5, 3.1, 1.0])))
        self.put(folder, "good", 1)
        result = label(
            maker.cohort(*map(maker.case, ("ids", "grid", "good"))),
            tmp_path / "out",
            labels_from=folder,
        )
        reasons = {item.case: item.reason for item in result.failures}
        assert "id 9 is not in the label table toy" in reasons["ids"]
        assert "resample the label map onto the image" in reasons["grid"]
        assert result.made == ("good",)

    def test_parts_share_the_cases_without_overlap(self, maker: Maker, folder, tmp_path):
        ids = [f"c{number}" for number in range(5)]
        cohort = maker.cohort(*map(maker.case, ids))
        for id in ids:
            self.put(folder, id, 1)
        made = [
            label(
                cohort, tmp_path / "out", labels_from=folder, settings=LabelSettings(part=part)
            ).made
            for part in parts(3)
        ]
        assert sorted(id for part in made for id in part) == ids

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"previous": Path("nowhere")},
                "--before nowhere: expected the folder that label wrote",
            ),
            ({"uncertainty": True}, "--probability with --from"),
        ],
    )
    def test_wrong_settings_are_refused(self, maker: Maker, folder, tmp_path, settings, message):
        self.put(folder, "a", 1)
        with pytest.raises(InputError, match=message):
            label(
                maker.cohort(maker.case("a")),
                tmp_path / "out",
                labels_from=folder,
                settings=LabelSettings(**settings),
            )

    @pytest.mark.parametrize(
        ("mapping", "message"),
        [({"liver": "liver"}, "has no 'liver'"), ({"1": "lung"}, "no class 'lung'")],
    )
    def test_a_wrong_map_is_refused(self, maker: Maker, folder, tmp_path, mapping, message):
        self.put(folder, "a", 1)
        cohort = maker.cohort(maker.case("a"))
        with pytest.raises(InputError, match=message):
            label(cohort, tmp_path / "out", labels_from=folder, mapping=mapping)

    def test_neither_teachers_nor_folder_is_refused(self, maker: Maker, tmp_path):
        with pytest.raises(InputError, match="either teachers"):
            label(maker.cohort(maker.case("a")), tmp_path / "out")


def test_a_class_map_says_what_labels_from_elsewhere_mean(tmp_path):
    grid = Grid((4, 20, 30), np.diag([4.0, 4.0, 5.0, 1.0]))
    image = tmp_path / "ct.nii.gz"
    write_image(image, Volume(np.zeros(grid.shape, np.int16), grid))
    array = np.zeros(grid.shape, np.uint8)
    array[1:3, 5:10, 2:8] = array[1:3, 5:10, 22:28] = 1  # a kidney on each side
    write_labels(tmp_path / "kits" / "a.nii.gz", Volume(array, grid))
    cohort = Cohort(flare23(), (Case("a", image),))
    given = find_map("kits", taxonomy=flare23())
    done = label(cohort, tmp_path / "pseudo", labels_from=tmp_path / "kits", mapping=given)
    assert not done.failures
    made = read_labels(tmp_path / "pseudo" / "a.nii.gz").array
    assert set(np.unique(made[..., :15])) == {0, flare23()["left_kidney"].id}
    assert set(np.unique(made[..., 15:])) == {0, flare23()["right_kidney"].id}
    assert set(done.labels[0].classes) == {"right_kidney", "left_kidney", "tumor"}
