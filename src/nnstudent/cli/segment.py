"""Segment CT: one image, a folder of images, or the folder of a DICOM series.

  nnstudent segment ct.nii.gz -o labels.nii.gz                    with the model that comes with the package
  nnstudent segment ct.nii.gz -o labels.nii.gz --preview          also a picture, labels.png
  nnstudent segment imagesTs -o predictions --model BUNDLE        every image of a folder; if all end in _0000, that is left out
  nnstudent segment ct.nii.gz -o organs --split --organs liver,spleen   organs/liver.nii.gz and organs/spleen.nii.gz
  nnstudent segment ct.nii.gz -o labels.nii.gz --model NNUNET --engine torch --device cuda
  nnstudent segment STUDY -o labels.nii.gz --series 3             a DICOM folder; of several CT series, number 3
  nnstudent segment STUDY -o segmented --format dicom-seg,nifti   segmented/STUDY.seg.dcm and segmented/STUDY.nii.gz

Labels are on the image's own grid. Not a medical device.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cli.common import add_device, add_engine, add_threads

if TYPE_CHECKING:
    from nnstudent.bundle.bundle import Model

HELP = "segment CT: an image, a folder of images, or a DICOM series"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="an image, the folder of a DICOM series, or a folder of either",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="label map to write (.nii.gz, or as --format says); a folder for several",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="a bundle or an nnU-Net model folder; default: the bundled student",
    )
    add_engine(parser)
    add_device(parser, default="cpu", why="where a bundle takes seconds")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "int8"),
        default="auto",
        help="of the arithmetic: the fastest that model and processor have (auto; doctor tells), or this one (default: auto)",
    )
    parser.add_argument(
        "--windows",
        choices=("guided", "dense", "flare22"),
        default="guided",
        help="where the network looks: all over the body, closer where something is (guided), everywhere (dense, as nnU-Net), "
        "or as FLARE22's winner did, for comparison (default: guided)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="also look at mirror images, if the model was trained with them (slower)",
    )
    parser.add_argument(
        "--postprocess",
        type=_list,
        metavar="A,B",
        help="correct labels by anatomy: sides, largest, small, tumor, or none (default: largest,small)",
    )
    add_threads(parser)
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="resident memory to stay under, such as 2GB; a case that cannot is refused (default: what is free)",
    )
    parser.add_argument(
        "--taxonomy",
        metavar="TABLE",
        help="label table of the results: flare23 or a TOML file (default: the model's own values)",
    )
    parser.add_argument(
        "--organs", type=_list, default=(), metavar="A,B", help="keep only these classes"
    )
    parser.add_argument(
        "--split", action="store_true", help="one file an organ, in the folder OUTPUT"
    )
    parser.add_argument(
        "--format",
        type=_list,
        default=("nifti",),
        metavar="A,B",
        help="nifti, dicom-seg, rtstruct or seg.nrrd (3D Slicer), or several (default: nifti); the DICOM ones need a DICOM series",
    )
    parser.add_argument(
        "--new-uids",
        action="store_true",
        help="for the DICOM formats: where the series lacks UIDs, derive them from its content, the same for the same series",
    )
    parser.add_argument(
        "--series", metavar="NUMBER", help="take the DICOM series of this number or UID"
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave cases alone whose output is there"
    )
    parser.add_argument(
        "--preview", action="store_true", help="also write a picture beside each output"
    )
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="also write volume, mean HU and flags of each organ as CSV beside each output",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.json",
        help="write volumes, confidence, seconds and warnings as JSON",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="load checkpoints that hold more than tensors; they can run any code",
    )


def run(args: argparse.Namespace) -> int:
    """Segment."""
    from nnstudent.cli.common import Display, import_nibabel, name_failures, write_report

    if (
        args.threads and "numpy" not in sys.modules
    ):  # numpy's own, which it reads once, when it is imported
        os.environ.update(
            dict.fromkeys(
                ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(args.threads)
            )
        )
    import_nibabel()
    from nnstudent.bundle.bundle import open_model, relabeled
    from nnstudent.errors import InputError
    from nnstudent.inference.files.find import find_inputs
    from nnstudent.inference.files.options import Options
    from nnstudent.inference.files.segment import segment_files
    from nnstudent.inference.labels.postprocess import DEFAULT
    from nnstudent.inference.memory import parse_size
    from nnstudent.inference.segmenter import Segmenter
    from nnstudent.taxonomy import find_taxonomy

    limit = None if args.memory_limit is None else parse_size(args.memory_limit)
    # What is wrong with either is said before the model is loaded.
    notices = find_inputs(args.input, args.output, split=args.split, formats=args.format).notices
    for notice in notices:
        print(f"nnstudent segment: {notice}", file=sys.stderr)
    model = open_model(args.model, trust_pickle=args.trust_pickle)
    if args.taxonomy is not None:
        model = relabeled(model, find_taxonomy(args.taxonomy))
    segmenter = Segmenter(
        model,
        engine=args.engine,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        windows=args.windows,
        tta=args.tta,
        postprocess=DEFAULT
        if args.postprocess is None
        else [rule for rule in args.postprocess if rule != "none"],
        memory_limit_mb=limit,
    )
    options = Options(
        organs=args.organs,
        split=args.split,
        skip_existing=args.skip_existing,
        preview=args.preview,
        statistics=args.statistics,
        series=args.series,
        formats=args.format,
        new_uids=args.new_uids,
    )
    display = Display()
    try:
        result = segment_files(
            args.input, args.output, segmenter, options=options, progress=display
        )
    finally:
        display.close()
    write_report(
        args.report,
        {
            "model": {
                "path": str(model.path),
                "hash": model.hash,
                "labels": {name: model.taxonomy[name].id for name in model.classes},
            },
            "cases": result.rows,
            "notices": notices,
            "skipped": result.skipped,
            "failures": [
                {"id": failure.case, "reason": failure.reason} for failure in result.failures
            ],
        },
    )
    done, failures = len(result.rows), result.failures
    there = done + len(result.skipped)
    if len(failures) == 1 and not there:
        raise InputError(failures[0].reason)  # one image was given, and it is what is wrong
    if done and model.bundled:
        print(
            "using the bundled student: a demonstration, not a medical device; see its card.md",
            file=sys.stderr,
        )
    _notice_of_values(model)
    if done == 1 and not failures:
        _print_case(result.rows[0])
    else:
        for row in result.rows:
            for warning in row["warnings"]:
                print(f"nnstudent segment: {row['id']}: {warning}", file=sys.stderr)
        where = f"; in {args.output}" if there else ""
        print(f"{done} segmented, {len(result.skipped)} skipped, {len(failures)} failed{where}")
    return name_failures("segment", failures, done=there)


def _notice_of_values(model: Model) -> None:
    """Say which values the labels have where a reader may take them for FLARE's."""
    from nnstudent.taxonomy import flare23

    known = {item.name: item.id for item in flare23()}
    own = {name: model.taxonomy[name].id for name in model.classes}
    if any(name in known and known[name] != id for name, id in own.items()):
        values = ", ".join(f"{name} {id}" for name, id in list(own.items())[:4]) + (
            " …" if len(own) > 4 else ""
        )
        print(
            f"labels have the model's own values ({values}); --taxonomy flare23 writes FLARE's",
            file=sys.stderr,
        )


def _print_case(row: dict) -> None:  # type: ignore[type-arg]  # a row of the report
    width = max(len(name) for name in row["organs"])
    print(f"{'organ':<{width}}  {'ml':>8}  confidence")
    for name, facts in row["organs"].items():
        if not facts["volume_ml"]:
            print(f"{name:<{width}}  {'-':>8}  not found")
            continue
        sure = (
            "?" if facts["confidence"] is None else f"{facts['confidence']:.2f}"
        )  # a voxel or two between the network's own
        flag = "  touches the border of the image" if facts["touches_border"] else ""
        print(f"{name:<{width}}  {facts['volume_ml']:>8.1f}  {sure:>10}{flag}")
    for warning in row["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{row['seconds']['total']:.1f} s, {row['peak_rss_mb']:.0f} MB; wrote {row['output']}")


def _list(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
