"""The page's files, read once: what a request asks for is looked up by name and never becomes a path."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from starlette.responses import HTMLResponse, Response

# The report has the one NiiVue that both use; to import it for its place alone would take half a second.
FOLDERS = (Path(__file__).with_name("page"), Path(str(files("nnstudent"))) / "evaluation" / "report" / "viewer")
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".svg": "image/svg+xml", ".css": "text/css"}
_NOT_BUILT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>nnStudent</title>
<body style="font: 16px/1.5 sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em">
<h1>nnStudent</h1>
<p>The service runs, but its page was not built. In a checkout: <code>make web</code> (needs Node), then start it again.</p>
<p>What it does without a page is listed at <a href="/api/openapi.json">/api/openapi.json</a>.</p>
"""


@dataclass(frozen=True)
class Asset:
    """One file of the page.

    Attributes:
        content: As it is sent.
        type: Its media type.
        packed: Whether ``content`` is compressed with gzip.
        lasting: Whether its name changes with its content, so that browsers may keep it.
    """

    content: bytes
    type: str
    packed: bool
    lasting: bool

    def response(self) -> Response:
        """As an answer."""
        headers = {"Cache-Control": "max-age=31536000, immutable" if self.lasting else "no-cache"}
        if self.packed:
            headers["Content-Encoding"] = "gzip"
        return Response(self.content, media_type=self.type, headers=headers)


class Page:
    """The page as it was built, or one that says how to build it."""

    def __init__(self, *folders: Path) -> None:
        """Read every file of these folders, by default the page's and the viewer's; ``X.gz`` is sent as ``X``, compressed."""
        found = [(folder, path) for folder in folders or FOLDERS if folder.is_dir() for path in sorted(folder.rglob("*")) if path.is_file()]
        self._assets = dict(self._asset(folder, path) for folder, path in found)

    def get(self, name: str) -> Response | None:
        """The file of this name, without the slash before it; the page itself for the empty one; None if there is none."""
        asset = self._assets.get(name or "index.html")
        if asset is not None:
            return asset.response()
        return None if name else HTMLResponse(_NOT_BUILT)

    @staticmethod
    def _asset(folder: Path, path: Path) -> tuple[str, Asset]:
        name = path.relative_to(folder).as_posix()
        packed = name.endswith(".gz")
        name = name.removesuffix(".gz")
        suffix = Path(name).suffix.lower()
        kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return name, Asset(path.read_bytes(), kind, packed, lasting=name.startswith("assets/"))
