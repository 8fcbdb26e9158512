"""Synthetic abdominal CT, so that everything can be run, tested and measured without patient data."""

from nnstudent.cohort.phantom.cohort import PhantomCase, make_case, make_cohort, mixture

__all__ = ["PhantomCase", "make_case", "make_cohort", "mixture"]
