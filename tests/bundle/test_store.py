"""The store of models: added from folders, archives and addresses, found by name, removed."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.store import (
    VARIABLE,
    add_model,
    find_model,
    known_models,
    remove_model,
    stored_models,
)
from nnstudent.errors import InputError
from nnstudent.labels.class_maps import map_names

LAYOUT = "Dataset291_Organs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"  # TotalSegmentator's


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    return tmp_path / "store"


def pack(
    path: Path, folder: Path, *, root: str = LAYOUT, extra: dict[str, bytes] | None = None
) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{root}/{file.relative_to(folder).as_posix()}")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def server(tmp_path: Path):
    """A web server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}", folder
    httpd.shutdown()
    httpd.server_close()


def test_an_archive_is_added_and_found_by_name(tmp_path, folder, store):
    archive = pack(tmp_path / "Organs v2.zip", folder)
    added = add_model(str(archive), sha256=sha256(archive).upper())
    assert added.name == "organs-v2"
    assert find_model("organs-v2") == store / "organs-v2" / "model"
    assert [item.name for item in stored_models()] == ["organs-v2"]
    assert open_model(find_model("organs-v2")).classes == open_model(folder).classes
    assert remove_model("organs-v2") == store / "organs-v2"
    assert stored_models() == ()
    assert [path.name for path in store.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize("what", ["folder", "bundle"])
def test_a_folder_is_copied(tmp_path, store, what, request):
    added = add_model(str(request.getfixturevalue(what)), name="mine")
    assert added.sha256 is None
    assert open_model(find_model("mine")).classes


def test_only_the_files_of_a_model_are_unpacked(tmp_path, folder, store):
    more = {
        f"{LAYOUT}/fold_0/debug.json": b"{}",
        f"{LAYOUT}/run.sh": b"rm -rf /",
        f"{LAYOUT}/fold_0/checkpoint_latest.pth": b"x",
        "README.txt": b"hello",
        "__MACOSX/plans.json": b"",
    }
    two = pack(tmp_path / "two.zip", folder, extra={"other/plans.json": b"{}"})
    with pytest.raises(InputError, match=r"2 models in it \(Dataset291_Organs/.*, other\)"):
        add_model(str(two))
    add_model(str(pack(tmp_path / "m.zip", folder, extra=more)))
    names = {path.name for path in (store / "m" / "model").rglob("*") if path.is_file()}
    assert names == {"plans.json", "dataset.json", "checkpoint_final.pth"}


def test_what_cannot_be_used_is_passed_over(tmp_path, folder, store, caplog):
    other = LAYOUT.replace("3d_fullres", "2d")
    add_model(str(pack(tmp_path / "m.zip", folder, extra={f"{other}/plans.json": b"{}"})))
    assert f"{other}/: passed over; 2D models and cascades" in caplog.text
    assert open_model(find_model("m")).classes == open_model(folder).classes


def test_an_archive_is_not_segmented_with_before_it_was_added(tmp_path, folder):
    archive = pack(tmp_path / "m.zip", folder)
    with pytest.raises(InputError, match=r"add the archive first: nnstudent model add .*m\.zip"):
        open_model(archive)


def test_it_comes_from_an_address_with_its_hash(server, folder):
    url, served = server
    archive = pack(served / "model.zip", folder)
    seen = []
    added = add_model(
        f"{url}/model.zip", sha256=sha256(archive), progress=lambda *step: seen.append(step)
    )
    assert added.sha256 == sha256(archive)
    assert added.source == f"{url}/model.zip"
    assert seen[-1][0] == "MB"
    assert open_model(find_model("model")).classes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give the hash"),
        ({"sha256": "0" * 64}, "has the SHA-256"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"unverified": True, "name": "../up"}, "cannot name a model"),
        ({"unverified": True, "name": "bundled"}, "cannot name a model"),
    ],
)
def test_what_is_not_asked_for_properly_is_refused_and_leaves_nothing(
    server, folder, store, options, message
):
    url, served = server
    pack(served / "model.zip", folder)
    with pytest.raises(InputError, match=message):
        add_model(f"{url}/model.zip", **options)
    assert stored_models() == ()
    assert not store.exists() or not [p for p in store.iterdir() if not p.name.endswith(".lock")]


def test_what_the_server_does_not_have_is_one_line(server):
    url, _ = server
    with pytest.raises(InputError, match="cannot be fetched"):
        add_model(f"{url}/none.zip", unverified=True)
    for address in ("ftp://example.org/a.zip", "http://example.org/a.zip", "file:///etc/passwd"):
        with pytest.raises(InputError, match="https"):
            add_model(address, unverified=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("../plans.json", "leads out of it"), ("/plans.json", "leads out of it")],
)
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path, folder, store, name, message):
    archive = pack(tmp_path / "m.zip", folder, extra={name: b"{}"})
    with pytest.raises(InputError, match=message):
        add_model(str(archive))
    assert stored_models() == ()


def test_a_link_in_an_archive_is_refused(tmp_path, folder):
    archive = pack(tmp_path / "m.zip", folder)
    with zipfile.ZipFile(archive, "a") as opened:
        link = zipfile.ZipInfo(f"{LAYOUT}/fold_1/checkpoint_best.pth")
        link.external_attr = 0o120777 << 16
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        add_model(str(archive))


def test_an_archive_without_a_model_or_with_one_that_is_none_is_refused(tmp_path, folder, store):
    for name, extra in {"a": {"x/readme.md": b""}, "b": {"x/plans.json": b"{"}}.items():
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for inner, content in extra.items():
                archive.writestr(inner, content)
        with pytest.raises(InputError):
            add_model(str(path))
    assert stored_models() == ()


def test_a_name_that_is_taken_or_unknown_is_one_line(folder):
    add_model(str(folder), name="mine")
    with pytest.raises(InputError, match="there is a model of this name"):
        add_model(str(folder), name="mine")
    with pytest.raises(InputError, match="did you mean mine"):
        find_model("mien")
    with pytest.raises(InputError, match="nnstudent model add totalsegmentator-organs"):
        find_model("totalsegmentator-organs")
    with pytest.raises(InputError, match="did you mean mine"):
        remove_model("mien")


def test_paths_and_the_bundled_student_are_what_they_were(folder, tmp_path):
    assert find_model(folder) == folder
    assert find_model("bundled") is None
    assert find_model(tmp_path / "nowhere") == tmp_path / "nowhere"


def test_the_known_models_are_whole():
    for model in known_models().values():
        assert model.url.startswith("https://")
        assert model.licence
        assert model.map is None or model.map in map_names()
