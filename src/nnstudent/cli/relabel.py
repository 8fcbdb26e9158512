"""Rename, merge and renumber label maps, whoever made them.

  nnstudent relabel total/ -o labels/ --map totalsegmentator
      to the ids of FLARE23's table; nnstudent maps lists the known tools
  nnstudent relabel kits/ -o labels/ --map 1=right_kidney+left_kidney,2=tumor
      value 1 is both kidneys, which are told apart by their position
  nnstudent relabel case7/ -o case7.nii.gz --map totalsegmentator
      a folder of files named after their only class becomes one label map
  nnstudent relabel labels/ -o organs/ --split
      and back: a file for each class of each case
  nnstudent relabel a/ b/ -o both/ --map totalsegmentator --conflict agree
      several label maps of each case become one
  nnstudent relabel plan.dcm -o labels.nii.gz --like STUDY
      regions of an RTSTRUCT or DICOM-SEG by name, on the grid of their series
  nnstudent relabel labels/ -o renumbered/ --to my-table.toml
      the classes of the same names get the ids of another table

  nnstudent relabel labels/ -o meshes/ --mesh glb
      label maps that exist, and their surfaces for a 3D viewer
  nnstudent relabel labels.nii.gz -o new.nii.gz --dicom seg --like SERIES
      a corrected label map, and a DICOM-SEG of it in the study of its series

What is none of the table becomes background and is named. The folder gets a
dataset.json that names the classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.choices import CONFLICTS, DICOM_OBJECTS, MESHES
from nnstudent.cli.common import add_output, add_report, add_threads

HELP = "rename, merge and renumber label maps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "labels",
        type=Path,
        nargs="+",
        metavar="LABELS",
        help="label map, folder of them, folder of files of one class each, DICOM-SEG or "
        "RTSTRUCT; several become one label map for each case",
    )
    add_output(parser, metavar="OUT", help="folder, or FILE.nii.gz for one case")
    parser.add_argument(
        "--map",
        metavar="MAP",
        help="what the values mean: a name from nnstudent maps, a TOML file, or "
        "VALUE=CLASS,… (default: by the names in a dataset.json, otherwise the ids of the table)",
    )
    parser.add_argument(
        "--to", metavar="TABLE", default="flare23", help="label table to write (default: flare23)"
    )
    parser.add_argument(
        "--conflict",
        choices=CONFLICTS,
        default="first",
        help="where several LABELS label one voxel: the first or the last of them decides, or "
        "all that know the class must agree (default: first)",
    )
    parser.add_argument(
        "--like",
        type=Path,
        metavar="IMAGES",
        help="for DICOM-SEG and RTSTRUCT, to read or to write: the scan that they belong to (image "
        "or series), or a folder with one named after each",
    )
    parser.add_argument(
        "--split", action="store_true", help="write OUT/CASE/CLASS.nii.gz for each class found"
    )
    parser.add_argument(
        "--mesh",
        choices=MESHES,
        help="also write a smooth, closed surface around each class: glb, all in OUT/CASE.glb with "
        "names and colors; stl, as OUT/meshes/CASE/CLASS.stl in mm",
    )
    parser.add_argument(
        "--dicom",
        choices=DICOM_OBJECTS,
        help="also write a DICOM object in the study of --like: seg, as OUT/CASE.seg.dcm; "
        "rtstruct, as OUT/CASE.rtstruct.dcm; needs the extra [dicom]",
    )
    add_threads(parser)
    add_report(parser, help="write which files were made of which case as JSON")


def run(args: argparse.Namespace) -> int:
    """Write the label maps and print what was passed over."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.labels.class_maps import find_map
    from nnstudent.labels.relabel import relabel
    from nnstudent.machine import cores
    from nnstudent.taxonomy import find_taxonomy
    from nnstudent.words import count

    taxonomy = find_taxonomy(args.to)
    with Display() as display:
        done = relabel(
            args.labels,
            args.out,
            taxonomy=taxonomy,
            class_map=None if args.map is None else find_map(args.map, taxonomy=taxonomy),
            conflict=args.conflict,
            split=args.split,
            mesh=args.mesh,
            dicom=args.dicom,
            images=args.like,
            threads=args.threads or cores(),
            progress=display,
        )
    for line in done.notices:
        print(f"notice: {line}")
    files = sum(map(len, done.files.values()))
    print(f"{count(len(done.files), 'case')}, {count(files, 'file')}: {args.out}")
    rows = [{"id": id, "outputs": list(map(str, files))} for id, files in done.files.items()]
    body = {"cases": rows, "notices": list(done.notices), "failures": failed_rows(done.failures)}
    write_report(args.report, body)
    return print_failures("relabel", done.failures, done=len(done.files))
