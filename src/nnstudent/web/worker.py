"""The process that segments: told jobs on standard input, a line of JSON each; tells progress and results on standard output.

It is a process of its own so that a scan that exhausts memory, or kills a decoder, ends no more than itself.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
import time
from math import prod
from pathlib import Path
from typing import Any, TextIO

from nnstudent.bundle.bundle import open_model
from nnstudent.errors import InputError, NnStudentError, OutputError
from nnstudent.inference.files.formats import prepare, write_formats
from nnstudent.inference.files.preview import write_preview
from nnstudent.inference.files.segment import read_scan
from nnstudent.inference.labels.volumetry import write_statistics
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.nifti import read_grid, write_image
from nnstudent.progress import Progress
from nnstudent.volume import Shape

FILES = ("image.nii.gz", "labels.nii.gz", "labels.seg.dcm", "statistics.csv", "preview.png")
_EVERY = 0.2  # seconds between two messages of progress


def segment_job(
    source: Path, output: Path, name: str, segmenter: Segmenter, *, voxels: int, progress: Progress
) -> dict[str, Any]:
    """Segment one scan and write every file that there is of it.

    Args:
        source: An image file, or the folder of a DICOM series.
        output: Folder for the files, whose names are some of :data:`FILES`.
        name: What the scan is called, in the picture and the table.
        segmenter: The model.
        voxels: The most that an image may have.
        progress: Told what is done.

    Returns:
        ``files``, ``organs`` and ``warnings``, as they are told of a job.

    Raises:
        InputError: The scan cannot be used.
        GeometryError: As ``InputError``, for its geometry.
        OutputError: A file cannot be written.
    """
    progress("reading", 0, 0)
    if source.is_file():
        _check_size(read_grid(source).shape, voxels)  # before it is in memory
    image, series = read_scan(source, ask=False)
    _check_size(image.grid.shape, voxels)
    # Nobody can be asked for --new-uids here; what is derived is a warning, what cannot be referred to gets no DICOM-SEG.
    sources = prepare(source, ["nifti", *(["dicom-seg"] if series else [])], series, new_uids=True)
    result = segmenter(image, progress=progress)
    progress("writing", 0, 0)
    warnings = [*(series.warnings if series else ()), *sources.warnings, *result.warnings]
    path = {file: output / file for file in FILES}
    files = {
        "nifti": path["labels.nii.gz"],
        **({"dicom-seg": path["labels.seg.dcm"]} if series else {}),
    }
    failed = write_formats(files, result.labels, model=segmenter.model, sources=sources)
    if "nifti" in failed:
        raise OutputError(failed["nifti"])
    warnings += [f"no DICOM-SEG: {reason}" for reason in failed.values()]
    write_image(path["image.nii.gz"], image)
    write_statistics(path["statistics.csv"], name, image, result, segmenter.taxonomy)
    write_preview(path["preview.png"], image, result.labels, segmenter.taxonomy, title=name)
    organs = [
        {
            "id": segmenter.taxonomy[organ].id,
            "name": organ,
            "volume_ml": round(facts.volume_ml, 3),
            "confidence": None if facts.confidence is None else round(facts.confidence, 4),
            "touches_border": facts.touches_border,
        }
        for organ, facts in result.organs.items()
    ]
    return {
        "files": [file for file in FILES if path[file].is_file()],
        "organs": organs,
        "warnings": warnings,
    }


def main() -> None:
    """Load the model, then segment what is told until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--voxels", type=int, required=True)
    args = parser.parse_args()
    told = _own_stdout()
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
            answer = segment_job(
                source, output, name, segmenter, voxels=args.voxels, progress=_Teller(told)
            )
        except NnStudentError as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {
                "error": "memory ran out; cut the scan to the abdomen, or use a machine with more memory"
            }
        except (
            Exception
        ) as error:  # whatever a file does to a library: this job failed, the next need not
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        _tell(told, answer)


def _check_size(shape: Shape, most: int) -> None:
    if prod(shape) > most:
        raise InputError(
            f"an image of {prod(shape) / 1e6:.0f} million voxels; expected at most {most / 1e6:.0f}, cut it to the abdomen"
        )


class _Teller:
    """Progress as messages, not too many."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[str, float] = ("", 0.0)

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._last[0] or done >= total or now - self._last[1] >= _EVERY:
            self._last = what, now
            _tell(self._stream, {"progress": [what, done, total]})


def _tell(stream: TextIO, message: dict[str, Any]) -> None:
    stream.write(json.dumps(message) + "\n")
    stream.flush()


def _own_stdout() -> TextIO:
    """Standard output for messages alone; what a library prints goes to standard error."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return told


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    """Take orders until there are none any more, which is when the service has died: then there is nobody to work for."""
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
