"""The mark by which a synthetic scan is told from a patient's, wherever its file goes."""

from __future__ import annotations

import re
from pathlib import Path

from nnstudent.io.nifti import read_description

DESCRIPTION = "synthetic, nnStudent phantom"
_NAME = re.compile(r"phantom_\d+")


def is_phantom(image: Path) -> bool:
    """Return whether a scan is a phantom: its file says so, or is named as `phantom` names it.

    Args:
        image: The file; one that cannot be read is told by its name.
    """
    return DESCRIPTION in read_description(image) or bool(
        _NAME.fullmatch(image.name.partition(".")[0])
    )
