"""The datastore options of ``serve``, and the messages about a datastore."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnstudent.web.service import Service


def add_datastore(group: argparse._ArgumentGroup) -> None:
    """Declare the arguments of ``serve`` about corrections."""
    group.add_argument(
        "--datastore",
        type=Path,
        metavar="FOLDER",
        help="folder of scans that everybody who uses the service sees and may correct; "
        "corrections are written to FOLDER/corrected",
    )
    group.add_argument(
        "--learn",
        metavar="PRESET",
        help="preset whose student goes on learning from what was corrected; needs the extra "
        "[train] (default: nothing is trained)",
    )
    group.add_argument(
        "--rehearse",
        type=Path,
        metavar="FUSED",
        help="fused cohort that is learned again each time, so that it is not forgotten",
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="another site whose pages may use the datastore, such as http://ohif.example; "
        "repeatable",
    )


def check_datastore(args: argparse.Namespace) -> None:
    """Check that the arguments fit together, and that training is installed if it is asked for.

    Raises:
        InputError: An argument lacks another one.
        MissingExtraError: The extra that trains is not installed.
    """
    from nnstudent.errors import InputError, require

    for option, given in (
        ("--learn", args.learn),
        ("--rehearse", args.rehearse),
        ("--allow-origin", args.allow_origin),
    ):
        if given and args.datastore is None:
            raise InputError(f"{option} without --datastore; give the folder of the scans")
    if args.rehearse and not args.learn:
        raise InputError("--rehearse without --learn; give the preset of the student")
    if args.learn:
        for module in ("torch", "nnunetv2"):
            require(module, extra="train", why="learning from corrections")


def print_datastore(service: Service) -> None:
    """Print how many scans the datastore has."""
    if service.datastore is None:
        return
    from nnstudent.words import count

    store = service.datastore.store
    print(
        f"datastore: {count(len(store.scans.all()), 'scan')}, "
        f"{len(store.corrections.cohort())} corrected; "
        "3D Slicer's MONAI Label takes the same address",
        flush=True,
    )
