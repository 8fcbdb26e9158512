"""Segments the test cases of a cohort, each under its own name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnstudent.cases import for_each_case
from nnstudent.cohort.cohort import Case
from nnstudent.errors import Failure
from nnstudent.inference.files.find import CaseFile
from nnstudent.inference.files.segment import segment_file
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.record import file_hash, is_made_from, write_record
from nnstudent.progress import Progress, silent


def predict(
    cases: Sequence[Case], segmenter: Segmenter, *, out: Path, progress: Progress = silent
) -> tuple[Failure, ...]:
    """Segment cases into ``out/<case>.nii.gz``, with facts and seconds in ``out/<case>.json``.

    A label map made from the same image by the same model, run in the same way, is left as it is.

    Args:
        cases: The cases.
        segmenter: Runs the model.
        out: Folder to write into.
        progress: Called after each case.

    Returns:
        The cases that failed while the others were done.

    Raises:
        OutputError: ``out`` cannot be written.
    """

    def work(case: Case) -> None:
        path, record = out / f"{case.id}.nii.gz", out / f"{case.id}.json"
        made_from = {"image": file_hash(case.image), **segmenter.made_by}
        if path.is_file() and is_made_from(record, made_from):
            return
        done = segment_file(CaseFile(case.id, case.image, path), segmenter)
        facts = done.record()
        facts.pop("files")  # the record names them with their hashes
        write_record(record, stage="segment", made_from=made_from, files=[path], **facts)

    return for_each_case(
        cases, work, files=lambda case: (case.image,), what="segment", progress=progress
    ).failures
