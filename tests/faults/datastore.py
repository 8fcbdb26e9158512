"""Requests to a service with a datastore that are almost right: corrections, scans and questions of
the page and of annotation tools."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import httpx2 as httpx
import nibabel as nib

from nnstudent import ServiceSettings
from nnstudent.io.nifti import write_labels
from tests.faults.damage import harm, harm_tree, odd_value, to_json
from tests.faults.kills import Row
from tests.faults.outcome import EXECUTED, HALF, HANG, INTERNAL, LOSS, OK, REFUSED, leftovers
from tests.web.conftest import limited
from tests.web.served import Serving, labels_with, make_scans, served

_KIND = "datastore"
_SCANS = ("p1_ct", "p2_ct")
_IDS = (*_SCANS * 4, "p1", "", "..", "../p1", "p1/../p2", "x" * 300, "\0", "é", "%2e%2e", "p1\n")


def correct_all(folder: Path, chance: Random, count: int) -> Iterator[Row]:
    """So many requests to a datastore of two scans; what became of each, and of the datastore."""
    scans = make_scans(folder / "scans")
    settings = limited(ServiceSettings(folder / "work", datastore=scans), jobs=10**6)
    label = folder / "label.nii.gz"
    write_labels(label, labels_with(liver=(0, 2), gallbladder=(4, 8)))
    beside = set(folder.iterdir()) | {settings.work}
    with served(settings) as serving, httpx.Client(base_url=serving.address, timeout=30) as client:
        for number in range(count):
            method, path, how = _request(chance, label.read_bytes(), _last_job(client))
            try:
                answer = client.request(method, path, **how)
            except httpx.TimeoutException:
                yield _KIND, HANG, f"{number}: no answer in 30 s to {method} {path[:80]}"
                continue
            except (httpx.HTTPError, httpx.InvalidURL):
                yield _KIND, REFUSED, ""
                continue
            fault = _fault(answer, scans, beside)
            if fault is not None:
                yield _KIND, fault[0], f"{number}: {method} {path[:80]}: {fault[1]}"
            else:
                yield _KIND, OK if answer.status_code < 300 else REFUSED, ""
        yield f"{_KIND}, what it then holds", *_holds(serving)


def _last_job(client: httpx.Client) -> str:
    jobs = client.get("/api/jobs").json()
    return str(jobs[-1]["id"]) if jobs else "0" * 32


def _request(chance: Random, label: bytes, job: str) -> tuple[str, str, dict[str, Any]]:
    """Method, path, and what is sent."""
    scan = quote(chance.choice(_IDS), safe="%")
    params: Any = {"confirmed": ["gallbladder"], "absent": ["tumor"], "version": 0, "by": "anna"}
    if chance.random() < 0.6:
        params = harm_tree(params, chance)
    sent = label
    if chance.random() < 0.6:
        raw = chance.random() < 0.5
        sent = (
            gzip.compress(harm(gzip.decompress(label), chance), 1) if raw else harm(label, chance)
        )
    name = chance.choice(("label.nii.gz", "l.nrrd", "../x.nii.gz", "", "a\nb.nii", "x" * 300))
    form = {"data": {"params": to_json(params)}, "files": {"label": (name, sent)}}
    asked = _json(harm_tree({"by": "anna"}, chance))
    strategy = quote(chance.choice(("first", "random", "lowest", "../x", "\0", "x" * 300)), safe="")
    return chance.choice((
        ("PUT", f"/api/jobs/{job}/labels", form),
        ("PUT", f"/datastore/label?image={scan}", form),
        ("PUT", f"/datastore/?image={scan}", {"files": {"file": (name or "x.nii.gz", sent)}}),
        ("PUT", "/session/", {"files": {"files": (name or "x.nii.gz", sent)}}),
        ("POST", "/api/datastore/next", asked),
        ("POST", "/api/datastore/next", {"json": {"by": "anna"}}),
        ("POST", f"/activelearning/{strategy}", asked),
        ("POST", f"/infer/segmentation?image={scan}", {"data": {"params": to_json(params)}}),
        ("POST", f"/infer/{strategy}?image={scan}&output=all", {"data": {"params": "{"}}),
        ("POST", "/train/", asked),
        ("POST", "/api/datastore/training", asked),
        ("POST", "/auth/token", {"data": {"username": "x", "password": to_json(odd_value(chance))[:99]}}),
        ("GET", f"/datastore/image?image={scan}", {}),
        ("GET", f"/datastore/label?label={scan}&tag={strategy}", {}),
        ("GET", f"/datastore/label/info?label={scan}", {}),
        ("GET", f"/datastore/?output={strategy}", {}),
        ("GET", f"/session/{scan}", {}),
        ("DELETE", f"/session/{job if chance.random() < 0.5 else scan}", {}),
        ("DELETE", f"/datastore/?id={scan}", {}),
        ("GET", f"/logs/?lines={chance.choice(('1', '-1', 'x', '9' * 50))}", {}),
    ))  # fmt: skip


def _json(data: Any) -> dict[str, Any]:
    content = to_json(data).encode("utf-8", "surrogatepass")
    return {"content": content, "headers": {"Content-Type": "application/json"}}


def _fault(answer: httpx.Response, scans: Path, beside: set[Path]) -> tuple[str, str] | None:
    """What is wrong with an answer, or with the folder after it."""
    if answer.status_code >= 500 and answer.status_code not in (503, 507):
        return INTERNAL, f"status {answer.status_code}: {answer.text[:200]}"
    if set(scans.parent.iterdir()) - beside:
        return EXECUTED, "a file beside the datastore's folder"
    if left := leftovers(scans):
        return HALF, f"left behind: {left}"
    if answer.status_code >= 400:
        try:
            body = answer.json()
            error = body.get("error", body.get("detail"))
        except (ValueError, AttributeError):
            return HALF, f"status {answer.status_code} without an error: {answer.text[:80]!r}"
        if not isinstance(error, str) or not error or "\n" in error:
            return HALF, f"status {answer.status_code}: not one line: {error!r}"
    return None


def _holds(serving: Serving) -> tuple[str, str]:
    """Whether all that was taken can be read, and the scans are what they were."""
    assert serving.service.datastore is not None
    store = serving.service.datastore.store
    ids = {scan.id for scan in store.scans.all()}
    if not set(_SCANS) <= ids:
        return LOSS, f"scans of the datastore are gone: {sorted(ids)}"
    for case in store.corrections.cohort():
        if case.label is not None:
            nib.load(case.label).get_fdata()
    for path in serving.folder.rglob("*.json*"):
        for line in path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else ():
            json.loads(line)
    return OK, ""
