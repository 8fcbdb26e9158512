"""Reading checkpoints as tensors only: nothing in them is executed unless the user allows it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nnstudent.errors import InputError, quoted, require

Weights = dict[str, npt.NDArray[Any]]


def load_checkpoint(path: Path, *, trust_pickle: bool = False) -> dict[str, Any]:
    """Read an nnU-Net checkpoint onto the CPU.

    Args:
        path: ``checkpoint_final.pth`` or the like.
        trust_pickle: Also read a file that holds more than tensors and numbers. Such a file can run
            any code.

    Raises:
        InputError: The file is missing, damaged, no nnU-Net checkpoint, or needs to be trusted.
        MissingExtraError: torch is not installed.
    """
    torch = require("torch", extra="torch", why="reading an nnU-Net checkpoint")
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a checkpoint of nnU-Net v2")
    try:
        with _numbers_allowed(torch):
            checkpoint = torch.load(path, map_location="cpu", weights_only=not trust_pickle)
    except pickle.UnpicklingError as error:
        # "Unsupported operand" is the error for bytes that are no pickle at all.
        if "Unsupported operand" not in str(error):
            raise InputError(
                f"{path}: holds more than tensors and numbers ({_named(error)}), "
                "and loading it could run code; if you trust who made it, add --trust-pickle"
            ) from error
        raise InputError(
            f"{path}: is damaged or no checkpoint ({quoted(error)}); copy it again"
        ) from error
    except Exception as error:  # damaged bytes can fail in any way
        raise InputError(
            f"{path}: is damaged or no checkpoint ({quoted(error)}); copy it again"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(
        checkpoint.get("network_weights"), Mapping
    ):
        raise InputError(f"{path}: has no network_weights; expected a checkpoint of nnU-Net v2")
    return checkpoint


def weights_of(checkpoint: Mapping[str, Any], *, path: Path) -> Weights:
    """The network's weights as numpy arrays, float32.

    Raises:
        InputError: A weight is no tensor, or holds NaN or infinity.
    """
    weights: Weights = {}
    for name, tensor in checkpoint["network_weights"].items():
        if not hasattr(tensor, "detach"):
            raise InputError(f"{path}: {name} is a {type(tensor).__name__}, expected a tensor")
        # DDP and torch.compile put their own prefix before the network's names.
        weights[name.removeprefix("module.").removeprefix("_orig_mod.")] = (
            tensor.detach().to("cpu").float().numpy()
        )
    check_finite(weights, path=path)
    return weights


def check_finite(weights: Mapping[str, npt.NDArray[Any]], *, path: Path) -> None:
    """Refuse weights that are not finite.

    Raises:
        InputError: One holds NaN or infinity.
    """
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"{path}: weight {name} holds NaN or infinity; "
                "the training went wrong, use another checkpoint"
            )


@contextmanager
def _numbers_allowed(torch: Any) -> Iterator[None]:
    """Allow the NumPy numbers in the log of nnU-Net's checkpoints, as NumPy 1 and 2 name them."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [
        type(np.dtype(kind)) for kind in (*np.typecodes["AllInteger"], *np.typecodes["Float"], "?")
    ]
    names = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    with torch.serialization.safe_globals([*names, np.dtype, *dtypes]):
        yield


def _named(error: BaseException) -> str:
    words = str(error).split()
    for before, word in pairwise(words):
        if before == "GLOBAL":
            return word
    return "a pickled object"
