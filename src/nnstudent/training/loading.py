"""Windows for training: cases kept in memory where they fit, the next batches drawn while the network computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

_MEMORY_BYTES = 1_000_000_000


class CachedDataset(nnUNetDatasetBlosc2):
    """nnU-Net's dataset that keeps unpacked cases, up to a limit; beyond it cases are read anew each time."""

    def __init__(self, *args: Any, limit_bytes: int = _MEMORY_BYTES, **kwargs: Any) -> None:
        """As nnU-Net's dataset; ``limit_bytes`` is what may be kept."""
        super().__init__(*args, **kwargs)
        self._kept: dict[str, Any] = {}
        self._free = limit_bytes

    def load_case(self, identifier: str) -> Any:
        """Image and labels (channel, z, y, x), nothing, and the properties of a case."""
        if identifier in self._kept:
            return self._kept[identifier]
        image, labels, previous, properties = super().load_case(identifier)
        size = int(image.nbytes + labels.nbytes)
        if size > self._free:
            return image, labels, previous, properties
        self._free -= size
        self._kept[identifier] = (image[:], labels[:], previous, properties)
        return self._kept[identifier]


class Prefetch:
    """Draws from an iterator in a thread, a few items ahead.

    A thread, because augmentation is mostly tensor operations that let the other run; processes take seconds to start,
    need shared memory, and are started differently on every system.
    """

    def __init__(self, source: Iterator[Any], *, ahead: int = 3) -> None:
        """Start drawing; ``ahead`` items at most are kept."""
        self._items: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(source,), daemon=True, name="augmentation")
        self._thread.start()

    def _run(self, source: Iterator[Any]) -> None:
        try:
            while not self._stop.is_set():
                self._put((next(source), None))
        except Exception as error:  # handed to whoever draws next, so that no error is lost in the thread
            self._put((None, error))

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                self._items.put(item, timeout=0.2)
                return
            except queue.Full:
                continue

    def __iter__(self) -> Prefetch:
        return self

    def __next__(self) -> Any:
        item, error = self._items.get()
        if error is not None:
            raise error
        return item

    def close(self) -> None:
        """Stop drawing."""
        self._stop.set()
        self._thread.join(timeout=30)
