"""Checks that the stored values of all slices of a series become HU in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nnstudent.errors import InputError
from nnstudent.io.dicom.headers import VALUES, Plane

_HU = ("", "HU", "US")  # the rescale types of a CT in HU; US means unspecified


def check_values(folder: Path, planes: Sequence[Plane]) -> list[str]:
    """Refuse slices whose values do not all mean HU.

    Args:
        folder: Their folder, for errors.
        planes: The slices of a series.

    Returns:
        What is unusual about the values, one line each.

    Raises:
        InputError: The values of the slices differ in meaning, or are not HU.
    """
    warnings = _check_rescale(planes)
    _check_equal(folder, planes)
    unit = planes[0].traits.get("RescaleType", "")
    if unit not in _HU:
        raise InputError(
            f"{planes[0].path}: RescaleType is {unit}, so the values are not HU; "
            "expected a CT in HU"
        )
    if "ModalityLUTSequence" in planes[0].traits and planes[0].slope is None:
        raise InputError(
            f"{planes[0].path}: ModalityLUTSequence in place of RescaleSlope; "
            "expected a slope and an intercept for HU"
        )
    return warnings


def _check_rescale(planes: Sequence[Plane]) -> list[str]:
    warnings = []
    for tag, given, default in (
        ("RescaleSlope", [plane.slope for plane in planes], "1"),
        ("RescaleIntercept", [plane.intercept for plane in planes], "0"),
    ):
        missing = [plane for plane, value in zip(planes, given, strict=True) if value is None]
        values = {value for value in given if value is not None}
        if missing and len(missing) < len(planes):
            raise InputError(
                f"{missing[0].path}: {tag} is missing in {len(missing)} of {len(planes)} slices; "
                "expected it in all or none, because otherwise their values differ in meaning; "
                "copy the series again"
            )
        if missing:
            warnings.append(
                f"no slice has {tag}: {default} is assumed, as if the stored values were HU"
            )
        elif len(values) > 1:
            warnings.append(
                f"{tag} differs between slices, from {min(values):g} to {max(values):g}; "
                "each slice's own is used"
            )
    return warnings


def _check_equal(folder: Path, planes: Sequence[Plane]) -> None:
    for tag in VALUES:
        first = planes[0].traits.get(tag, "")
        other = next((plane for plane in planes if plane.traits.get(tag, "") != first), None)
        if other is None:
            continue
        if tag == "RescaleType" and {first, other.traits.get(tag, "")} <= set(_HU):
            continue
        both = ", ".join(
            f"{plane.path.name}: {plane.traits.get(tag, '') or 'missing'}"
            for plane in (planes[0], other)
        )
        raise InputError(
            f"{folder}: the slices of the series differ in {tag} ({both}); "
            "separate the two, or copy the series again"
        )
