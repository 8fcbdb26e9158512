"""Steps a second of this trainer and of nnU-Net's own, on the processor, in one run.

  python -m bench.training                      # network, patch and batch of preset laptop; about twenty minutes
  python -m bench.training --preset demo --blocks 3 --steps 5

Three processes learn from the same preprocessed phantoms with the same plans, nnU-Net's optimizer, schedule, loss and augmentation:
ours; nnU-Net's trainer (its variant without mirroring) as it is, in fp32 and with its own processes for loading; the same with its forward
pass and loss under bfloat16 autocast. They take turns, a block of steps each, and are stopped while it is another's turn. Ours decides
itself how many threads it takes; threads and memory of the others are as torch and the C library have them. Labels are turned as the
preset says, by nnU-Net always linearly. At the end the losses are compared: of three trainings alike they differ by chance only."""

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
from contextlib import nullcontext
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
FLAT = 3.0  # of a patch nnU-Net turns slices only, by any angle, where it is flatter than this


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
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # through the clean-up, or the trainers stay
    with tempfile.TemporaryDirectory() as folder:
        setup(
            Path(folder),
            load_preset(args.preset),
            cases=args.cases,
            steps=args.warm + args.blocks * args.steps,
        )
        turns = measure(Path(folder), blocks=args.blocks, steps=args.steps, warm=args.warm)
    found = summary(turns, steps=args.steps)
    for line in told(found):
        print(line)
    if args.json is not None:
        write_json(args.json, {"preset": args.preset, "steps": args.steps, "turns": turns, **found})


def as_stock(preset: Preset, *, steps: int) -> Recipe:
    """A preset's network and data with nnU-Net's own training: SGD, poly, Dice and cross-entropy, and its augmentations."""
    recipe = preset.student
    flat = max(recipe.data.patch) / recipe.data.patch[0] > FLAT
    turn = 180.0 if flat else 30.0
    rows = {**AUGMENTATIONS, "rotation": (AUGMENTATIONS["rotation"][0], -turn, turn)}
    augment = tuple(
        Augmentation(name, *row) for name, row in rows.items() if name != "elastic"
    )  # which nnU-Net has off
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
    """Phantoms with all organs labeled, preprocessed once for all."""
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
    """Let the trainers take turns; of each the seconds and the mean loss of every block."""
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
                    f"block {number + 1}: {name}: {steps / last['seconds']:.2f} steps/s, loss {np.mean(last['losses']):.3f}",
                    flush=True,
                )
    finally:
        for process in processes.values():
            if (
                process.poll() is None
            ):  # at once: stopped, and with loaders that would wait for it, it hears nothing gentler
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return turns


def start(name: str, folder: Path) -> subprocess.Popen[str]:
    """A trainer in a process of its own, and in a group with those that it starts."""
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
    """One block; the process and its loaders stand still before and after."""
    os.killpg(process.pid, signal.SIGCONT)
    print(steps, file=process.stdin, flush=True)
    answer = process.stdout.readline() if process.stdout else ""
    if not answer:
        raise SystemExit(f"a trainer stopped with exit code {process.wait()}")
    os.killpg(process.pid, signal.SIGSTOP)
    return dict(json.loads(answer))


def work(name: str, folder: Path) -> None:
    """A trainer's process: for each number on standard input so many steps, then seconds and losses on standard output."""
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
            os.environ.pop("nnUNet_n_proc_DA")  # as many as nnU-Net takes by itself
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


def ours(ready: Prepared, place: Path) -> Any:
    """This package's trainer as train() sets it up."""
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
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (
        nnUNetTrainerNoMirroring,
    )

    recipe = Recipe.from_dict(ready.plans["nnstudent"]["recipe"])
    trainer = nnUNetTrainerNoMirroring(
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
    if half:  # where it autocasts on a GPU, it does on the processor
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


def told(found: dict[str, Any]) -> list[str]:
    """A line a trainer."""
    lines = []
    for name, row in found["trainers"].items():
        line = f"{name}: {row['steps_per_second']:.3f} steps/s"
        if name != OURS:
            line += (
                f"; ours is {row['ours_as_fast']:.2f} times as fast (target {TARGETS[name]}); loss {row['loss']:.3f}, "
                f"minus ours {row['loss_minus_ours']:+.3f} ± {row['standard_error']:.3f}"
            )
        lines.append(line)
    return lines


def _error(values: Any) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


if __name__ == "__main__":
    main()
