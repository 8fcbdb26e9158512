"""What the page asks for: an overview, the next scan, a correction, its return."""

from __future__ import annotations

import json
import time

import httpx2 as httpx
import numpy as np
import pytest

from nnstudent.inference.labels.probabilities import NetworkProbabilities, ProbabilityMaps
from nnstudent.inference.labels.stored_probabilities import store_probabilities
from nnstudent.io.nifti import read_labels
from nnstudent.volume import Volume
from nnstudent.web.jobs import SHARED
from tests.web.served import FOUND, labels_with


@pytest.fixture
def page(serving):
    with httpx.Client(base_url=serving.address, timeout=60) as client:
        yield client


def done(page, id):
    until = time.monotonic() + 60
    while (job := page.get(f"/api/jobs/{id}").json())["state"] != "done":
        assert time.monotonic() < until
        time.sleep(0.05)
    return job


def submit(page, id, path, **params):
    files = {"label": ("label.nii.gz", path.read_bytes())}
    return page.put(f"/api/jobs/{id}/labels", data={"params": json.dumps(params)}, files=files)


def test_the_next_scan_is_corrected_and_shown_corrected(page, label, serving):
    assert page.get("/api/about").json()["datastore"]
    overview = page.get("/api/datastore").json()
    assert (overview["scans"], overview["corrected"], overview["learns"]) == (2, 0, False)
    job = page.post("/api/datastore/next", json={"by": "anna"}).json()
    assert job["name"] == "p1"
    job = done(page, job["id"])
    assert job["correction"] == {"version": 0, "confirmed": []}
    assert job["id"] in {other["id"] for other in page.get("/api/jobs").json()}

    mine = labels_with(liver=(0, 2), gallbladder=(4, 8))
    sent = {"confirmed": ["gallbladder"], "absent": ["tumor"], "version": 0, "by": "anna"}
    saved = submit(page, job["id"], label(mine), **sent)
    assert saved.json()["confirmed"] == ["gallbladder", "tumor"], saved.text
    again = submit(page, job["id"], label(mine), **sent)
    assert again.status_code == 409
    assert "anna corrected this scan" in again.json()["error"]

    correction = page.get(f"/api/jobs/{job['id']}").json()["correction"]
    assert {(row["name"], row["present"]) for row in correction["confirmed"]} == {
        ("gallbladder", True),
        ("tumor", False),
    }
    shown = label(FOUND, "shown.nii.gz")
    shown.write_bytes(page.get(f"/api/jobs/{job['id']}/labels").content)
    expected = np.where(mine.array == 9, 9, np.where(FOUND.array == 9, 0, FOUND.array))
    assert (read_labels(shown).array == expected).all(), "truth over the model's"
    assert page.get("/api/datastore").json()["corrected"] == 1


def test_a_scan_that_was_only_uploaded_joins_the_datastore(page, label, serving):
    files = {"files": ("new.nii.gz", (serving.folder / "p2" / "ct.nii.gz").read_bytes())}
    job = done(page, page.post("/api/jobs", files=files).json()["id"])
    assert submit(page, job["id"], label(FOUND), confirmed=["liver"], by="").status_code == 200
    assert (serving.folder / "new.nii.gz").is_file()
    assert page.get("/api/datastore").json()["scans"] == 3
    with httpx.Client(base_url=serving.address) as other:
        assert other.get(f"/api/jobs/{job['id']}").status_code == 404, "it is still its owner's"


def test_what_is_wrong_is_a_line(page, label):
    assert submit(page, "0" * 32, label(FOUND)).status_code == 404
    job = done(page, page.post("/api/datastore/next", json={}).json()["id"])
    for params, words in (({"confirmed": 3}, "not what the page sends"), ({}, "no class")):
        answer = submit(page, job["id"], label(FOUND), **params)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
    deep = {
        "data": {"params": "[" * 9000},
        "files": {"label": ("l.nii.gz", label(FOUND).read_bytes())},
    }
    answer = page.put(f"/api/jobs/{job['id']}/labels", **deep)
    assert (answer.status_code, answer.json()["error"][:6]) == (400, "params")
    assert page.post("/api/datastore/training", json={}).status_code == 400
    assert page.delete("/api/datastore/training").status_code == 404
    assert page.delete("/api/datastore/student").status_code == 409


CLICK = "/api/datastore/click"
BALL = {"shape": [20, 24, 28], "spacing_mm": [2, 2, 2], "voxel": [10, 12, 14], "add": True}


def ball():
    z, y, x = np.ogrid[:20, :24, :28]
    inside = (z - 10) ** 2 + (y - 12) ** 2 + (x - 14) ** 2 < 6**2
    return inside, np.where(inside, 20, 110).astype("<i2").tobytes() + bytes(inside.size)


def test_a_click_is_answered_with_the_organ_around_it(page):
    inside, body = ball()
    answer = page.post(CLICK, params=BALL, content=body)
    assert answer.status_code == 200, answer.text
    found = np.frombuffer(answer.content, np.uint8).reshape(inside.shape) > 0
    assert 2 * (found & inside).sum() / (found.sum() + inside.sum()) > 0.9


@pytest.mark.parametrize(
    ("more", "extra", "code", "words"),
    [
        ({}, b"1", 413, "its shape takes 40320 bytes"),
        ({"shape": [200, 200, 200]}, b"", 400, "at most 2000000"),
        ({"shape": [20, 24]}, b"", 422, "shape"),
        ({"voxel": [10, 12, 28]}, b"", 400, "inside the image"),
        ({"add": False}, b"", 400, "not labeled"),
        ({"spacing_mm": ["nan", 2, 2]}, b"", 422, "spacing_mm"),
    ],
)
def test_a_wrong_click_is_a_line(page, more, extra, code, words):
    answer = page.post(CLICK, params=BALL | more, content=ball()[1] + extra)
    assert answer.status_code == code
    assert words in answer.json()["error"]


def test_a_click_is_as_guarded_as_an_upload(page):
    body = ball()[1]
    foreign = page.post(CLICK, params=BALL, content=body, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403
    short = page.post(CLICK, params=BALL, content=body[:-1])
    assert (short.status_code, short.json()["error"]) == (
        400,
        "a box of 40319 bytes; its shape takes 40320",
    )
    endless = page.post(CLICK, params=BALL, content=iter([body]))  # of no stated length
    assert endless.status_code == 413


def test_a_click_on_a_result_uses_what_the_network_thought_of_it(page, serving):
    job = done(page, page.post("/api/datastore/next", json={}).json()["id"])
    own = FOUND.array == 1
    body = np.full(own.shape, 40, "<i2").tobytes() + own.astype(np.uint8).tobytes()
    spacing = list(FOUND.spacing_mm)
    at = {"shape": list(own.shape), "spacing_mm": spacing, "voxel": [1, 2, 1], "add": False}
    asked = at | {"job": job["id"], "organ": 1, "elsewhere": True}
    assert page.post(CLICK, params=asked, content=body).headers["decided-by"] == "image"

    network = NetworkProbabilities.__new__(NetworkProbabilities)  # that is sure of the liver
    sure = Volume(np.where(own, 255, 0).astype(np.uint8), FOUND.grid)
    network.classes, network.volume = ("background", "liver"), lambda channel: sure
    maps = ProbabilityMaps(FOUND.grid)
    maps.networks.append(network)
    store_probabilities(serving.service.jobs.get(job["id"], owner=SHARED).scores, maps)
    answer = page.post(CLICK, params=asked, content=body)
    assert (answer.status_code, answer.headers["decided-by"]) == (200, "scores")
    found = np.frombuffer(answer.content, np.uint8).reshape(own.shape)
    assert found[1, 2, 1] == 0
    other = page.post(CLICK, params=asked | {"job": "0" * 32}, content=body)
    assert other.headers["decided-by"] == "image"
    moved = page.post(CLICK, params=asked | {"start": [1, 0, 0]}, content=body)
    assert (moved.status_code, "inside the scan" in moved.json()["error"]) == (400, True)
    unknown = page.post(CLICK, params=asked | {"organ": 99}, content=body)
    assert (unknown.status_code, "no class with id 99" in unknown.json()["error"]) == (400, True)
