"""What the service says of itself in the protocol's form."""

from __future__ import annotations

import time
from typing import Any

import nnstudent
from nnstudent.web.datastore.datastore import Datastore
from nnstudent.web.datastore.learning import Training
from nnstudent.web.datastore.scans import Scan
from nnstudent.web.datastore.strategies import STRATEGIES
from nnstudent.words import count

MODEL = "nnstudent"
FINAL = "final"
_STATES = {"running": "RUNNING", "done": "DONE", "failed": "ERROR", "stopped": "STOPPED"}


def info(datastore: Datastore) -> dict[str, Any]:
    """Return the answer to ``/info/``."""
    model = datastore.store.model
    labels = {name: model.taxonomy[name].id for name in model.classes}
    learning = datastore.learning
    trainers = {
        MODEL: {
            "description": "goes on learning from the scans that were corrected; the student is "
            "replaced only if it is no worse on those that are held out",
            "config": {},
        }
    }
    return {
        "name": "nnStudent",
        "description": "organs and tumors of the abdomen in CT; not a medical device",
        "version": nnstudent.__version__,
        "labels": list(labels),
        "models": {
            MODEL: {
                "type": "segmentation",
                "labels": labels,
                "dimension": 3,
                "description": f"{len(labels)} classes of the abdomen, model {model.hash[:8]}",
                "config": {},
            }
        },
        "trainers": trainers if learning.possible else {},
        "strategies": {
            name: {"description": text, "config": {}} for name, text in STRATEGIES.items()
        },
        "scoring": {},
        "train_stats": {MODEL: train_stats(learning.last)} if learning.last else {},
        "datastore": status(datastore),
    }


def status(datastore: Datastore) -> dict[str, Any]:
    """Return how far the datastore is corrected."""
    scans = datastore.store.scans.all()
    done = {case.id for case in datastore.store.corrections.cohort()}
    completed = [scan for scan in scans if scan.id in done]
    return {
        "total": len(scans),
        "completed": len(completed),
        "label_tags": {FINAL: len(completed)},
        "train": [{"image": scan.id, "label": scan.id} for scan in completed],
    }


def everything(datastore: Datastore) -> dict[str, Any]:
    """Return every scan with what is known of it; no path of the service's disk."""
    objects = {}
    for scan in datastore.store.scans.all():
        rows = datastore.store.confirmed(scan.id)
        labels = {}
        if rows:
            names = {row.cls: datastore.store.taxonomy[row.cls].id for row in rows}
            params = {"label_names": names}
            labels[FINAL] = {"ext": ".nii.gz", "info": {"params": params, "name": scan.id}}
        objects[scan.id] = {
            "image": {"ext": ".nii.gz", "info": {"name": scan.name}},
            "labels": labels,
        }
    return {
        "name": datastore.store.scans.folder.name,
        "description": "scans to correct",
        "objects": objects,
    }


def sample(scan: Scan, *, strategy: str, by: str) -> dict[str, Any]:
    """Return a scan as the next one to correct; clients download it by its id."""
    suffix = ".nii.gz" if scan.kind == "dicom" else "".join(scan.source.suffixes[-2:])
    ending = suffix if suffix.endswith((".nii", ".nii.gz", ".mgz", ".mgh")) else ".nii.gz"
    return {
        "id": scan.id,
        "name": f"{scan.id}{ending}",
        "PatientID": scan.name,
        "SeriesInstanceUID": scan.series,
        "strategy": {strategy: {"ts": int(time.time()), "client_id": by}},
    }


def chosen_among(datastore: Datastore) -> str:
    """Say among how many scans a strategy chose."""
    scans, segmented = len(datastore.store.scans.all()), datastore.segmented
    said = f"chosen among {segmented} of {count(scans, 'scan')}"
    if not segmented:
        said = f"none of {count(scans, 'scan')} is segmented yet; this is the first by name"
    return said if segmented == scans else f"{said}; the others are being segmented"


def train_status(training: Training) -> dict[str, Any]:
    """Return how a training stands."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(training.began))
    step = training.progress
    details = [f"{step[0]}: {step[1]} of {step[2]}"] if step else []
    return {
        "id": str(training.number),
        "status": _STATES[training.state],
        "start_ts": stamp,
        "end_ts": None
        if training.ended is None
        else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(training.ended)),
        "details": [*details, *([training.why] if training.why else [])],
        "request": {"model": MODEL},
    }


def train_stats(training: Training) -> dict[str, Any]:
    """Return the figures of a training, as the clients' bars show them."""
    done, total = training.steps
    stats: dict[str, Any] = {"epoch": done, "total_epochs": max(total, 1)}
    if training.ended is not None:
        stats["total_time"] = f"{training.ended - training.began:.0f} s"
    return stats
