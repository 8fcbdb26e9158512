"""Converting a checkpoint to an OpenVINO graph in a process of its own.

Tracing a network of many classes takes a gigabyte, and torch half of one, which a process keeps
for as long as it runs. The graph is all that is needed of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from nnstudent.bundle import graph
from nnstudent.bundle.network import build, load_weights
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.bundle.weights import load_checkpoint, weights_of
from nnstudent.errors import InputError, MissingExtraError, NnStudentError

_QUOTED = 200  # characters of what the other process said last
_ERRORS = {one.__name__: one for one in (InputError, MissingExtraError)}


def convert_apart(checkpoint: Path, spec: NetworkSpec, *, trust_pickle: bool, path: Path) -> Any:
    """The OpenVINO graph of a network with the weights of an nnU-Net checkpoint.

    Args:
        checkpoint: The checkpoint.
        spec: The network's specification.
        trust_pickle: Whether the checkpoint may hold any pickle.
        path: The model's folder, which errors name.

    Raises:
        InputError: See :func:`~nnstudent.bundle.graph.convert` and
            :func:`~nnstudent.bundle.weights.load_checkpoint`.
        MissingExtraError: torch is not installed.
    """
    # Windows keeps the file open as long as the graph is in use.
    with tempfile.TemporaryDirectory(prefix="nnstudent-", ignore_cleanup_errors=True) as folder:
        out = Path(folder) / "network.xml"
        order = {
            "checkpoint": str(checkpoint.resolve()),
            "spec": spec.to_dict(),
            "trust_pickle": trust_pickle,
            "path": str(path),
            "out": str(out),
        }
        done = subprocess.run(
            # It finds modules where this process does, and none in the working folder.
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
            check=False,
        )
        answer = _answer(done.stdout)
        if done.returncode != 0 or answer is None:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise InputError(
                f"{path}: converting the network ended with exit code {done.returncode} "
                f"({last[:_QUOTED]}); free some memory, or use --engine torch"
            )
        if "error" in answer:
            raise _ERRORS.get(answer["error"], InputError)(answer["message"])
        return graph.read(out, spec)


def main() -> int:
    """Convert as the order on standard input says, and write what went wrong to standard output."""
    order = json.load(sys.stdin)
    answer = {}
    try:
        made = _convert(
            Path(order["checkpoint"]),
            NetworkSpec.from_dict(order["spec"]),
            trust_pickle=order["trust_pickle"],
            path=Path(order["path"]),
        )
        graph.save(made, Path(order["out"]), half=False)
    except NnStudentError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    return 0


def _convert(checkpoint: Path, spec: NetworkSpec, *, trust_pickle: bool, path: Path) -> Any:
    weights = weights_of(load_checkpoint(checkpoint, trust_pickle=trust_pickle), path=checkpoint)
    return graph.convert(load_weights(build(spec), weights, path=path), spec)


def _answer(output: str) -> dict[str, str] | None:
    """The last line of what the process said; a library may have written before."""
    try:
        answer = json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


if __name__ == "__main__":
    sys.exit(main())
