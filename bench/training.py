"""Steps per second of this package's trainer and of nnU-Net's own, on a CPU, in one run.

  python -m bench.training                  # preset laptop; about twenty minutes
  python -m bench.training --preset demo --blocks 3 --steps 5

Three processes learn from the same preprocessed phantoms with the same plans and with nnU-Net's
optimizer, schedule, loss and augmentation: this package's trainer; nnU-Net's trainer (its variant
without mirroring) in fp32, with its own processes for loading; and the same with its forward pass
and loss under bfloat16 autocast. They take turns, a block of steps each, and are paused during the
turns of the others. This package's trainer chooses its number of threads; threads and memory of the
others are the defaults of torch and the C library. Labels are rotated as the preset says, by
nnU-Net always linearly. At the end the losses are compared: between equal trainings they differ
only by chance.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.common import in_own_process
from nnstudent.io.atomic import write_json
from nnstudent.phantom import make_cohort
from nnstudent.pipeline.preset import Preset, load_preset
from nnstudent.training.data.dataset import Prepared, prepare
from nnstudent.training.environment import nnunet_folders
from nnstudent.training.plans import CONFIGURATION
from nnstudent.training.provenance import task_source
from nnstudent.training.recipe import AUGMENTATIONS, Augmentation, Recipe, Training
from nnstudent.training.task import organ_task

OURS, STOCK, HALF = "nnstudent", "nnU-Net", "nnU-Net under autocast"
TRAINERS = (OURS, STOCK, HALF)
TARGETS = {STOCK: 1.5, HALF: 1.2}
FLAT = 3.0  # in flatter patches nnU-Net rotates slices only, by any angle


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--preset",
        default="laptop",
        help="whose student's network, patch and batch (default: laptop)",
    )
    parser.add_argument("--cases", type=int, default=4, help="phantoms to learn from")
    parser.add_argument("--blocks", type=int, default=10, help="turns of each trainer")
    parser.add_argument("--steps", type=int, default=20, help="steps in a block")
    parser.add_argument("--warm", type=int, default=10, help="steps of each before the first block")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was measured")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker[0], Path(args.worker[1]))
        return
    # Exit through the clean-up; otherwise the trainers would go on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder:
        setup(
            Path(folder),
            load_preset(args.preset),
            cases=args.cases,
            steps=args.warm + args.blocks * args.steps,
        )
        turns = measure(Path(folder), blocks=args.blocks, steps=args.steps, warm=args.warm)
    results = summary(turns, steps=args.steps)
    for line in lines(results):
        print(line)
    if args.json is not None:
        write_json(
            args.json, {"preset": args.preset, "steps": args.steps, "turns": turns, **results}
        )


def as_stock(preset: Preset, *, steps: int) -> Recipe:
    """A preset's network and data with nnU-Net's own training and augmentations."""
    recipe = preset.student
    flat = max(recipe.data.patch) / recipe.data.patch[0] > FLAT
    turn = 180.0 if flat else 30.0
    rows = {**AUGMENTATIONS, "rotation": (AUGMENTATIONS["rotation"][0], -turn, turn)}
    # nnU-Net has the elastic deformation switched off.
    augment = tuple(Augmentation(name, *row) for name, row in rows.items() if name != "elastic")
    training = Training(
        epochs=1,
        iterations=steps,
        augment=augment,
        in_plane=flat,
        label_interpolation=recipe.training.label_interpolation,
        held_out=0.0,
    )
    return replace(recipe, training=training)


def setup(folder: Path, preset: Preset, *, cases: int, steps: int) -> None:
    """Preprocess phantoms with all organs labeled, once for all trainers."""
    cohort = make_cohort(
        folder / "cohort", cases=cases, seed=0, preset="tiny", counts={"full": cases}
    )
    task = organ_task(cohort, as_stock(preset, steps=steps), folds=1)
    ready = prepare(
        task,
        folder / "work",
        task_source(task, folder / "hashes.json"),
        threads=os.cpu_count() or 1,
    )
    write_json(folder / "prepared.json", {"plans": ready.plans, "dataset_json": ready.dataset_json})


def measure(folder: Path, *, blocks: int, steps: int, warm: int) -> dict[str, list[dict[str, Any]]]:
    """Let the trainers take turns; returns the seconds and losses of each block by trainer."""
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAINERS}
    processes = {}
    try:
        for name in TRAINERS:
            processes[name] = start(name, folder)
            turn(processes[name], warm)
        for number in range(blocks):
            for name in random.Random(number).sample(TRAINERS, len(TRAINERS)):
                turns[name].append(turn(processes[name], steps))
                last = turns[name][-1]
                print(
                    f"block {number + 1}: {name}: {steps / last['seconds']:.2f} steps/s, "
                    f"loss {np.mean(last['losses']):.3f}",
                    flush=True,
                )
    finally:
        for process in processes.values():
            # It is paused, and its loaders wait for it, so it would not notice a gentler signal.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return turns


def start(name: str, folder: Path) -> subprocess.Popen[str]:
    """Start a trainer in a process of its own, in one group with the processes that it starts."""
    command, environment = in_own_process("bench.training")
    plain = {
        key: value
        for key, value in environment.items()
        if key not in ("OMP_WAIT_POLICY", "nnUNet_n_proc_DA")
    }
    return subprocess.Popen(
        [*command, "--worker", name, str(folder)],
        env=plain,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def turn(process: subprocess.Popen[str], steps: int) -> dict[str, Any]:
    """Run one block; the process and its loaders are paused before and after."""
    os.killpg(process.pid, signal.SIGCONT)
    with suppress(BrokenPipeError):  # it ended since its last turn, and does not answer
        print(steps, file=process.stdin, flush=True)
    answer = process.stdout.readline() if process.stdout else ""
    if not answer:
        raise SystemExit(f"a trainer stopped with exit code {process.wait()}")
    os.killpg(process.pid, signal.SIGSTOP)
    return dict(json.loads(answer))


def work(name: str, folder: Path) -> None:
    """Run a trainer's process.

    For each number on standard input it makes this many steps, and prints seconds and losses.
    """
    if name == OURS:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as train() sets it, before torch is imported
    import torch

    from nnstudent.training.cpu.malloc import freed_memory_kept

    answers = sys.stdout
    state = json.loads((folder / "prepared.json").read_text("utf-8"))
    ready = Prepared(state["plans"], state["dataset_json"], [], (), folder / "work")
    place = folder / f"model{TRAINERS.index(name)}"
    with nnunet_folders(ready.work, log_file=place / "nnunet.log", workers=0):
        if name != OURS:
            os.environ.pop("nnUNet_n_proc_DA")  # nnU-Net's own number of processes
        trainer = ours(ready, place) if name == OURS else stock(ready, place, half=name == HALF)
        torch.manual_seed(0)
        with freed_memory_kept() if name == OURS else nullcontext():
            trainer.on_train_start()
            trainer.on_train_epoch_start()
            for line in sys.stdin:
                begin = time.perf_counter()
                losses = [
                    float(trainer.train_step(next(trainer.dataloader_train))["loss"])
                    for _ in range(int(line))
                ]
                print(
                    json.dumps({"seconds": time.perf_counter() - begin, "losses": losses}),
                    file=answers,
                    flush=True,
                )
        if name == OURS:
            trainer.close()  # its augmentation would go on in a process that does


def ours(ready: Prepared, place: Path) -> Any:
    """This package's trainer, set up as by train()."""
    import torch

    from nnstudent.training.cpu.threads import Tuner, choices
    from nnstudent.training.trainer import RecipeTrainer

    trainer = RecipeTrainer(ready.plans, CONFIGURATION, 0, ready.dataset_json)
    trainer.place(place)
    trainer.tuner = Tuner(choices(torch.get_num_threads()), torch.set_num_threads)
    return trainer


def stock(ready: Prepared, place: Path, *, half: bool) -> Any:
    """nnU-Net's trainer, with the recipe's settings that are attributes of it."""
    import torch
    from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as module
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation import (
        nnUNetTrainerNoMirroring as variant,
    )

    recipe = Recipe.from_dict(ready.plans["nnstudent"]["recipe"])
    trainer = variant.nnUNetTrainerNoMirroring(
        {**ready.plans, "continue_training": False},
        CONFIGURATION,
        0,
        ready.dataset_json,
        torch.device("cpu"),
    )
    trainer.num_epochs, trainer.num_iterations_per_epoch = (
        recipe.training.epochs,
        recipe.training.iterations,
    )
    trainer.oversample_foreground_percent = recipe.data.foreground
    trainer.probabilistic_oversampling = recipe.data.batch == 1
    trainer.output_folder_base, trainer.output_folder = str(place), str(place / "fold_0")
    trainer.log_file = str(place / "training.log")
    Path(trainer.output_folder).mkdir(parents=True, exist_ok=True)
    if half:  # use autocast on the CPU where the trainer uses it on a GPU
        module.dummy_context = lambda: torch.autocast("cpu", torch.bfloat16)
    return trainer


def summary(turns: dict[str, list[dict[str, Any]]], *, steps: int) -> dict[str, Any]:
    """Medians over the blocks, and losses over the second half of the steps."""
    seconds = {name: np.array([row["seconds"] for row in rows]) for name, rows in turns.items()}
    losses = {name: np.concatenate([row["losses"] for row in rows]) for name, rows in turns.items()}
    late = {name: values[len(values) // 2 :] for name, values in losses.items()}
    table = {}
    for name in turns:
        error = float(np.hypot(_error(late[name]), _error(late[OURS])))
        table[name] = {
            "steps_per_second": float(np.median(steps / seconds[name])),
            "ours_as_fast": float(np.median(seconds[name] / seconds[OURS])),
            "loss": float(late[name].mean()),
            "loss_minus_ours": float(late[name].mean() - late[OURS].mean()),
            "standard_error": error,
        }
    return {"trainers": table}


def lines(results: dict[str, Any]) -> list[str]:
    """The results as text, a line for each trainer."""
    text = []
    for name, row in results["trainers"].items():
        line = f"{name}: {row['steps_per_second']:.3f} steps/s"
        if name != OURS:
            line += (
                f"; ours is {row['ours_as_fast']:.2f} times as fast (target {TARGETS[name]}); "
                f"loss {row['loss']:.3f}, minus ours {row['loss_minus_ours']:+.3f} "
                f"± {row['standard_error']:.3f}"
            )
        text.append(line)
    return text


def _error(values: Any) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
