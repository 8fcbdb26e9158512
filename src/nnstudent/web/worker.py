"""The process that segments scans for the service.

It reads jobs from standard input, one line of JSON each, and writes progress and results to
standard output. It is a separate process so that a scan that exhausts memory or crashes a
decoder ends nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from nnstudent.bundle.bundle import open_model
from nnstudent.errors import NnStudentError, OutputError
from nnstudent.inference.files.formats import write_formats
from nnstudent.inference.files.options import Options
from nnstudent.inference.files.preview import write_preview
from nnstudent.inference.files.scan import segment_scan
from nnstudent.inference.labels.stored_probabilities import store_probabilities
from nnstudent.inference.labels.volumetry import statistics_rows, write_statistics
from nnstudent.inference.segmentation import Segmentation, quality_notes
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.dicom.read import stay_quiet
from nnstudent.io.nifti import write_image
from nnstudent.progress import Progress
from nnstudent.web.scan_facts import scan_facts

FILES = ("image.nii.gz", "labels.nii.gz", "labels.seg.dcm", "statistics.csv", "preview.png")
_EVERY = 0.2  # seconds between two messages of progress
_MOST_KEPT_BYTES = 1 << 30  # of probabilities: more takes long to write, and corrects no better


def segment_job(
    source: Path,
    output: Path,
    name: str,
    segmenter: Segmenter,
    *,
    voxels: int,
    progress: Progress,
    scores: Path | None = None,
) -> dict[str, Any]:
    """Segment one scan and write every file that there is of it.

    Args:
        source: An image file, or the folder of a DICOM series.
        output: Folder for the files, whose names are some of :data:`FILES`.
        name: What the scan is called, in the picture and the table.
        segmenter: The model.
        voxels: The most that an image may have.
        progress: Told what is done.
        scores: File for the probabilities, with which clicks are answered; None for none.

    Returns:
        ``files``, ``organs``, ``scan`` and ``warnings``, as they are told of a job.

    Raises:
        InputError: The scan cannot be used.
        GeometryError: As ``InputError``, for its geometry.
        OutputError: A file cannot be written.
    """
    progress("reading", 0, 0)
    # Nobody can be asked for --new-uids or a series here; what is derived or chosen is a warning,
    # and a series that cannot be referred to gets no DICOM-SEG.
    formats = ("nifti",) if source.is_file() else ("nifti", "dicom-seg")
    options = Options(
        formats=formats,
        ask=False,
        new_uids=True,
        max_voxels=voxels,
        probabilities=scores is not None,
        most_kept_bytes=_MOST_KEPT_BYTES,
    )
    scan = segment_scan(source, segmenter, options=options, progress=progress)
    image, result = scan.image, scan.segmentation
    progress("writing", 0, 0)
    unkept = [] if scores is None else _keep(scores, result)
    path = {file: output / file for file in FILES}
    files = {"nifti": path["labels.nii.gz"], "dicom-seg": path["labels.seg.dcm"]}
    files = {name: files[name] for name in formats}
    sources = replace(scan.sources, notes=quality_notes(result))
    failed = write_formats(files, result.labels, model=segmenter.model, sources=sources)
    if "nifti" in failed:
        raise OutputError(failed["nifti"])
    write_image(path["image.nii.gz"], image)
    rows = statistics_rows(name, image=image, result=result, taxonomy=segmenter.taxonomy)
    write_statistics(path["statistics.csv"], rows)
    write_preview(
        path["preview.png"],
        image,
        result.labels,
        segmenter.taxonomy,
        title=name,
        organs=result.organs,
        warnings=result.warnings,
    )
    record = result.record()
    return {
        "files": [file for file in FILES if path[file].is_file()],
        "organs": [
            {"id": segmenter.taxonomy[organ].id, "name": organ, **facts}
            for organ, facts in record["organs"].items()
        ],
        "scan": scan_facts(scan, rows),
        "warnings": [
            *record["warnings"],
            *unkept,
            *(f"no DICOM-SEG: {reason}" for reason in failed.values()),
        ],
    }


def _keep(path: Path, result: Segmentation) -> list[str]:
    """Keep the probabilities of a scan that can be corrected; returns why not, if they are not."""
    if result.probabilities is None:
        return []
    try:
        store_probabilities(path, result.probabilities)
    except OutputError as error:
        return [f"clicks will go by the image alone: {error}"]
    finally:
        result.probabilities.close()
    return []


def main() -> None:
    """Load the model, then segment what is told until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--voxels", type=int, required=True)
    args = parser.parse_args()
    stay_quiet()
    told = own_stdout()
    first_to_go()
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    segmenter = Segmenter(
        open_model(args.model), precision="auto", windows="guided", threads=args.threads
    )
    while True:
        order = orders.get()
        try:
            source, output, name = Path(order["source"]), Path(order["output"]), str(order["name"])
            scores = Path(order["scores"]) if order.get("scores") else None
            answer = segment_job(
                source,
                output,
                name,
                segmenter,
                voxels=args.voxels,
                progress=_Teller(told),
                scores=scores,
            )
        except NnStudentError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {
                "error": "memory ran out; cut the scan to the abdomen, or use a machine with "
                "more memory"
            }
        except (
            Exception
        ) as error:  # whatever a file does to a library: this job failed, the next need not
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        tell(told, answer)


class _Teller:
    """Progress as messages, not too many."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, what: str, done: int, total: int, *, note: str = "") -> None:
        now = time.monotonic()
        if what != self._last[0] or done >= total or now - self._last[1] >= _EVERY:
            self._last = what, now
            tell(self._stream, {"progress": [what, done, total]})


def tell(stream: TextIO, message: dict[str, Any]) -> None:
    """Send a message to the service, as one line of JSON."""
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def own_stdout() -> TextIO:
    """Standard output for messages alone; what a library prints goes to standard error."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return told


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    """Take orders until there are none any more, which means that the service has ended."""
    for line in sys.stdin:
        orders.put(json.loads(line))
    os._exit(0)


def first_to_go() -> None:
    """Where memory runs out, have Linux end this process, and not the service."""
    try:
        Path("/proc/self/oom_score_adj").write_text("800", "ascii")
    except OSError:  # another system, or one that does not allow it
        return


if __name__ == "__main__":
    main()
