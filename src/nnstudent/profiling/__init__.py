"""Profiling of a command: time, memory of its process tree and GPU memory over time."""

from nnstudent.profiling.profile import MemorySample, Profile, Tolerance, profile

__all__ = ["MemorySample", "Profile", "Tolerance", "profile"]
