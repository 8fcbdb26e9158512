"""Show what is installed, which engines work, and what this machine can do.

nnstudent doctor
nnstudent doctor --report doctor.json
    as JSON, for a bug report
"""

from __future__ import annotations

import argparse
import platform
from contextlib import suppress
from typing import Any

from nnstudent.cli.common import add_report
from nnstudent.words import count

HELP = "show what is installed and what this machine can do"

# Packages, each with the extra that brings it and what it is needed for. The first ones are of
# the base install.
_PACKAGES = {
    "numpy": ("", ""),
    "scipy": ("", ""),
    "nibabel": ("", ""),
    "openvino": ("", ""),
    "safetensors": ("torch", "the torch engine, export"),
    "torch": ("torch", "the torch engine, export, nnU-Net folders"),
    "dynamic-network-architectures": ("torch", "nnU-Net folders, export"),
    "nnunetv2": ("train", "teach, study"),
    "nncf": ("int8", "export --int8"),
    "onnxruntime": ("onnx", "export --onnx"),
    "pydicom": ("dicom", "reading DICOM"),
    "highdicom": ("dicom", "writing DICOM"),
    "fastapi": ("web", "serve"),
    "pynetdicom": ("web", "serve with C-STORE"),
    "trimesh": ("mesh", "surfaces, --mesh"),
    "argcomplete": ("completion", "completion in a shell"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    add_report(parser, help="write what was found as JSON")


def run(args: argparse.Namespace) -> int:
    """Print what was found; the exit code is 0 if some engine works, otherwise 1."""
    from nnstudent.cli.common import write_report

    found = examine()
    write_report(args.report, found)
    processor = ", ".join(found["instructions"]) or platform.machine()
    print(f"nnstudent {found['nnstudent']}, Python {found['python']}, {found['system']}")
    print(f"processor   {count(found['cores'], 'core')}, {processor}")
    print(f"precision   {found['precision']}")
    print(f"memory      {found['memory_gb']:.1f} GB, {found['memory_free_gb']:.1f} GB free")
    for name, version in found["packages"].items():
        print(f"package     {name} {version or _missing(name)}")
    for name, what in found["devices"].items():
        print(f"device      --device {name}: {what}")
    for name, state in found["engines"].items():
        print(f"engine      {name}: {state}")
    print(f"model       {found['model']}")
    usable = any(state.startswith("works") for state in found["engines"].values())
    return 0 if usable else 1


def examine() -> dict[str, Any]:
    """Return what is installed and what works, as plain data; memory in GB of 10⁹ bytes."""
    import psutil

    import nnstudent
    from nnstudent.inference.engines.precision import cpu_instructions, explain_auto
    from nnstudent.machine import cores

    memory = psutil.virtual_memory()
    return {
        "nnstudent": nnstudent.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "cores": cores(),
        "instructions": list(cpu_instructions()),
        "precision": explain_auto(cpu_instructions()),
        "memory_gb": memory.total / 1e9,
        "memory_free_gb": memory.available / 1e9,
        "packages": {name: _version(name) for name in _PACKAGES},
        "devices": _devices(),
        "engines": {"openvino": _openvino(), "torch": _torch()},
        "model": _model(),
    }


def _devices() -> dict[str, str]:
    """Return what --device may be here, and what it is."""
    from nnstudent.bundle import graph
    from nnstudent.errors import MissingExtraError

    found: dict[str, str] = {}
    with suppress(MissingExtraError, RuntimeError):
        core = graph.openvino().Core()
        for device in core.available_devices:
            name = core.get_property(device, "FULL_DEVICE_NAME").strip()
            found[device.lower()] = f"{name} (openvino)"
    if _version("torch") is not None:
        with suppress(ImportError, OSError):
            import torch  # slow to import, so only if it is installed

            for number in range(torch.cuda.device_count()):
                place = "cuda" if number == 0 else f"cuda:{number}"
                found[place] = f"{torch.cuda.get_device_name(number)} (torch)"
    return found


def _openvino() -> str:
    from nnstudent.bundle import graph
    from nnstudent.errors import MissingExtraError

    try:
        core = graph.openvino().Core()
        name = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
        return f"works on {', '.join(core.available_devices)} ({name})"
    except (MissingExtraError, RuntimeError) as error:
        return f"does not work ({' '.join(str(error).split())[:160]})"


def _torch() -> str:
    if _version("torch") is None:
        return _missing("torch")
    try:
        import torch  # slow to import, so only if it is installed
    except (ImportError, OSError) as error:
        return f"does not work ({error})"
    gpu = f", cuda ({torch.cuda.get_device_name()})" if torch.cuda.is_available() else ""
    return f"works on cpu{gpu}"


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


def _missing(name: str) -> str:
    extra, purpose = _PACKAGES[name]
    if not extra:
        return "is missing; install again with: pip install nnstudent"
    return f"is not installed; for {purpose}: pip install 'nnstudent[{extra}]'"
