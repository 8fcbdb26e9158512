"""What a job on a cluster asks for."""

from __future__ import annotations

from dataclasses import dataclass

from nnstudent.errors import InputError


@dataclass(frozen=True)
class Need:
    """What one job asks for.

    Attributes:
        gpus: Number of GPUs; none with ``--device cpu``.
        cores: Number of processor cores.
        memory_gb: Memory, in GB.
        hours: Time, after which the cluster ends the job. A training goes on from its last
            checkpoint when it is started again.

    Raises:
        InputError: A value is out of range.
    """

    gpus: int = 0
    cores: int = 2
    memory_gb: float = 8.0
    hours: float = 4.0

    def __post_init__(self) -> None:
        if self.gpus < 0 or self.cores < 1 or self.memory_gb <= 0 or self.hours <= 0:
            raise InputError(
                f"gpus = {self.gpus}, cores = {self.cores}, memory_gb = {self.memory_gb:g}, "
                f"hours = {self.hours:g}; expected no negative number of GPUs, and all others "
                "above 0"
            )

    def to_snakemake(self, *, gpu: bool, cores: int | None) -> dict[str, int]:
        """Return it in Snakemake's words: threads, MB and minutes.

        Args:
            gpu: Whether jobs may use a GPU.
            cores: Cores of each job; None for :attr:`cores`.
        """
        found = {
            "threads": cores or self.cores,
            "mem_mb": round(1000 * self.memory_gb),
            "runtime": max(1, round(60 * self.hours)),
        }
        return found | ({"gpu": self.gpus} if gpu and self.gpus else {})


@dataclass(frozen=True)
class Resources:
    """What the jobs of each kind ask for; the table ``[cluster]`` of a preset.

    Attributes:
        train: One fold of a teacher, a student, a second stage, or the baseline.
        label: One part of the cases, labeled by the teachers.
        segment: One part of the test cases, segmented by the student as it will be used.
        light: Every other job, such as indexing one part of the cases, or the report.
    """

    train: Need = Need(gpus=1, cores=8, memory_gb=48.0, hours=48.0)
    label: Need = Need(gpus=1, cores=4, memory_gb=24.0, hours=12.0)
    segment: Need = Need(cores=4, memory_gb=8.0, hours=4.0)
    light: Need = Need(cores=4, memory_gb=8.0, hours=12.0)
