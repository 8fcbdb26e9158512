"""The viewer and the scans that it shows, as parts of one page. ``make web`` builds the viewer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from nnstudent.report.overlays import Overlay
from nnstudent.taxonomy import Taxonomy
from nnstudent.words import class_title


@dataclass(frozen=True)
class Viewer:
    """The viewer as a script.

    Attributes:
        script: JavaScript that can stand in a page as it is.
        allowed: The source by which a content security policy allows this script and no other.
    """

    script: str
    allowed: str


def find_viewer() -> Viewer | None:
    """Return the viewer that the package carries, or None if it was built without."""
    file = files("nnstudent.report").joinpath("viewer", "viewer.js.gz")
    if not file.is_file():
        return None
    # These two texts would end a script or change how it is read. In a string, the backslash means
    # nothing.
    script = re.sub(
        r"<(?=/script|!--)",
        r"\\x3c",
        gzip.decompress(file.read_bytes()).decode(),
        flags=re.IGNORECASE,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Viewer(script, f"'sha256-{digest}'")


def viewer_classes(table: Taxonomy) -> list[dict[str, Any]]:
    """Return the label table as the viewer reads it."""
    return [
        {"id": item.id, "title": class_title(item.name), "color": list(item.color)}
        for item in table
    ]


def viewer_scans(overlays: Sequence[Overlay]) -> list[dict[str, Any]]:
    """Return the scans as the viewer reads them."""
    return [
        {
            "title": f"{overlay.rank.capitalize()}: {overlay.id}",
            "note": f"Reduced to {overlay.scan.spacing} and 8 bits, so that the report stays "
            "small. The scores are those of the full scan.",
            "image": _base64(overlay.scan.image),
            "layers": [
                {"title": "Truth", "labels": _base64(overlay.scan.truth)},
                {"title": "Prediction", "labels": _base64(overlay.scan.prediction)},
            ],
        }
        for overlay in overlays
        if overlay.scan is not None
    ]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
