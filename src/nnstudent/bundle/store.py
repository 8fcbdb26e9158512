"""The store of models: what ``nnstudent model add`` put into the user's folder, by name."""

from __future__ import annotations

import logging
import os
import re
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from nnstudent.addresses import split_address
from nnstudent.bundle import nnunet
from nnstudent.bundle.bundle import MANIFEST, content_hash, open_model
from nnstudent.data_files import parse_toml, read_json_table
from nnstudent.errors import InputError, MissingExtraError, one_line
from nnstudent.io.archive import checked_entries, is_clutter, unpack
from nnstudent.io.atomic import make_folder, replacing_folder, write_json
from nnstudent.io.lock import writing
from nnstudent.progress import Progress, silent
from nnstudent.words import did_you_mean

log = logging.getLogger(__name__)

VARIABLE = "NNSTUDENT_MODELS"
BUNDLED = "bundled"
_RECORD, _MODEL = "model.json", "model"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# The files of a model that are unpacked, below the folder that holds plans.json, bundle.json or
# parts.json. The parts of a model lie one or two folders deeper.
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}/"
_FILES = re.compile(
    r"parts\.json|(bundle|dataset_fingerprint)\.json|card\.md"
    r"|networks/[A-Za-z0-9_-]{1,60}(\.int8)?\.(xml|bin)|networks/[A-Za-z0-9_-]{1,60}\.safetensors"
    rf"|({_PART}){{0,2}}(plans\.json|dataset\.json|fold_(\d{{1,2}}|all)/checkpoint_(final|best)\.pth)"
)
# Ends of nnU-Net's names for folders of models that cannot be used, of which its export may hold
# some beside the one that can.
_UNUSABLE = ("__2d/", "__3d_cascade_fullres/")
_MOST_FILES, _MOST_BYTES = 2000, 20_000_000_000
_CHUNK = 1 << 20
_TIMEOUT = 60.0  # seconds without an answer
_ADDRESS = "an address that begins with https://"
_HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class StoredModel:
    """A model in the store.

    Attributes:
        name: Its name.
        source: The file, folder or address it came from.
        sha256: Hash of the file it came from; None for a folder.
        added: When, in UTC, ISO 8601.
    """

    name: str
    source: str
    sha256: str | None
    added: str

    @property
    def path(self) -> Path:
        """The model's folder."""
        return store_folder() / self.name / _MODEL


@dataclass(frozen=True)
class KnownModel:
    """A public model that can be added by name.

    Attributes:
        name: Its name.
        title: What it is.
        url: Where its file is found.
        licence: Its licence.
        map: The class map of its labels; None if it needs none.
        sha256: Hash of the file; None if it is not known.
    """

    name: str
    title: str
    url: str
    licence: str
    map: str | None = None
    sha256: str | None = None


def store_folder() -> Path:
    """Return the folder of the store: ``NNSTUDENT_MODELS``, or the user's data folder."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_data_path("nnstudent", appauthor=False) / "models"


@cache
def known_models() -> Mapping[str, KnownModel]:
    """Return the public models of the package's table, by name."""
    text = files("nnstudent.bundle").joinpath("known_models.toml").read_text("utf-8")
    table = parse_toml(text, where="known_models.toml", what="a table of models")
    return {name: KnownModel(name, **row) for name, row in table.items()}


def stored_models() -> tuple[StoredModel, ...]:
    """Return the models in the store, in the order of their names."""
    folder = store_folder()
    if not folder.is_dir():
        return ()
    names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return tuple(found for name in names if (found := _read(name)) is not None)


def find_model(text: str | Path) -> Path | None:
    """Return the folder of the model that a user names.

    Args:
        text: A path, the name of a model in the store, or ``bundled``.

    Returns:
        The folder, or None for the student that comes with the package. A path that leads nowhere
        is returned as it is; who opens it says so.

    Raises:
        InputError: It looks like a name, and no model in the store has it.
    """
    name, path = str(text), Path(text)
    if path.exists():
        return path
    if name == BUNDLED:
        return None
    if not _NAME.fullmatch(name) or _read(name) is None:
        if os.sep in name or name != path.name or path.suffix:
            return path
        names = [model.name for model in stored_models()]
        hint = did_you_mean(name, names)
        if not hint and name in known_models():
            hint = f"; add it with: nnstudent model add {name}"
        raise InputError(
            f"{name}: no such folder, and no model of this name in the store "
            f"({', '.join(names) or 'it is empty'}){hint}"
        )
    return store_folder() / name / _MODEL


def add_model(
    source: str,
    *,
    name: str | None = None,
    sha256: str | None = None,
    unverified: bool = False,
    progress: Progress = silent,
) -> StoredModel:
    """Put a model into the store.

    Args:
        source: A model folder, a ZIP archive that holds one, the address of such an archive
            (https), or one of :func:`known_models`. The network is used for an address only.
        name: Its name in the store; None for one made from ``source``.
        sha256: Hash that the archive must have. It is checked before anything is unpacked.
        unverified: Take an archive from the network without a hash.
        progress: Called as an archive arrives, in MB.

    Raises:
        InputError: There is no such source, the hash is missing or another one, the archive is
            unsafe or holds no model or several, or the name is taken or cannot be one.
        OutputError: The store cannot be written.
    """
    known = known_models().get(source)
    address, expected = source, sha256
    if known is not None and not Path(source).exists():
        address, name = known.url, name or known.name
        expected = sha256 or known.sha256
    remote = "://" in address
    if expected is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", expected):
        raise InputError(f"--sha256 {expected}: expected 64 hexadecimal digits")
    if remote and expected is None and not unverified:
        raise InputError(
            f"{address}: give the hash that its maker publishes (--sha256), or say --unverified to "
            "take what comes"
        )
    chosen = name or _name_of(address)
    if not _NAME.fullmatch(chosen) or chosen == BUNDLED:
        raise InputError(
            f"{chosen}: cannot name a model; give --name with a-z, 0-9, '.', '_' and '-'"
        )
    folder = store_folder()
    make_folder(folder)
    with writing(folder, wait=True):
        if (folder / chosen).exists():
            raise InputError(
                f"{chosen}: there is a model of this name; give another --name, or remove it with: "
                f"nnstudent model remove {chosen}"
            )
        with replacing_folder(folder / chosen) as place:
            if remote:
                archive = place / "archive.zip"
                _fetch(address, archive, progress=progress)
            else:
                archive = Path(address)
            found = _place(archive, place / _MODEL, expected=expected)
            if remote:
                archive.unlink()
            _check(place / _MODEL)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            stored = StoredModel(chosen, address, found, now)
            write_json(place / _RECORD, asdict(stored))
    return stored


def remove_model(name: str) -> Path:
    """Remove a model from the store and return the folder that is gone.

    Raises:
        InputError: There is none of this name.
    """
    if not _NAME.fullmatch(name) or _read(name) is None:
        names = [model.name for model in stored_models()]
        raise InputError(
            f"{name}: no model of this name in the store{did_you_mean(name, names)}; "
            f"it has {', '.join(names) or 'none'}"
        )
    folder = store_folder()
    with writing(folder, wait=True):
        shutil.rmtree(folder / name)
    return folder / name


def _read(name: str) -> StoredModel | None:
    record = store_folder() / name / _RECORD
    if not record.is_file():
        return None
    data = read_json_table(record, what="a stored model")
    kept = {key: data.get(key) for key in ("source", "sha256", "added")}
    return StoredModel(name, str(kept["source"]), kept["sha256"], str(kept["added"]))


def _name_of(address: str) -> str:
    path = split_address(address, expected=_ADDRESS).path if "://" in address else address
    last = Path(os.path.abspath(path)).name if "://" not in address else Path(path).name
    cleaned = re.sub(r"[^a-z0-9._-]+", "-", last.lower().removesuffix(".zip"))
    return cleaned.strip("-._")[:64]


def _place(source: Path, target: Path, *, expected: str | None) -> str | None:
    """Copy or unpack a model to ``target``; return the hash of its archive."""
    if source.is_dir():
        if expected is not None:
            raise InputError(f"{source}: is a folder; --sha256 is the hash of an archive")
        root = _root_in(source)
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.is_file() and not path.is_symlink() and _FILES.fullmatch(name):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / name)
        return None
    if not source.is_file():
        raise InputError(
            f"{source}: no such file or folder; expected a model folder, a ZIP archive of one, an "
            f"address, or one of {', '.join(known_models())}"
        )
    found = content_hash(source)
    if expected is not None and found != expected.lower():
        raise InputError(
            f"{source.name}: has the SHA-256 {found}, not {expected.lower()}; it is damaged or not "
            "the file that was meant, and nothing was unpacked"
        )
    try:
        entries = checked_entries(source, most_files=_MOST_FILES, most_bytes=_MOST_BYTES)
        root_name = _root_of([item.filename for item in entries])
        wanted = [
            item
            for item in entries
            if item.filename.startswith(root_name)
            and _FILES.fullmatch(item.filename[len(root_name) :])
            and not is_clutter(item.filename)
        ]
        # Each name is one of the table of names above, so none leads elsewhere.
        unpack(source, wanted, target, disk_name=lambda _, name: name[len(root_name) :])
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error
    return found


def _root_of(names: list[str]) -> str:
    """Return what the names of a model's files begin with."""
    roots = {
        mark: {name[: -len(mark)] for name in names if name == mark or name.endswith(f"/{mark}")}
        for mark in (nnunet.PARTS, "plans.json", MANIFEST)
    }
    if len(roots[nnunet.PARTS]) == 1:
        return next(iter(roots[nnunet.PARTS]))
    every = sorted(roots["plans.json"] | roots[MANIFEST])
    usable = [root for root in every if not root.endswith(_UNUSABLE)]
    if len(usable) == 1:
        for root in every:
            if root != usable[0]:
                log.warning("%s: passed over; 2D models and cascades are not supported", root)
        return usable[0]
    if not every:
        raise InputError(
            "no model in it; expected one folder with plans.json, dataset.json and fold_K, or with "
            f"{MANIFEST}"
        )
    found = usable or every
    shown = ", ".join(root.rstrip("/") or "one at its top" for root in found[:5])
    raise InputError(
        f"{len(found)} models in it ({shown}); add one of their folders, or put {nnunet.PARTS} "
        "beside them if their labels make one map"
    )


def _root_in(folder: Path) -> Path:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.json")]
    try:
        return folder / _root_of(names)
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error


def _check(path: Path) -> None:
    if any((path / mark).is_file() for mark in (MANIFEST, nnunet.PARTS)) or nnunet.is_folder(path):
        try:
            open_model(path)
        except MissingExtraError:
            return  # it can be kept without torch; who runs it is told
        return
    raise InputError("no usable model in it; expected plans.json, dataset.json and fold_K")


@contextmanager
def _opened(address: str) -> Iterator[Any]:
    parts = split_address(address, expected=_ADDRESS)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _HERE):
        raise InputError(f"{address}: expected {_ADDRESS}")
    request = urllib.request.Request(address, headers={"User-Agent": "nnstudent"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            if urllib.parse.urlsplit(answer.url).scheme != parts.scheme:
                raise InputError(f"{address}: leads to {answer.url}, which is not https")
            yield answer
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise InputError(
            f"{address}: cannot be fetched ({one_line(error)}); fetch it by other means, and give "
            "the file"
        ) from error


def _fetch(address: str, path: Path, *, progress: Progress) -> None:
    with _opened(address) as answer, path.open("xb") as file:
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
        if total > _MOST_BYTES:
            raise InputError(f"{address}: {total / 1e9:.0f} GB; expected a model of under 20 GB")
        done = 0
        while chunk := answer.read(_CHUNK):
            done += len(chunk)
            if done > _MOST_BYTES:
                raise InputError(f"{address}: over 20 GB; expected a model")
            file.write(chunk)
            progress("MB", done // 1_000_000, max(total, done) // 1_000_000)
        if total and done != total:
            raise InputError(f"{address}: ended after {done} of {total} bytes; try again")
