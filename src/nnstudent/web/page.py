"""The page's files, read once: what a request asks for is looked up by name and never becomes a path."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from starlette.responses import Response

# The report has the one NiiVue that both use; to import it for its place alone would take half a second.
FOLDERS = (
    Path(__file__).with_name("page"),
    Path(str(files("nnstudent"))) / "evaluation" / "report" / "viewer",
)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".css": "text/css",
}
_PLAIN = Path(__file__).with_name("plain")  # what a checkout has where nobody has built the page


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
    """The page as it was built, or else the plain one, which needs no build."""

    def __init__(self, *folders: Path) -> None:
        """Read every file of these folders, by default the page's and the viewer's; ``X.gz`` is sent as ``X``, compressed."""
        self._folders = folders or FOLDERS
        self._assets = self._read(self._folders)
        self._plain = {} if self._is_built else self._read((_PLAIN,))

    def get(self, name: str) -> Response | None:
        """The file of this name, without the slash before it; the page itself for the empty one; None if there is none."""
        if not name and not self._is_built:
            self._assets = self._read(self._folders)  # it may have been built by now
        assets = self._assets if self._is_built else self._plain
        asset = assets.get(name or "index.html")
        return None if asset is None else asset.response()

    @property
    def _is_built(self) -> bool:
        return "index.html" in self._assets

    def _read(self, folders: tuple[Path, ...]) -> dict[str, Asset]:
        found = [
            (folder, path)
            for folder in folders
            if folder.is_dir()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        return dict(self._asset(folder, path) for folder, path in found)

    @staticmethod
    def _asset(folder: Path, path: Path) -> tuple[str, Asset]:
        name = path.relative_to(folder).as_posix()
        packed = name.endswith(".gz")
        name = name.removesuffix(".gz")
        suffix = Path(name).suffix.lower()
        kind = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
        return name, Asset(path.read_bytes(), kind, packed, lasting=name.startswith("assets/"))
