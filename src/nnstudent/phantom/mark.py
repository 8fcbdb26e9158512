"""The mark by which a synthetic scan is told from a patient's, wherever its file goes."""

from __future__ import annotations

import re
from pathlib import Path

from nnstudent.io.content import head_of

DESCRIPTION = "synthetic, nnStudent phantom"
_NAME = re.compile(r"phantom_\d+")


def is_phantom(image: Path) -> bool:
    """Return whether a scan is a phantom: its file says so, or is named as `phantom` names it.

    Args:
        image: The file; one that cannot be read is told by its name.
    """
    if _NAME.fullmatch(image.name.partition(".")[0]):
        return True
    try:  # the description is in the header, of which a report of many cases needs nothing else
        return image.is_file() and DESCRIPTION.encode("ascii") in head_of(image)
    except OSError:
        return False
