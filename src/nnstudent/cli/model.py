"""Keep models by name: add one from a file, a folder or an address; list; remove.

  nnstudent model add model.zip --name liver
      nnU-Net's export, a folder of nnU-Net, or a bundle
  nnstudent segment ct.nii.gz -o labels.nii.gz --model liver
      any --model, --teacher or --start takes the name
  nnstudent model add totalsegmentator-organs --sha256 HASH
      a public model that nnstudent model list names; this uses the network
  nnstudent model add https://example.org/model.zip --sha256 HASH
      the hash is checked before anything is unpacked
  nnstudent model list
  nnstudent model remove liver

Models lie in NNSTUDENT_MODELS, or in the user's data folder. Public models have
licences of their own. Their hashes are not in the package: give the one that
the maker publishes, or --unverified.
"""

from __future__ import annotations

import argparse

from nnstudent.choices import MODEL_ACTIONS

HELP = "keep models by name: add, list, remove"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("action", choices=MODEL_ACTIONS, help="what to do")
    parser.add_argument(
        "source",
        nargs="?",
        metavar="SOURCE",
        help="add: file, folder, address, or public model; remove: the name",
    )
    parser.add_argument("--name", help="name in the store (default: made from SOURCE)")
    parser.add_argument("--sha256", metavar="HASH", help="hash that the file must have")
    parser.add_argument(
        "--unverified", action="store_true", help="take a file from the network without a hash"
    )


def run(args: argparse.Namespace) -> int:
    """Add, list or remove."""
    from nnstudent.bundle.store import add_model, remove_model
    from nnstudent.cli.common import Display
    from nnstudent.errors import InputError

    if args.action == "list":
        return _list()
    if args.source is None:
        wanted = "a file, a folder or an address" if args.action == "add" else "a name"
        raise InputError(f"model {args.action}: expected {wanted}")
    if args.action == "remove":
        print(f"removed {remove_model(args.source)}")
        return 0
    with Display() as display:
        added = add_model(
            args.source,
            name=args.name,
            sha256=args.sha256,
            unverified=args.unverified,
            progress=display,
        )
    hash = f", SHA-256 {added.sha256}" if added.sha256 else ""
    print(f"added {added.name}{hash}; use it with --model {added.name}")
    return 0


def _list() -> int:
    from nnstudent.bundle.store import known_models, store_folder, stored_models

    stored = stored_models()
    print(f"in {store_folder()}:" if stored else f"none in {store_folder()}")
    for item in stored:
        print(f"  {item.name:<28} {item.added}  {item.source}")
    print("public models that can be added by name:")
    for known in known_models().values():
        labels = f", labels: nnstudent maps {known.map}" if known.map else ""
        print(f"  {known.name:<28} {known.title} ({known.licence}{labels})")
    return 0
