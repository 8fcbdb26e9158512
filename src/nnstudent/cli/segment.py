"""Segment CT: an image, a folder of images, or the folder of a DICOM series.

  nnstudent segment ct.nii.gz -o labels.nii.gz
      with the model that comes with the package
  nnstudent segment ct.nii.gz -o labels.nii.gz --preview
      also draws a picture, labels.png
  nnstudent segment imagesTs -o predictions --model BUNDLE
      every image of a folder; nnU-Net's ending _0000 is dropped if all have it
  nnstudent segment ct.nii.gz -o organs --split --organs liver,spleen
      writes organs/liver.nii.gz and organs/spleen.nii.gz
  nnstudent segment ct.nii.gz -o labels.nii.gz --model NNUNET --device cuda
      an nnU-Net model folder on a GPU
  nnstudent segment STUDY -o labels.nii.gz --series 3
      a DICOM folder with several CT series: number 3
  nnstudent segment STUDY -o segmented --format dicom-seg,nifti
      writes segmented/STUDY.seg.dcm and segmented/STUDY.nii.gz

  nnstudent segment imagesTs -o predictions --part 2/8
      the second of eight machines; --merge 8 then writes one table and report

Labels are on the image's own grid. This is not a medical device.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.choices import DEFAULT_RULES, DEVICES, FORMATS, MESHES, PRECISIONS, RULES, WINDOWS
from nnstudent.cli.common import (
    Options,
    add_advanced,
    add_classes,
    add_device,
    add_engine,
    add_merge,
    add_model,
    add_output,
    add_part,
    add_report,
    add_taxonomy,
    add_threads,
    add_trust_pickle,
    complete_with,
    names,
)

if TYPE_CHECKING:
    from nnstudent.bundle.bundle import Model
    from nnstudent.inference.files.options import Options as SegmentOptions
    from nnstudent.inference.files.shared import FilesResult
    from nnstudent.inference.segmenter import Segmenter

HELP = "segment CT: an image, a folder of images, or a DICOM series"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "input",
        type=Path,
        metavar="INPUT",
        help="an image, DICOM (a series' folder, one file of many frames, or an export with a "
        "folder for each patient), a ZIP archive of either, or a folder of such",
    )
    add_output(
        parser,
        metavar="OUTPUT",
        help="label map to write (.nii.gz, or as --format says); for several cases, a folder",
    )
    add_model(parser)
    add_classes(parser, "--organs", help="keep only these classes (default: all)")
    parser.add_argument(
        "--preview",
        action="store_true",
        help="also draw a picture beside each output: six slices that show every organ found, a "
        "coronal and a 3D view, volumes and flags",
    )
    parser.add_argument(
        "--statistics",
        action="store_true",
        help="also write volume, mean HU and flags of each organ as CSV: beside the output, or "
        "for several cases as OUTPUT/statistics.csv",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write the probability of each organ, from 0 to 255, as "
        "probabilities/NAME/ORGAN.nii.gz",
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="also write 255 less the probability of each voxel's most probable class, as "
        "uncertainty/NAME.nii.gz",
    )
    parser.add_argument(
        "--mesh",
        choices=MESHES,
        help="also write a smooth, closed surface around each organ: glb, all in NAME.glb with "
        "names and colors; stl, as meshes/NAME/ORGAN.stl in mm",
    )
    parser.add_argument("--split", action="store_true", help="write one file per organ into OUTPUT")
    parser.add_argument(
        "--skip-existing", action="store_true", help="skip cases whose output exists"
    )
    add_device(parser, default="cpu", why="a bundle takes seconds there", choices=DEVICES)
    add_report(parser, help="write volumes, confidence, seconds and warnings as JSON")
    _add_formats(parser.add_argument_group("DICOM and other formats"))
    _add_advanced(add_advanced(parser))


def _add_formats(group: Options) -> None:
    formats = group.add_argument(
        "--format",
        type=names,
        default=(),
        metavar="A,B",
        help=f"one or several of {', '.join(FORMATS)}; seg.nrrd is for 3D Slicer; dicom-seg, "
        "dicom-sr (measurements) and rtstruct need a DICOM series (default: as OUTPUT ends, "
        "otherwise the image's own for NRRD and MetaImage, and nifti)",
    )
    complete_with(formats, FORMATS)
    group.add_argument(
        "--series", metavar="NUMBER", help="take the DICOM series with this number or UID"
    )
    group.add_argument(
        "--new-uids",
        action="store_true",
        help="for the DICOM formats: derive UIDs that the series lacks from its content, the "
        "same for the same series",
    )


def _add_advanced(group: Options) -> None:
    add_taxonomy(group, default="the model's own values")
    add_engine(group)
    add_threads(group)
    group.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="resident memory to stay under, such as 2GB; a case that needs more is refused "
        "(default: what is free)",
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="precision of the arithmetic; auto takes the fastest that the model and the "
        "processor have, see nnstudent doctor (default: auto)",
    )
    group.add_argument(
        "--windows",
        choices=WINDOWS,
        default="guided",
        help="where the network runs: guided, all over the body and closer where it finds "
        "something; dense, everywhere, as in nnU-Net; flare22, as FLARE22's winner did, for "
        "comparison (default: guided)",
    )
    group.add_argument(
        "--tta",
        action="store_true",
        help="also run on mirror images, if the model was trained with them; slower",
    )
    rules = group.add_argument(
        "--postprocess",
        type=names,
        metavar="A,B",
        help=f"correct labels by anatomy: some of {', '.join(RULES)}, or none "
        f"(default: {','.join(DEFAULT_RULES)})",
    )
    complete_with(rules, (*RULES, "none"))
    add_part(group, help="segment only the I-th of N parts of the images in a folder")
    add_merge(
        group,
        help="segment nothing, and put together the tables and the report of N parts",
    )
    add_trust_pickle(group)


def run(args: argparse.Namespace) -> int:
    """Segment, and print the organs of one case or a line about several."""
    from nnstudent.cli.common import Display, import_nibabel, print_failures, write_report
    from nnstudent.cli.segmented import print_result
    from nnstudent.errors import InputError

    if args.threads and "numpy" not in sys.modules:  # numpy reads them once, at its import
        pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        os.environ.update(dict.fromkeys(pools, str(args.threads)))
    import_nibabel()
    from nnstudent.bundle.bundle import open_model, relabeled
    from nnstudent.inference.files.find import find_inputs
    from nnstudent.inference.files.segment import segment_files
    from nnstudent.inference.files.shared import merge_segmented
    from nnstudent.inference.memory import parse_size
    from nnstudent.taxonomy import find_taxonomy

    limit = None if args.memory_limit is None else parse_size(args.memory_limit)
    # Wrong inputs and outputs are reported before the model is loaded.
    notices = find_inputs(args.input, args.out, split=args.split, formats=args.format).notices
    for notice in notices:
        print(f"nnstudent segment: {notice}", file=sys.stderr)
    model = open_model(args.model, trust_pickle=args.trust_pickle)
    if args.taxonomy is not None:
        model = relabeled(model, find_taxonomy(args.taxonomy))
    if args.merge is not None:
        result = merge_segmented(
            args.input, args.out, args.merge, model=model, options=_options(args)
        )
    else:
        segmenter = _segmenter(model, args, memory_limit_mb=limit)
        with Display() as display:
            result = segment_files(
                args.input, args.out, segmenter, options=_options(args), progress=display
            )
    write_report(args.report, _report(model, result, notices=notices))
    there = len(result.rows) + len(result.skipped)
    if len(result.failures) == 1 and not there:  # one image was given, and it is what is wrong
        raise InputError(result.failures[0].reason)
    _print_notices(model, result)
    print_result(
        result, args.out, lesions=model.taxonomy.lesions, calibrated=model.quality is not None
    )
    return print_failures("segment", result.failures, done=there)


def _print_notices(model: Model, result: FilesResult) -> None:
    """Print what a reader of the labels should know of the model and of the tables."""
    for notice in result.notices:
        print(f"nnstudent segment: {notice}", file=sys.stderr)
    if result.rows and model.bundled:
        card = model.path / "card.md"
        print(
            "using the bundled student: a demonstration, not a medical device; what its claims "
            f"rest on: {card}",
            file=sys.stderr,
        )
    _notice_of_values(model)


def _segmenter(
    model: Model, args: argparse.Namespace, *, memory_limit_mb: float | None
) -> Segmenter:
    from nnstudent.inference.segmenter import Segmenter

    rules = DEFAULT_RULES if args.postprocess is None else args.postprocess
    return Segmenter(
        model,
        engine=args.engine,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        windows=args.windows,
        tta=args.tta,
        postprocess=[rule for rule in rules if rule != "none"],
        memory_limit_mb=memory_limit_mb,
    )


def _options(args: argparse.Namespace) -> SegmentOptions:
    from nnstudent.inference.files.options import Options as SegmentOptions

    return SegmentOptions(
        organs=args.organs or (),
        split=args.split,
        skip_existing=args.skip_existing,
        preview=args.preview,
        statistics=args.statistics,
        probabilities=args.probabilities,
        uncertainty=args.uncertainty,
        mesh=args.mesh,
        series=args.series,
        formats=args.format,
        new_uids=args.new_uids,
        part=args.part,
    )


def _report(model: Model, result: FilesResult, *, notices: Any) -> dict[str, Any]:
    from nnstudent.cli.common import failed_rows

    return {
        "model": {
            "path": str(model.path),
            "hash": model.hash,
            "labels": {name: model.taxonomy[name].id for name in model.classes},
            "calibration": None if model.quality is None else dict(model.quality.rests_on),
        },
        "cases": result.rows,
        "notices": [*notices, *result.notices],
        "skipped": result.skipped,
        "failures": failed_rows(result.failures),
        "statistics": None if result.statistics is None else str(result.statistics),
    }


def _notice_of_values(model: Model) -> None:
    """Print the labels' values if a reader may take them for FLARE's."""
    from nnstudent.taxonomy import flare23

    known = {item.name: item.id for item in flare23()}
    own = {name: model.taxonomy[name].id for name in model.classes}
    if any(name in known and known[name] != id for name, id in own.items()):
        values = ", ".join(f"{name} {id}" for name, id in list(own.items())[:4])
        more = " …" if len(own) > 4 else ""
        print(
            f"labels have the model's own values ({values}{more}); "
            "--taxonomy flare23 writes FLARE's",
            file=sys.stderr,
        )
