"""What a command costs: time, memory of its whole process tree, GPU memory, over time."""

from nnstudent.profiling.profile import Profile, Sample, Tolerance, profile

__all__ = ["Profile", "Sample", "Tolerance", "profile"]
