"""The viewer, which ``make web`` builds from ``frontend/``, and the scans that it shows, as parts of one page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from nnstudent.report.context import words
from nnstudent.report.overlays import Overlay
from nnstudent.taxonomy import Taxonomy


@dataclass(frozen=True)
class Viewer:
    """The viewer as a script.

    Attributes:
        script: JavaScript that can stand in a page as it is.
        allowed: What a content security policy allows it by, and no other script.
    """

    script: str
    allowed: str


def find_viewer() -> Viewer | None:
    """The viewer that the package carries; None where it was built without."""
    file = files("nnstudent.report").joinpath("viewer", "viewer.js.gz")
    if not file.is_file():
        return None
    # The two ways in which text ends a script or changes how it is read; the backslash means nothing in a string.
    script = re.sub(
        r"<(?=/script|!--)",
        r"\\x3c",
        gzip.decompress(file.read_bytes()).decode(),
        flags=re.IGNORECASE,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Viewer(script, f"'sha256-{digest}'")


def viewer_classes(table: Taxonomy) -> list[dict[str, Any]]:
    """The label table as the viewer reads it."""
    return [{"id": item.id, "title": words(item.name), "color": list(item.color)} for item in table]


def viewer_scans(overlays: Sequence[Overlay]) -> list[dict[str, Any]]:
    """The scans as the viewer reads them."""
    return [
        {
            "title": f"{overlay.rank.capitalize()}: {overlay.id}",
            "note": f"Reduced to {overlay.scan.spacing} and 8 bits, so that the report stays small; the scores are those of the full scan.",
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
