"""Synthetic abdominal CT, for running, testing and measuring without patient data."""

from nnstudent.phantom.case import PhantomCase, make_case, scan_patient
from nnstudent.phantom.cohort import LabelProfile, label_profiles, make_cohort

__all__ = [
    "LabelProfile",
    "PhantomCase",
    "label_profiles",
    "make_case",
    "make_cohort",
    "scan_patient",
]
