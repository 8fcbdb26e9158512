"""How a run was trained and on which machine, as cells of a paper's tables.

Only what the run's folder records is written: nothing is guessed from the machine that makes the
report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from nnstudent.data_files import read_json_table
from nnstudent.errors import InputError
from nnstudent.report.format import duration
from nnstudent.words import class_title, count

UNKNOWN = "not recorded"
_ENVIRONMENT = (
    "System", "Processor", "Memory", "GPU", "CUDA", "Programming language",
    "Deep learning framework", "Further packages",
)  # fmt: skip
_OPTIMIZERS = {"sgd": "SGD, Nesterov momentum {momentum:g}", "adamw": "AdamW"}
_SCHEDULES = {"poly": "lr · (1 − epoch / epochs)^0.9", "cosine": "half a cosine, step by step"}


@dataclass
class Protocol:
    """What the folds of one model have recorded.

    Attributes:
        title: The model, such as ``Organ teachers``.
        teacher: Whether it labels for the student.
        folds: How many folds were begun.
        recipe: Its recipe as plain data; empty if it was not recorded.
        record: The content of ``training.json`` of its last fold; empty if there is none.
        done: Epochs that each fold has done.
        seconds: Time of each fold; None where it is not known.
        devices: What the folds were trained on: device and precision.
        environments: The machines.
    """

    title: str
    teacher: bool
    folds: int = 0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    seconds: list[float | None] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)
    environments: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, progress: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """Add a fold: the content of its ``progress.json`` and of its ``training.json``."""
        self.folds += 1
        self.record = record or self.record
        self.recipe = _table(record, "recipe") or self.recipe
        self.done.append(len(progress.get("train_loss", ())))
        times = [value for value in progress.get("seconds", ()) if isinstance(value, int | float)]
        self.seconds.append(float(sum(times)) if times else None)
        where = [str(progress[key]) for key in ("device", "precision") if progress.get(key)]
        if where and ", ".join(where) not in self.devices:
            self.devices.append(", ".join(where))
        known = record.get("environments", ())
        if isinstance(known, list):
            new = [item for item in known if isinstance(item, Mapping)]
            self.environments += [item for item in new if item not in self.environments]


def protocol_rows(protocols: Sequence[Protocol]) -> tuple[tuple[str, ...], ...]:
    """Return a row for each part of the protocol, a column for each model."""
    columns = [_cells(protocol) for protocol in protocols]
    return tuple((title, *(column[title] for column in columns)) for title in columns[0])


def _cells(protocol: Protocol) -> dict[str, str]:
    network, data, training = (
        _table(protocol.recipe, part) for part in ("network", "data", "training")
    )
    record = protocol.record
    folds = record.get("folds")
    return {
        "Cases": _known(record.get("cases")),
        "Folds": f"{protocol.folds} of {folds}" if folds else str(protocol.folds),
        "Network initialization": _known(record.get("initialization")),
        "Batch size": _known(data.get("batch")),
        "Patch size (z × y × x)": _times(data.get("patch")),
        "Voxel size (z × y × x, mm)": _times(data.get("spacing_mm")),
        "Total epochs": _epochs(protocol, training),
        "Optimizer": _optimizer(training),
        "Initial learning rate": _known(training.get("lr")),
        "Learning rate schedule": _schedule(training),
        "Loss function": _loss(training),
        "Augmentation": _augmentation(training),
        "Training time": _time(protocol.seconds),
        "Device": "; ".join(protocol.devices) or UNKNOWN,
        "Network": _network(network),
        "Parameters": f"{record['parameters']:,}".replace(",", " ")
        if isinstance(record.get("parameters"), int)
        else UNKNOWN,
        "FLOPs of a patch": f"{record['gflop']:.4g} G"
        if isinstance(record.get("gflop"), int | float)
        else UNKNOWN,
    }


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def _known(value: Any) -> str:
    return UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _times(values: Any) -> str:
    return " × ".join(f"{value:g}" for value in values) if values else UNKNOWN


def _epochs(protocol: Protocol, training: Mapping[str, Any]) -> str:
    epochs, steps = training.get("epochs"), training.get("iterations")
    if epochs is None:
        return UNKNOWN
    text = str(epochs) if steps is None else f"{epochs} ({count(steps, 'iteration')} each)"
    fewest = min(protocol.done, default=0)
    return text if fewest >= epochs else f"{text}; {fewest} done"


def _optimizer(training: Mapping[str, Any]) -> str:
    known = _OPTIMIZERS.get(str(training.get("optimizer")))
    if known is None:
        return UNKNOWN
    text = known.format(momentum=training.get("momentum", float("nan")))
    decay = training.get("weight_decay")
    return text if decay is None else f"{text}, weight decay {decay:g}"


def _schedule(training: Mapping[str, Any]) -> str:
    text = _SCHEDULES.get(str(training.get("schedule")), UNKNOWN)
    warmup = training.get("warmup")
    return f"{text}, after {count(warmup, 'step')} of warm-up" if warmup else text


def _loss(training: Mapping[str, Any]) -> str:
    if not training:
        return UNKNOWN
    weighted = " weighted by rarity" if training.get("class_weights") == "rarity" else ""
    parts = [f"Dice + cross-entropy{weighted}"]
    parts += ["deep supervision"] if training.get("deep_supervision") else []
    parts += ["marginal where classes are not annotated"] * (training.get("partial") == "marginal")
    parts += ["distillation"] * bool(training.get("distill"))
    return ", ".join(parts)


def _augmentation(training: Mapping[str, Any]) -> str:
    if not training:
        return UNKNOWN
    steps = [item for item in training.get("augment", ()) if isinstance(item, Mapping)]
    names = [class_title(str(item.get("name"))) for item in steps]
    names += [
        class_title(name)
        for name in ("cutmix", "copy_paste", "paint_lesions")
        if training.get(name)
    ]
    return ", ".join(names) or "none"


def _time(seconds: Sequence[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    if not known or len(known) < len(seconds):
        return UNKNOWN
    each = f" ({duration(mean(known))} a fold)" if len(known) > 1 else ""
    return f"{duration(sum(known))}{each}"


def _network(network: Mapping[str, Any]) -> str:
    features = network.get("features")
    if not features:
        return UNKNOWN
    kinds = {
        "separable": "U-Net of separable convolutions",
        "strided_stem": "U-Net with a strided stem",
    }
    kind = kinds.get(str(network.get("kind")), "U-Net")
    return f"{kind}, features {', '.join(map(str, features))}"


def environment_table(
    run: Mapping[str, Any], protocols: Sequence[Protocol]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Return the header and the rows of the environments, a column for each machine.

    Args:
        run: The environment of the run itself; empty if it was not recorded.
        protocols: The trainings, which may have been made elsewhere.
    """
    machines: list[tuple[list[str], dict[str, Any]]] = []
    places = [("Run", run)] if run else []
    places += [(item.title, one) for item in protocols for one in item.environments]
    for title, found in places:
        same = next((machine for machine in machines if _same(machine[1], found)), None)
        if same is None:
            machines.append(([title], dict(found)))
            continue
        if title not in same[0]:
            same[0].append(title)
        # Whoever had torch loaded knows the GPU.
        same[1].update({key: value for key, value in found.items() if value is not None})
    if not machines:
        machines.append((["Run"], {}))
    heads = [", ".join(titles) for titles, _ in machines] if len(machines) > 1 else ["Run"]
    cells = [_machine(found) for _, found in machines]
    return ("", *heads), tuple(
        (title, *(column[place] for column in cells)) for place, title in enumerate(_ENVIRONMENT)
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    keys = ("system", "processor", "cores", "memory_gb", "python", "packages")
    return all(one.get(key) == other.get(key) for key in keys)


def _machine(found: Mapping[str, Any]) -> tuple[str, ...]:
    cores, memory, gpus = found.get("cores"), found.get("memory_gb"), found.get("gpus")
    used = f"{count(cores, 'core')} used" if isinstance(cores, int) else ""
    processor = ", ".join(part for part in (found.get("processor"), used) if part)
    packages = {str(key): str(value) for key, value in _table(found, "packages").items()}
    torch = packages.pop("torch", None)
    gpu = UNKNOWN if gpus is None else ", ".join(map(str, gpus)) or "none"
    return (
        _known(found.get("system")),
        processor or UNKNOWN,
        UNKNOWN if memory is None else f"{memory:g} GB",
        gpu,
        "none" if gpu == "none" else _known(found.get("cuda")),
        f"Python {found['python']}" if found.get("python") else UNKNOWN,
        f"PyTorch {torch}" if torch else "none installed" if packages else UNKNOWN,
        ", ".join(f"{name} {number}" for name, number in packages.items()) or UNKNOWN,
    )


def fold_title(group: str) -> str:
    """Return the title of a training's column from the group of its curve."""
    return "Second stage" if group == "second" else group[:1].upper() + group[1:]


def is_teacher(file: Path) -> bool:
    """Return whether a file of a fold belongs to a teacher."""
    return "teachers" in file.parts


def read_environment(path: Path) -> Mapping[str, Any]:
    """Return the machine that ``run.json`` names; empty if it names none or cannot be read."""
    try:
        return _table(read_json_table(path, what="a run"), "environment")
    except InputError:  # whoever reads the rest of it reports it
        return {}
