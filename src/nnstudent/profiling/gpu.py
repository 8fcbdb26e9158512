"""Memory of a GPU as NVML reports it, or the reason why there is no figure."""

from __future__ import annotations

import importlib
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

MIB = 2**20
NO_GPU = "no GPU"
_DRIVER = Path("/proc/driver/nvidia/version")


class Gpu:
    """Memory in use on one GPU.

    It is total minus free memory, as FLARE measures it, so that other programs' memory counts too.

    Attributes:
        name: Name of the GPU; None if there is none.
        missing: Why there is no figure: ``no GPU``, or what to install; empty if there is one.
    """

    def __init__(self, index: int = 0) -> None:
        """Open NVML if it is installed; ``index`` is NVML's number of the GPU."""
        self.name: str | None = None
        self.missing = ""
        self._nvml: ModuleType | None = None
        if find_spec("pynvml") is None:
            driver = find_library("nvidia-ml") is not None or _DRIVER.exists()
            self.missing = (
                "not measured: there is an NVIDIA driver; pip install nvidia-ml-py"
                if driver
                else NO_GPU
            )
            return
        nvml = importlib.import_module("pynvml")
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            self.missing = NO_GPU
            return
        self._nvml = nvml
        count = int(nvml.nvmlDeviceGetCount())
        if not 0 <= index < count:
            self.missing = (
                NO_GPU
                if count == 0
                else f"no GPU {index}: there {'is' if count == 1 else 'are'} {count}, "
                "counted from 0"
            )
            self.close()
            return
        self._handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name = nvml.nvmlDeviceGetName(self._handle)
        self.name = name.decode() if isinstance(name, bytes) else str(name)

    def used_mb(self) -> float | None:
        """Memory in use now, in MiB; None if there is no GPU or it does not report it."""
        if self._nvml is None:
            return None
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(self._handle)
        except self._nvml.NVMLError:
            return None
        return float(memory.total - memory.free) / MIB

    def close(self) -> None:
        """Shut NVML down."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None
