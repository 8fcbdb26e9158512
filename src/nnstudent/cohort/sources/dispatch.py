"""Reading a source of any kind."""

from __future__ import annotations

from pathlib import Path

from nnstudent.cohort.sources import dicom, flare, indexed, nnunet, table
from nnstudent.cohort.sources.source import EXPECTED, LIST_THEM, Source
from nnstudent.errors import InputError
from nnstudent.io.nifti import is_image
from nnstudent.taxonomy import Taxonomy


def read_source(path: Path, *, taxonomy: Taxonomy | None = None) -> Source:
    """Read which cases a source has, without opening an image.

    Args:
        path: The folder or list.
        taxonomy: The label table; None for the source's own, or FLARE23's if it has none.

    Raises:
        InputError: The path is missing, of no known kind, malformed, or has no case.
    """
    if path.is_file():
        kind = {".csv": table.read_csv, ".tsv": table.read_csv, ".toml": table.read_toml}.get(
            path.suffix.lower()
        )
        if kind is None and path.name == "cohort.json":
            return read_source(path.parent, taxonomy=taxonomy)
        if kind is None:
            if is_image(path):
                raise InputError(f"{path}: is an image; expected {EXPECTED}; {LIST_THEM}")
            raise InputError(f"{path}: is not a source of cases; expected {EXPECTED}")
        source = kind(path, taxonomy=taxonomy)
    elif path.is_dir():
        if (path / "cohort.json").is_file():
            source = indexed.read(path, taxonomy=taxonomy)
        elif nnunet.recognizes(path):
            source = nnunet.read(path, taxonomy=taxonomy)
        elif dicom.recognizes(path):
            source = dicom.read(path, taxonomy=taxonomy)
        else:  # whatever has not been recognized by now
            source = flare.read(path, taxonomy=taxonomy)
    else:
        raise InputError(f"{path}: no such file or folder; expected {EXPECTED}")
    if not source.entries and not source.failures:
        raise InputError(f"{path}: no case in it (taken for {source.kind}); expected {EXPECTED}")
    return source
