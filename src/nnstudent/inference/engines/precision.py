"""The precision that a network runs in: the fastest on this processor, or the one asked for."""

from __future__ import annotations

import platform
from collections.abc import Collection
from pathlib import Path

from nnstudent.choices import PRECISIONS
from nnstudent.errors import InputError

# All but the last multiply bytes and sum them in 32 bits in one step. AVX2 alone adds pairs in 16
# bits, which cannot overflow with weights of 7 bits (bundle/quantise.py), and still gains: measured
# 1.6 times for the bundled student's network.
INT8 = ("avx512_vnni", "avx_vnni", "amx_int8", "avx2")
BF16 = ("avx512_bf16", "amx_bf16")
_ARM = ("asimd", "asimddp", "i8mm", "sve")
_KNOWN = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    *_ARM,
)


def cpu_instructions() -> tuple[str, ...]:
    """This processor's instruction sets that matter here; empty on systems other than Linux."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ()
    flags = set(
        next(
            (
                line.split(":")[1]
                for line in text.splitlines()
                if line.startswith(("flags", "Features"))
            ),
            "",
        ).split()
    )
    return tuple(name for name in _KNOWN if name in flags)


def choose_precision(wanted: str, *, graph: bool, has: Collection[str]) -> str:
    """The precision to run in on a CPU with OpenVINO.

    Args:
        wanted: ``auto`` takes int8 if the model has it and the processor has the instructions for
            it, otherwise bf16 if the processor computes in it, otherwise fp32. Any other value is
            taken as it is.
        graph: Whether the model has an int8 graph.
        has: The processor's instruction sets, see :func:`cpu_instructions`.

    Raises:
        InputError: The precision does not exist, the model has no int8, or the processor no bf16.
    """
    int8, bf16 = (any(name in has for name in names) for names in (INT8, BF16))
    if wanted not in PRECISIONS:
        raise InputError(f"precision {wanted!r}; expected one of {', '.join(PRECISIONS)}")
    if wanted == "auto":
        return "int8" if graph and int8 else "bf16" if bf16 else "fp32"
    if wanted == "int8" and not graph:
        raise InputError(
            "precision int8: this model has none; use --precision auto, or export it with --int8 "
            "--calibration COHORT"
        )
    if wanted == "bf16" and not bf16:
        raise InputError(
            f"precision bf16: this processor has none of {', '.join(BF16)}; use --precision auto"
        )
    return wanted


def accelerator_precision(wanted: str, *, device: str, graph: bool) -> str:
    """The precision to run in on a device of OpenVINO's that is not a CPU, such as Intel's GPUs.

    Args:
        wanted: ``auto`` takes fp16, in which such devices are fastest. Any other value is taken as
            it is, but that an NPU has no fp32.
        device: OpenVINO's name of the device.
        graph: Whether the model has an int8 graph.

    Raises:
        InputError: The precision does not exist, the model has no int8, or the device no bf16.
    """
    if wanted == "bf16":
        raise InputError(
            f"precision bf16: device {device} computes in fp16; use --precision auto or fp32"
        )
    if wanted == "auto":
        return "fp16"
    chosen = choose_precision(wanted, graph=graph, has=())
    return "fp16" if chosen == "fp32" and device == "NPU" else chosen


def precision_warning(precision: str, has: Collection[str]) -> str | None:
    """A warning where int8 was asked for on a processor without instructions for it; or None."""
    if precision != "int8" or not has or any(name in has for name in INT8):
        return None
    return (
        f"precision int8: this processor has none of {', '.join(INT8)}; it may be no faster than "
        "fp32; --precision auto takes the fastest"
    )


def explain_auto(has: Collection[str]) -> str:
    """The choice of ``auto`` on a processor with these instruction sets, and why; one line."""
    int8, bf16 = (next((name for name in names if name in has), None) for names in (INT8, BF16))
    other = f"bf16 ({bf16})" if bf16 else f"fp32 (no {' or '.join(BF16)})"
    if int8:
        return f"int8 ({int8}) where the model has it, else {other}"
    known = (
        f"no {', '.join(INT8[:-1])} or {INT8[-1]}"
        if has
        else f"{platform.system()} does not tell what there is; try --precision int8"
    )
    return f"{other}; int8 not by itself ({known})"
