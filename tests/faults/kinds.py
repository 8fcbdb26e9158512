"""Every kind of malformed input, with its share of the campaign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from tests.faults import formats, images, models, names, options, records, series, verbs
from tests.faults.outcome import Attack
from tests.faults.pool import Make, Task

KINDS: dict[str, tuple[Callable[[Random, Path, Path], Attack], int]] = {
    "NIfTI: header": (images.header, 12),
    "NIfTI: content": (images.content, 12),
    "NIfTI: voxels and grid": (images.voxels, 6),
    "images of other formats": (images.other_format, 4),
    "DICOM: damaged slices": (series.slices, 10),
    "DICOM: tags": (series.tags, 10),
    "DICOM: missing and mixed slices": (series.mixed, 4),
    "NRRD": (formats.nrrd, 6),
    "MetaImage": (formats.metaimage, 6),
    "archives of a scan": (formats.archive, 5),
    "Enhanced CT": (formats.frames, 5),
    "hospital folders": (formats.hospital, 4),
    "cohort lists": (records.cohort_list, 6),
    "cohort records": (records.cohort, 8),
    "records of pseudo-labels": (records.pseudo, 4),
    "fused sets and ledgers": (records.fused, 4),
    "presets": (records.preset, 6),
    "label tables": (records.label_table, 5),
    "raw datasets": (records.raw_dataset, 4),
    "runs, for the report": (records.run_folder, 5),
    "cards, hosts, calibrations": (records.scores, 3),
    "checkpoints": (models.pickles, 6),
    "plans": (models.plans, 7),
    "bundles": (models.bundle, 6),
    "qc": (verbs.quality, 4),
    "qc --calibrate": (verbs.calibration, 1),
    "audit": (verbs.audit, 4),
    "relabel": (verbs.relabel, 5),
    "DICOM-SEG and RTSTRUCT": (verbs.regions, 5),
    "stats": (verbs.measured, 4),
    "distill": (verbs.distill, 4),
    "model add": (verbs.added, 5),
    "names": (names.names, 5),
    "pipes, links, devices": (names.no_files, 4),
    "options": (options.options, 9),
}


def makers(sound: Path) -> dict[str, Make]:
    """What makes the attack of a kind from a random generator and a folder."""
    return {kind: partial(_make, made, sound) for kind, (made, _) in KINDS.items()}


def _make(
    made: Callable[[Random, Path, Path], Attack], sound: Path, chance: Random, folder: Path
) -> Attack:
    return made(chance, folder, sound)


def tasks(count: int, *, every: int = 100, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[Task]:
    """So many cases, at least one of each kind if there are enough, kinds in turn by their shares;
    of each kind every hundredth runs as a process of its own."""
    left = _quotas(count, kinds)
    given = dict.fromkeys(kinds, 0)
    while any(left.values()):
        for kind in kinds:
            for _ in range(min(KINDS[kind][1], left[kind])):
                number = given[kind]
                yield Task(kind, number, process=bool(every) and number % every == every // 2)
                given[kind] += 1
                left[kind] -= 1


def _quotas(count: int, kinds: tuple[str, ...]) -> dict[str, int]:
    """How many of each kind: by their shares, rounded down but not to nothing, and what is left one
    by one."""
    total = sum(KINDS[kind][1] for kind in kinds)
    most = {kind: max(1, count * KINDS[kind][1] // total) for kind in kinds}
    order = sorted(kinds, key=lambda kind: -most[kind])
    while (over := sum(most.values()) - count) > 0:  # a few cases: of the large kinds fewer
        for kind in order[:over]:
            most[kind] = max(0, most[kind] - 1)
    for kind in order[: count - sum(most.values())]:
        most[kind] += 1
    return most
