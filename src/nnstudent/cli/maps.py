"""List the class maps of other tools and datasets, or show one.

  nnstudent maps
      the names that --map takes
  nnstudent maps totalsegmentator
      each value, the maker's name, and the class of FLARE23 that it is

A map of your own is a TOML file of the same form: copy one with --toml.
"""

from __future__ import annotations

import argparse

HELP = "list the class maps of other tools and datasets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="the map to show (default: list)")
    parser.add_argument("--toml", action="store_true", help="print the map as a TOML file")


def run(args: argparse.Namespace) -> int:
    """Print the list, or one map."""
    from nnstudent.errors import InputError
    from nnstudent.labels.class_maps import find_map, map_names, map_text
    from nnstudent.taxonomy import flare23

    if args.toml:
        if args.name is None:
            raise InputError(f"--toml: which map? known are {', '.join(map_names())}")
        print(map_text(args.name), end="")
        return 0
    if args.name is None:
        for name in map_names():
            found = find_map(name, taxonomy=flare23())
            known = {target for targets in found.targets.values() for target in targets}
            print(f"{name:<20} {len(known):2} of FLARE23's 14 classes  {found.title}")
        return 0
    found = find_map(args.name, taxonomy=flare23())
    print(f"{found.title}\n{found.source}".strip())
    for value, name in sorted(found.classes.items()):
        print(f"{value:4} {name:<32} {' or '.join(found.targets.get(name, ('-',)))}")
    return 0
