"""The page's files, read once; a request looks one up by name, which never becomes a path."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from starlette.responses import Response

# The report has the viewer that both use; importing it for its folder would take half a second.
FOLDERS = (
    Path(__file__).with_name("page"),
    Path(str(files("nnstudent"))) / "report" / "viewer",
)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".css": "text/css",
}
_PLAIN = Path(__file__).with_name("plain")  # the page of a checkout without a build


@dataclass(frozen=True)
class Asset:
    """One file of the page.

    Attributes:
        content: The bytes to send.
        type: Its media type.
        packed: Whether ``content`` is compressed with gzip.
        lasting: Whether its name changes with its content, so that browsers may cache it.
    """

    content: bytes
    type: str
    packed: bool
    lasting: bool

    def response(self) -> Response:
        """Return the response that sends it."""
        headers = {"Cache-Control": "max-age=31536000, immutable" if self.lasting else "no-cache"}
        if self.packed:
            headers["Content-Encoding"] = "gzip"
        return Response(self.content, media_type=self.type, headers=headers)


class Page:
    """The page as built, or without a build the plain page."""

    def __init__(self, *folders: Path) -> None:
        """Read the files of these folders; ``X.gz`` is sent as ``X``, compressed.

        Args:
            folders: Folders to read; by default those of the page and the viewer.
        """
        self._folders = folders or FOLDERS
        self._assets = self._read(self._folders)
        self._plain = {} if self._is_built else self._read((_PLAIN,))

    def get(self, name: str) -> Response | None:
        """Return the response for a name without leading slash; None if there is no such file.

        The empty name is the page itself.
        """
        if not name and not self._is_built:
            self._assets = self._read(self._folders)  # the page may have been built meanwhile
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
