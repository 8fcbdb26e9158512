"""Synthetic abdominal CT, so that everything can be run, tested and measured without patient data."""

from nnstudent.phantom.case import PhantomCase, make_case, scan_patient
from nnstudent.phantom.cohort import Profile, make_cohort, profiles

__all__ = ["PhantomCase", "Profile", "make_case", "make_cohort", "profiles", "scan_patient"]
