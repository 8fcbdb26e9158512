"""Sources of a cohort: each layout has one module that turns a place on disk into entries."""

from nnstudent.cohort.sources.dispatch import read_source
from nnstudent.cohort.sources.source import Entry, Source

__all__ = ["Entry", "Source", "read_source"]
