from __future__ import annotations

from pathlib import Path

import pytest

from nnstudent.errors import InputError
from nnstudent.web.service import Service
from nnstudent.web.settings import Settings


def test_the_service_opens_what_it_is_given(tmp_path):
    (tmp_path / "scans").mkdir()
    service = Service(Settings(tmp_path / "work", datastore=tmp_path / "scans"))
    try:
        assert service.datastore is not None
        assert service.datastore.next("first", by="anna") is None
        assert service.model is service.datastore.store.model
        assert service.datastore.learning in service.parts
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"datastore": "nowhere"}, "no such folder"),
        ({"preset": "nothing.toml"}, "nothing.toml"),
        ({"preset": "demo", "rehearsal": "scans"}, "no cohort"),
        (
            {"preset": "demo"},
            r"--learn demo: .*: is another network \(.*use the recipe that it was",
        ),
    ],
)
def test_what_cannot_be_used_is_said_at_the_start(tmp_path, more, words):
    (tmp_path / "scans").mkdir()
    paths = {"datastore": "scans", **more}
    for key in ("datastore", "rehearsal"):
        if key in paths:
            paths[key] = tmp_path / paths[key]
    with pytest.raises(InputError, match=words):
        Service(Settings(tmp_path / "work", **paths))


def test_the_preset_of_the_bundled_student_fits_it(tmp_path):
    (tmp_path / "scans").mkdir()
    preset = Path(__file__).parents[3] / "examples" / "bundled-student" / "preset.toml"
    settings = Settings(tmp_path / "work", datastore=tmp_path / "scans", preset=str(preset))
    service = Service(settings)
    try:
        assert service.datastore is not None
        assert service.datastore.learning.possible
    finally:
        service.stop()
