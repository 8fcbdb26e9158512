"""The contrast phase of a CT, estimated from the brightness of aorta, kidneys or liver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Phase = Literal["none", "arterial", "portal"]

_ARTERIAL_HU = 210.0  # the aorta in the arterial phase is brighter
_CONTRAST_HU = 90.0  # with contrast, the aorta is brighter
_KIDNEY_HU = 100.0
_LIVER_HU = 75.0


def guess_phase(hu: Mapping[str, float]) -> tuple[Phase, str] | None:
    """Estimate the contrast phase.

    Args:
        hu: Typical density of each organ that was found, in HU.

    Returns:
        The phase, ``portal`` for portal venous or later, and the organ that decided; None if
        neither aorta, kidney nor liver was found.
    """
    if "aorta" in hu:
        aorta = hu["aorta"]
        phase: Phase = (
            "arterial" if aorta > _ARTERIAL_HU else "portal" if aorta > _CONTRAST_HU else "none"
        )
        return phase, "aorta"
    kidneys = [name for name in ("right_kidney", "left_kidney") if name in hu]
    if kidneys:
        brighter = max(kidneys, key=lambda name: hu[name])
        return ("portal" if hu[brighter] > _KIDNEY_HU else "none"), brighter
    if "liver" in hu:
        return ("none" if hu["liver"] < _LIVER_HU else "portal"), "liver"
    return None
