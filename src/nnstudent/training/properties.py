"""The properties that nnU-Net pickles beside a preprocessed case, read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from nnstudent.errors import InputError

# Properties are numbers, text, lists and arrays. NumPy 1 and 2 pickle arrays by these names.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.multiarray", name)
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_properties(path: Path) -> dict[str, Any]:
    """Read the properties of a preprocessed case.

    Raises:
        InputError: The file is missing, damaged, or holds more than numbers, text and arrays.
    """
    try:
        with path.open("rb") as file:
            properties = _PlainUnpickler(file).load()
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); "
            f"remove the folder {path.parent} and train again"
        ) from error
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to ask for
        raise InputError(
            f"{path}: is damaged or holds more than numbers and arrays ({error}); "
            f"remove the folder {path.parent} and train again"
        ) from error
    if not isinstance(properties, dict):
        raise InputError(
            f"{path}: holds a {type(properties).__name__}, not a case's properties; "
            "remove it and train again"
        )
    return properties
