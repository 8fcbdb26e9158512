"""Facts about a checkpoint from its own file, read without torch.

Importing torch takes seconds and half a gigabyte, which a process keeps for as long as it runs.
A checkpoint is a zip archive of a pickle and of the tensors' bytes. The pickle alone names the
trainer, the configuration and the mirrored axes. Here tensors and numbers in it become
placeholders, and whatever else it names makes the reader give up: nothing in it is ever executed.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnstudent.bundle.weights import load_checkpoint

_MOST = 64 << 20  # bytes of a pickle that holds no tensors' values
_PLACEHOLDERS = {
    "_codecs": ("encode",),  # of the bytes of numbers
    "torch._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
    "numpy": ("dtype",),
    "numpy.core.multiarray": ("scalar",),
    "numpy._core.multiarray": ("scalar",),
}


def checkpoint_facts(path: Path, *, trust_pickle: bool = False) -> Mapping[str, Any]:
    """An nnU-Net checkpoint's entries; tensors may be placeholders.

    A file that is not read so, such as a damaged one, is left to
    :func:`~nnstudent.bundle.weights.load_checkpoint`; for arguments and errors see there.
    """
    try:
        facts = _facts(path)
    except Exception:  # damaged bytes can fail in any way, and torch says what is wrong
        facts = None
    if facts is None:
        return load_checkpoint(path, trust_pickle=trust_pickle)
    return facts


class _Placeholder:
    """Stands for a tensor, a storage or a number, whatever it was made of."""

    def __init__(self, *args: object) -> None:
        """Take anything."""

    def __setstate__(self, state: object) -> None:
        """Take anything."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        storage = module == "torch" and name.endswith("Storage")
        if storage or name in _PLACEHOLDERS.get(module, ()):
            return _Placeholder
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: object) -> _Placeholder:
        return _Placeholder()


def _facts(path: Path) -> dict[str, Any] | None:
    with zipfile.ZipFile(path) as archive:
        name = next(one for one in archive.namelist() if one.endswith("/data.pkl"))
        if archive.getinfo(name).file_size > _MOST:
            return None
        with archive.open(name) as file:
            facts = _Reader(file).load()
    known = isinstance(facts, dict) and isinstance(facts.get("network_weights"), Mapping)
    return facts if known else None
