"""Infer, correct, submit, next: as the plugins of 3D Slicer, MITK and OHIF ask for it."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from nnstudent.cohort.cohort import read_cohort
from nnstudent.cohort.ledger import read_ledger
from nnstudent.io.nifti import read_labels, write_labels
from nnstudent.volume import Grid, Volume
from nnstudent.web.settings import Settings
from tests.web.served import FOUND, GRID, labels_with, served

TOKEN = "a token of the tests"


def test_info_has_what_the_clients_read(serving):
    found = serving.client().info().json
    model = found["models"]["nnstudent"]
    assert (model["type"], model["dimension"]) == ("segmentation", 3)
    assert model["labels"]["liver"] == 1
    assert found["labels"] == list(model["labels"])
    assert found["datastore"]["total"] == 2
    assert found["datastore"]["completed"] == 0
    assert {"first", "random"} <= set(found["strategies"])
    assert found["trainers"] == {}, "it does not train without a preset"


def test_slicer_s_round_infer_correct_submit_next(serving, label, tmp_path):
    slicer = serving.client("anna")
    first = slicer.next_sample("first").json
    assert first["id"] == "p1_ct"
    assert first["PatientID"] == "p1"
    image = slicer.call("GET", f"/datastore/image?image={first['id']}")
    assert image.body == (serving.folder / "p1" / "ct.nii.gz").read_bytes()

    inferred = slicer.infer("nnstudent", first["id"])
    assert inferred.status == 200
    params = json.loads(inferred.form["params"])
    assert params["label_names"] == {"liver": 1, "gallbladder": 9}, "what occurs, by value"
    ((name, content),) = inferred.files.items()
    assert name == "p1_ct.nii.gz"
    (tmp_path / "got.nii.gz").write_bytes(content)
    assert (read_labels(tmp_path / "got.nii.gz").array == FOUND.array).all()

    # Slicer numbers segments anew, and names them in label_info; some are empty.
    array = np.zeros(GRID.shape, np.uint8)
    array[1:3, 2:4, 4:8] = 2
    info = [{"name": n, "idx": i} for i, n in enumerate(("liver", "gallbladder", "tumor"), 1)]
    saved = slicer.save_label("p1_ct", label(Volume(array, GRID)), label_info=info)
    assert saved.status == 200, saved.body
    assert saved.json["confirmed"] == ["gallbladder"]

    cohort = read_cohort(serving.folder / "corrected")
    (case,) = cohort
    assert case.annotated == {"gallbladder"}
    assert case.image == serving.folder / "p1" / "ct.nii.gz"
    assert (read_labels(case.label).array == np.where(array == 2, 9, 0)).all()
    (row,) = read_ledger(serving.folder / "corrected" / "ledger.jsonl")
    assert (row.cls, row.origin, row.by) == ("gallbladder", "truth", "anna")
    assert row.at

    assert slicer.next_sample("first").json["id"] == "p2_ct"
    assert slicer.info().json["datastore"]["completed"] == 1
    store = slicer.call("GET", "/datastore/?output=all").json
    names = store["objects"]["p1_ct"]["labels"]["final"]["info"]["params"]["label_names"]
    assert names == {"gallbladder": 9}
    got = slicer.call("GET", "/datastore/label?label=p1_ct&tag=final")
    assert 'filename="p1_ct.nii.gz"' in got.headers["content-disposition"]


def test_a_second_request_takes_the_first_one_s_result(serving):
    client = serving.client()
    one, two = (client.infer("nnstudent", "p1_ct") for _ in range(2))
    assert one.files == two.files
    assert len(serving.service.jobs) == 1


def test_mitk_sends_the_scan_and_takes_the_answer_apart_itself(serving):
    path = serving.folder / "p1" / "ct.nii.gz"
    answer = serving.client().form(
        "POST", "/infer/nnstudent", {"restore_label_idx": True}, {"file": path}
    )
    assert answer.status == 200, answer.body
    boundary = b"--" + answer.headers["content-type"].split("boundary=")[1].encode()
    parts = [part for part in answer.body.split(boundary) if part]
    assert json.loads(parts[0].split(b"Content-Type: application/json")[1])["label_names"]
    image = parts[1].split(b"Content-Type: application/octet-stream")[1].lstrip(b" \r\n")
    assert image.startswith(b"\x1f\x8b")
    assert not len(serving.service.jobs), "nothing of it stays"


def test_ohif_gets_a_bare_nrrd_and_sends_bare_voxels(serving):
    nrrd = pytest.importorskip("nrrd")
    client = serving.client()
    params = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False}
    answer = client.form("POST", "/infer/nnstudent?image=p1_ct&output=image", params, {})
    (serving.folder.parent / "got.nrrd").write_bytes(answer.body)
    array, header = nrrd.read(str(serving.folder.parent / "got.nrrd"))
    assert (array.dtype, header["encoding"]) == (np.uint16, "raw")
    assert (FOUND.array == array.T).all()

    voxels = labels_with(spleen=(1, 5)).array
    saved = client.save_label("p1_ct", voxels.astype("<u2").tobytes(), label_info=None)
    assert saved.json["confirmed"] == ["spleen"], saved.body
    (case,) = read_cohort(serving.folder / "corrected")
    assert (read_labels(case.label).array == voxels).all()
    assert client.save_label("p1_ct", voxels.tobytes()[:-1]).status == 400


def test_a_session_is_a_scan_that_is_sent_once(serving):
    client = serving.client()
    path = serving.folder / "p2" / "ct.nii.gz"
    made = client.form("PUT", "/session/", {}, {"files": path}).json
    id = made["session_id"]
    assert client.call("GET", f"/session/{id}").status == 200
    answer = client.form("POST", f"/infer/nnstudent?image=&session_id={id}", {}, {})
    assert len(answer.files) == 1
    assert client.call("DELETE", f"/session/{id}").status == 200
    gone = client.call("GET", f"/session/{id}")
    assert gone.status == 404
    assert set(gone.json) == {"detail"}


def test_a_scan_that_somebody_adds_is_there_for_all(serving, tmp_path):
    client = serving.client()
    path = tmp_path / "new.nii.gz"
    hu = np.full(GRID.shape, 7, np.int16)
    nib.save(nib.Nifti1Image(hu.T, GRID.affine), path)
    assert client.upload_image("Volume 1", path).json == {"image": "Volume_1"}
    assert client.upload_image("Volume 1", path).json == {"image": "Volume_1"}, "the same again"
    assert client.infer("nnstudent", "Volume_1").status == 200
    nib.save(nib.Nifti1Image(hu.T + 1, GRID.affine), path)
    other = client.upload_image("Volume 1", path)
    assert other.status == 409
    assert "another scan" in other.json["detail"]


def test_what_is_unknown_or_wrong_is_a_line_in_the_protocol_s_form(serving, label, tmp_path):
    client = serving.client()
    good = label(FOUND)
    elsewhere = tmp_path / "elsewhere.nii.gz"
    write_labels(elsewhere, Volume(FOUND.array, Grid(GRID.shape, np.diag([1.0, 2.0, 3.0, 1.0]))))
    foreign = Volume(np.where(FOUND.array == 9, 99, FOUND.array), GRID)
    note = tmp_path / "note.nii.gz"
    note.write_bytes(b"not a label map")
    for status, answer, words in (
        (404, client.infer("vista3d", "p1_ct"), "no such model"),
        (404, client.infer("nnstudent", "../p1/ct"), "no such scan"),
        (404, client.next_sample("entropy"), "no such strategy"),
        (404, client.save_label("nobody", good), "no such scan"),
        (400, client.save_label("p1_ct", elsewhere), "another grid"),
        (400, client.save_label("p1_ct", label(foreign, "f.nii.gz")), "99"),
        (400, client.save_label("p1_ct", note), ""),
        (400, client.save_label("p1_ct", good, label_info=[{"name": "lung", "idx": 1}]), "lung"),
        (400, client.save_label("p1_ct", good, confirmed=["lung"]), "lung"),
        (400, client.save_label("p1_ct", good, confirmed=[]), "no class is confirmed"),
        (400, client.form("PUT", "/datastore/label?image=p1_ct", "[]", {"label": good}), "params"),
        (400, client.form("POST", "/infer/nnstudent", {}, {}), "no scan"),
        (400, client.send("POST", "/train/nnstudent"), "--learn"),
        (404, client.call("GET", "/train/?check_if_running=true"), "no training"),
        (404, client.send("POST", "/train/other"), "no such trainer"),
        (404, client.call("GET", "/session/abc"), "no such session"),
        (404, client.call("GET", "/datastore/label?label=p1_ct&tag=final"), "no label"),
        (405, client.call("DELETE", "/datastore/?id=p1_ct&type=image"), "deletes no scans"),
        (422, client.form("PUT", "/datastore/label", {}, {"label": good}), "image"),
    ):
        assert answer.status == status, (status, answer.status, answer.body)
        assert set(answer.json) == {"detail"}
        assert words in answer.json["detail"], answer.json
        assert "\n" not in answer.json["detail"]
        assert str(tmp_path) not in answer.json["detail"]
    assert not (serving.folder / "corrected" / "cohort.json").exists(), "nothing of it was kept"


def test_a_correction_of_a_deleted_scan_is_kept(serving, label):
    client = serving.client()
    client.infer("nnstudent", "p1_ct")
    (serving.folder / "p1" / "ct.nii.gz").unlink()
    answer = client.save_label("p1_ct", label(FOUND))
    assert answer.status == 404
    kept = answer.json["detail"].split("kept as ")[1]
    assert (read_labels(serving.folder / kept).array == FOUND.array).all()


def test_a_scan_that_was_deleted_a_moment_ago_is_not_the_next(serving):
    client = serving.client()
    assert client.next_sample("first").json["id"] == "p1_ct"
    (serving.folder / "p1" / "ct.nii.gz").unlink()
    for strategy in ("first", "random"):
        assert client.next_sample(strategy).json["id"] == "p2_ct"


def test_two_people_on_one_scan_lose_nothing(serving, label):
    anna, ben = serving.client("anna"), serving.client("ben")
    assert anna.next_sample("first").json["id"] == "p1_ct"
    assert ben.next_sample("first").json["id"] == "p2_ct", "each gets another one"
    mine, other = labels_with(liver=(0, 4), spleen=(6, 8)), labels_with(liver=(1, 5))
    anna.save_label("p1_ct", label(mine, "a.nii.gz"))
    stale = ben.save_label("p1_ct", label(other, "b.nii.gz"), version=0)
    assert stale.status == 409
    assert "anna corrected this scan" in stale.json["detail"]
    over = ben.save_label("p1_ct", label(other, "b.nii.gz"))
    assert "replaces what anna confirmed" in over.json["warnings"][0]
    (case,) = read_cohort(serving.folder / "corrected")
    assert case.annotated == {"liver", "spleen"}
    both = labels_with(liver=(1, 5), spleen=(6, 8)).array
    assert (read_labels(case.label).array == both).all()
    kept = sorted((serving.folder / "corrected" / "submissions" / "p1_ct").iterdir())
    assert (read_labels(kept[0]).array == mine.array).all()


def test_a_class_can_be_confirmed_as_absent(serving, label):
    client = serving.client()
    saved = client.save_label("p1_ct", label(FOUND), confirmed=["liver"], absent=["spleen"])
    assert saved.json["confirmed"] == ["liver", "spleen"]
    (case,) = read_cohort(serving.folder / "corrected")
    assert set(np.unique(read_labels(case.label).array)) == {0, 1}
    why = {row.cls: row.why for row in read_ledger(serving.folder / "corrected" / "ledger.jsonl")}
    assert why == {"liver": "confirmed", "spleen": "confirmed that it is not there"}


def test_a_token_is_asked_for_and_a_password_is_that_token(scans, tmp_path):
    with served(Settings(tmp_path / "work", datastore=scans, token=TOKEN)) as serving:
        client = serving.client()
        assert client.call("GET", "/auth/").json["enabled"]
        refused = client.info()
        assert refused.status == 401
        assert set(refused.json) == {"detail"}
        assert client.log_in("anna", "wrong").status == 401
        token = client.log_in("anna", TOKEN).json["access_token"]
        client = replace(client, token=token)
        assert client.call("GET", "/auth/token/valid").status == 200
        assert client.infer("nnstudent", "p1_ct").status == 200


def test_another_site_s_page_needs_to_be_allowed(scans, tmp_path):
    site = "http://ohif.example"
    settings = Settings(tmp_path / "work", datastore=scans, origins=(site,))
    with served(settings) as serving:
        import httpx2 as httpx

        web = httpx.Client(base_url=serving.address)
        asked = web.options("/infer/nnstudent", headers={"Origin": site})
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == site
        for origin, status in ((site, 200), ("http://evil.example", 403)):
            answer = web.post("/activelearning/first", json={}, headers={"Origin": origin})
            assert answer.status_code == status
            assert ("access-control-allow-origin" in answer.headers) == (status == 200)
        web.close()


def test_the_log_names_no_patient(serving):
    client = serving.client()
    client.infer("nnstudent", "p1_ct")
    text = client.call("GET", "/logs/?lines=100").body.decode()
    assert "job" in text
    assert "p1" not in text


def test_without_a_datastore_there_is_no_protocol(tmp_path):
    with served(Settings(tmp_path / "work")) as serving:
        assert serving.client().info().status == 404
