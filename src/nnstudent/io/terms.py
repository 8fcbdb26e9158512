"""Gives the DICOM codes of the label table's classes: a category and a type for each."""

from __future__ import annotations

from typing import NamedTuple

from nnstudent.taxonomy import LabelClass
from nnstudent.words import class_title


class Term(NamedTuple):
    """A code of a terminology, as DICOM writes it."""

    value: str
    scheme: str
    meaning: str


_TISSUE = Term("85756007", "SCT", "Tissue")


def meaning(item: LabelClass) -> str:
    """Return a class name in words: ``right_kidney`` → ``Right kidney``."""
    return class_title(item.name).capitalize()


def category(item: LabelClass, *, slicer: bool = False) -> Term:
    """Return the segmentation property category (DICOM PS3.16, CID 7150).

    Args:
        item: A row of the label table.
        slicer: Whether to use 3D Slicer's own list, which keeps an earlier code of CID 7150.
    """
    if item.snomed is None:
        return _TISSUE
    if item.kind == "lesion":
        return Term("49755003", "SCT", "Morphologically Abnormal Structure")
    return Term("123037004" if slicer else "91723000", "SCT", "Anatomical Structure")


def type_code(item: LabelClass) -> Term:
    """Return the segmentation property type: the SNOMED CT code, or tissue if there is none."""
    return _TISSUE if item.snomed is None else Term(item.snomed, "SCT", meaning(item))
