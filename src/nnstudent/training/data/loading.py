"""Drawing windows from cases kept in memory, a few batches ahead of the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnstudent.training.properties import read_properties

CACHE_BYTES = 1_000_000_000


class CachedDataset(nnUNetDatasetBlosc2):
    """nnU-Net's dataset, with decompressed cases kept in memory up to a limit.

    Cases beyond the limit are read from disk each time.
    """

    def __init__(self, *args: Any, limit_bytes: int = CACHE_BYTES, **kwargs: Any) -> None:
        """Take nnU-Net's arguments, and how many bytes may be kept."""
        super().__init__(*args, **kwargs)
        self._kept: dict[str, Any] = {}
        self._free = limit_bytes

    def load_case(self, identifier: str) -> Any:
        """Image and labels (channel, z, y, x), None, and the properties of a case."""
        if identifier in self._kept:
            return self._kept[identifier]
        folder = Path(self.source_folder)
        # nnU-Net's own reader unpickles whatever the file holds.
        image, labels = (
            blosc2.open(
                str(folder / f"{identifier}{part}.b2nd"),
                mode="r",
                dparams={"nthreads": 1},
                deserialize="safe",
                **self.mmap_kwargs,
            )
            for part in ("", "_seg")
        )
        properties, previous = read_properties(folder / f"{identifier}.pkl"), None
        size = int(image.nbytes + labels.nbytes)
        if size > self._free:
            return image, labels, previous, properties
        self._free -= size
        self._kept[identifier] = (image[:], labels[:], previous, properties)
        return self._kept[identifier]


class WindowLoader(nnUNetDataLoader):
    """nnU-Net's loader, which can center windows on lesions more often than on organs."""

    def __init__(
        self,
        *args: Any,
        lesions: Collection[int] = (),
        lesion_oversampling: float = 1.0,
        focus: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        """Take nnU-Net's arguments, and those of :func:`draw_class`."""
        super().__init__(*args, **kwargs)
        self._lesions, self._often, self._focus = lesions, lesion_oversampling, focus
        # With an ignore label nnU-Net centers every window on labeled voxels. Here little of a scan
        # is ignored, so windows are drawn as usual.
        self.has_ignore = False

    def get_bbox(
        self,
        data_shape: Any,
        force_fg: bool,
        class_locations: Any,
        overwrite_class: Any = None,
        verbose: bool = False,
    ) -> Any:
        """Draw a window's place, centered on a class if ``force_fg``."""
        if (
            force_fg
            and overwrite_class is None
            and (self._focus or (self._lesions and self._often != 1))
        ):
            how: Any = {
                "lesions": self._lesions,
                "lesion_oversampling": self._often,
                "focus": self._focus,
            }
            overwrite_class = draw_class(class_locations, **how)
        return super().get_bbox(data_shape, force_fg, class_locations, overwrite_class, verbose)


def draw_class(
    locations: Mapping[Any, Sequence[Any]],
    *,
    lesions: Collection[int],
    lesion_oversampling: float,
    focus: Sequence[int] = (),
) -> int | None:
    """Draw one of the classes that a case has.

    Args:
        locations: By class, some of its voxels; keys of several classes are not drawn.
        lesions: The lesion classes.
        lesion_oversampling: How many times as often as another class a lesion is drawn.
        focus: The classes to draw from, each as often as it is listed; all classes of the case if
            it is empty or the case has none of them.

    Returns:
        None if there is no class to draw.
    """
    present = [
        key for key, voxels in locations.items() if not isinstance(key, tuple) and len(voxels)
    ]
    chosen = [key for key in present if key in focus] or present
    often = [focus.count(key) if focus and key in focus else 1 for key in chosen]
    weights = np.array(
        [
            times * (lesion_oversampling if key in lesions else 1.0)
            for key, times in zip(chosen, often, strict=True)
        ]
    )
    if not weights.sum():
        return None
    # From the global random state, as nnU-Net does.
    number = np.random.choice(len(chosen), p=weights / weights.sum())  # noqa: NPY002
    return int(chosen[number])


class Prefetch:
    """Draws from an iterator in a thread, a few items ahead.

    It is a thread because augmentation is mostly tensor operations, during which other threads
    run. Processes take seconds to start, need shared memory, and start differently on every
    system.
    """

    def __init__(self, source: Iterator[Any], *, ahead: int = 3) -> None:
        """Start drawing; ``ahead`` items at most are kept."""
        self._items: queue.Queue[Any] = queue.Queue(maxsize=ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(source,), daemon=True, name="augmentation"
        )
        self._thread.start()

    def _run(self, source: Iterator[Any]) -> None:
        try:
            while not self._stop.is_set():
                self._put((next(source), None))
        except Exception as error:  # raised again for whoever draws next
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
