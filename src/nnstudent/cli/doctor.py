"""What is installed, which engines work, what this machine can do.

nnstudent doctor
nnstudent doctor --report doctor.json     for a bug report
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

HELP = "what is installed and what this machine can do"

_PACKAGES = (
    "numpy",
    "scipy",
    "nibabel",
    "openvino",
    "safetensors",
    "torch",
    "dynamic-network-architectures",
    "nnunetv2",
    "nncf",
    "pydicom",
    "highdicom",
    "fastapi",
    "pynetdicom",
)
_EXTRAS = {
    "torch": "torch", "safetensors": "torch", "dynamic-network-architectures": "torch", "nncf": "int8", "nnunetv2": "train",
    "pydicom": "dicom", "highdicom": "dicom", "fastapi": "web", "pynetdicom": "web",
}  # fmt: skip
_NEEDED_FOR = {
    "torch": "the torch engine, export, nnU-Net folders",
    "safetensors": "the torch engine, export",
    "dynamic-network-architectures": "nnU-Net folders, export",
    "nncf": "export --int8",
    "nnunetv2": "teach, study",
    "pydicom": "reading DICOM",
    "highdicom": "writing DICOM",
    "fastapi": "serve",
    "pynetdicom": "serve with C-STORE",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write the findings as JSON"
    )


def run(args: argparse.Namespace) -> int:
    """Look and tell; the exit code is 0 if something can be segmented, else 1."""
    from nnstudent.cli.common import write_report

    found = examine()
    write_report(args.report, found)
    print(f"nnstudent {found['nnstudent']}, Python {found['python']}, {found['system']}")
    print(
        f"processor   {found['cores']} cores, {', '.join(found['instructions']) or platform.machine()}"
    )
    print(f"precision   {found['precision']}")
    print(f"memory      {found['memory_gb']:.1f} GB, {found['memory_free_gb']:.1f} GB free")
    for name, version in found["packages"].items():
        print(f"package     {name} {version or _lacking(name)}")
    for name, state in found["engines"].items():
        print(f"engine      {name}: {state}")
    print(f"model       {found['model']}")
    usable = any(state.startswith("works") for state in found["engines"].values())
    return 0 if usable else 1


def examine() -> dict[str, Any]:
    """The findings, as plain data."""
    import psutil

    import nnstudent
    from nnstudent.cli.common import cores
    from nnstudent.inference.engines.precision import cpu_instructions, explain_auto

    memory = psutil.virtual_memory()
    return {
        "nnstudent": nnstudent.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "cores": cores(),
        "instructions": list(cpu_instructions()),
        "precision": explain_auto(cpu_instructions()),
        "memory_gb": memory.total / 2**30,
        "memory_free_gb": memory.available / 2**30,
        "packages": {name: _version(name) for name in _PACKAGES},
        "engines": {"openvino": _openvino(), "torch": _torch()},
        "model": _model(),
    }


def _openvino() -> str:
    from nnstudent.bundle import graph
    from nnstudent.errors import MissingExtraError

    try:
        core = graph.openvino().Core()
        return f"works on {', '.join(core.available_devices)} ({core.get_property('CPU', 'FULL_DEVICE_NAME').strip()})"
    except (MissingExtraError, RuntimeError) as error:
        return f"does not work ({' '.join(str(error).split())[:160]})"


def _torch() -> str:
    if _version("torch") is None:
        return _lacking("torch")
    try:
        import torch  # slow to import; only looked at when it is there
    except (ImportError, OSError) as error:
        return f"does not work ({error})"
    return f"works on cpu{', cuda (' + torch.cuda.get_device_name() + ')' if torch.cuda.is_available() else ''}"


def _model() -> str:
    from nnstudent.bundle.bundle import open_model
    from nnstudent.errors import NnStudentError

    try:
        model = open_model()
    except NnStudentError as error:
        return str(error)
    return f"bundled student {model.hash}, {len(model.classes)} classes"


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _lacking(name: str) -> str:
    if name not in _EXTRAS:
        return "is missing; install again with: pip install nnstudent"
    return f"is not installed; for {_NEEDED_FOR[name]}: pip install 'nnstudent[{_EXTRAS[name]}]'"
