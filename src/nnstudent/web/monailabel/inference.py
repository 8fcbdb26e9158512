"""Segmenting for a client of the protocol, which waits for the answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from nnstudent.data_files import parse_json
from nnstudent.errors import InputError
from nnstudent.io.nifti import read_labels
from nnstudent.io.nrrd import write_nrrd
from nnstudent.volume import Volume
from nnstudent.web.datastore.scans import NotFoundError
from nnstudent.web.job import FINISHED, Job
from nnstudent.web.jobs import Jobs
from nnstudent.web.monailabel.answers import form_answer

_LOOK_SECONDS = 0.1
_DTYPES = ("uint8", "uint16")


def parse_params(text: str) -> dict[str, Any]:
    """Return what a client sends as ``params``.

    Raises:
        InputError: It is not a JSON object.
    """
    if text.strip() in ("", "null"):
        return {}
    params = parse_json(text, where="params", what="a JSON object, such as {}")
    if not isinstance(params, dict):
        raise InputError("params: not a JSON object; expected one, such as {}")
    return params


def sender(params: dict[str, Any]) -> str:
    """Return who a client says it is: its name, as plain text."""
    name = "".join(
        character for character in str(params.get("client_id") or "") if character.isprintable()
    )
    return name[:80].strip() or "unnamed client"


async def wait_for(job: Job, jobs: Jobs) -> Job:
    """Wait until a job has ended.

    Raises:
        InputError: It failed; the text says why.
        NotFoundError: It was removed meanwhile.
    """
    while job.state not in FINISHED:
        await asyncio.sleep(_LOOK_SECONDS)
        if jobs.get(job.id, owner=job.owner) is None:
            raise NotFoundError("the scan was removed while it was segmented")
    if job.error is not None:
        raise InputError(job.error)
    return job


def describe(job: Job) -> dict[str, Any]:
    """Return what is said beside a label map: the classes that occur in it, and the warnings."""
    organs = [organ for organ in job.organs or [] if organ["volume_ml"] > 0]
    return {
        "label_names": {organ["name"]: organ["id"] for organ in organs},
        "confidence": {organ["name"]: organ["confidence"] for organ in organs},
        "warnings": job.warnings,
    }


async def answer(
    job: Job, *, output: str, params: dict[str, Any], folder: Path, name: str
) -> Response:
    """Return the segmentation in the form that a client asks for.

    Args:
        job: A job that is done.
        output: ``all`` for both parts, ``image``, ``json`` or ``dicom_seg``.
        params: ``result_extension`` and ``result_dtype`` are used.
        folder: Where a file in another format is written.
        name: What the file is called, without its suffix.

    Raises:
        InputError: The form is unknown, or the scan has no DICOM segmentation.
        MissingExtraError: The package that writes NRRD is not installed.
    """
    if output not in ("", "all", "image", "json", "dicom_seg"):
        raise InputError("unknown output; expected all, image, json or dicom_seg")
    said = describe(job)
    if output == "json":
        return Response(json.dumps(said), media_type="application/json")
    if output == "dicom_seg":
        path = job.output / "labels.seg.dcm"
        if not path.is_file():
            raise InputError("this scan has no DICOM segmentation: it is no DICOM series")
        return await _attached(path, f"{name}.seg.dcm", "application/dicom")
    path, suffix = job.output / "labels.nii.gz", ".nii.gz"
    if str(params.get("result_extension", "")).endswith("nrrd"):
        dtype = str(params.get("result_dtype") or "uint8")
        path, suffix = folder / f"{job.id}.nrrd", ".nrrd"
        await run_in_threadpool(
            _write_nrrd, job.output / "labels.nii.gz", path, dtype if dtype in _DTYPES else "uint8"
        )
    if output == "image":
        return await _attached(path, f"{name}{suffix}", "application/octet-stream")
    return await run_in_threadpool(form_answer, said, path, name=f"{name}{suffix}")


async def _attached(path: Path, name: str, kind: str) -> Response:
    """Return a file, read at once, because its job may be removed."""
    body = await run_in_threadpool(path.read_bytes)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=kind, headers=headers)


def _write_nrrd(labels: Path, path: Path, dtype: str) -> None:
    found = read_labels(labels)
    wide = Volume(found.array.astype(dtype), found.grid)  # OHIF reads no other type
    write_nrrd(path, wide, {"encoding": "raw"})
