"""What about an image a reader of its segmentation should know."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnstudent.taxonomy import Taxonomy
from nnstudent.volume import Volume

SMALL_MM = 60.0


def found_nothing(volumes_ml: Mapping[str, float], taxonomy: Taxonomy) -> tuple[str, ...]:
    """A warning if no organ was found that is whole: of a head, a leg, or what the network does not know.

    Args:
        volumes_ml: By class name.
        taxonomy: The label table; without least volumes of organs there is no telling.
    """
    least = {name: taxonomy[name].minimum_ml for name in volumes_ml if taxonomy[name].kind == "organ" and taxonomy[name].minimum_ml}
    if not least or any(volumes_ml[name] >= ml for name, ml in least.items()):
        return ()
    return (f"none of {len(least)} organs was found as a whole; expected a scan of the abdomen",)


def look_over(image: Volume) -> tuple[str, ...]:
    """Warnings about an image, a line each.

    Args:
        image: The image that was segmented.

    Returns:
        Whether its values do not look like CT in HU, and whether its field of view is too small for organs.
    """
    warnings: list[str] = []
    sample = image.array.ravel()[:: max(1, image.array.size // 1_000_000)]
    low, middle, high = (float(v) for v in np.percentile(sample, (0.1, 50, 99.9)))
    # A CT of a body holds fat or air (below -50 HU) and enhanced vessels or bone (above 100 HU), and little of it is denser than bone.
    if low > -50 or not 100 < high < 20000 or middle > 1500:
        whole = float(image.array.min()), float(image.array.max())
        warnings.append(f"does not look like CT in HU (range {whole[0]:g} to {whole[1]:g}); the result is not to be relied on")
    sizes = [n * mm for n, mm in zip(image.grid.shape, image.spacing_mm, strict=True)]
    if min(sizes) < SMALL_MM:
        extent = "×".join(f"{mm:.0f}" for mm in reversed(sizes))
        warnings.append(f"small field of view ({extent} mm); organs are cut or missing")
    return tuple(warnings)
