"""Train the student: a small network that learns from truth and pseudo-labels.

  nnstudent study FUSED -o STUDENT --preset laptop
  nnstudent study FUSED -o STUDENT --preset paper --plan-only
      prints the network, parameters and epochs; trains nothing
  nnstudent study FUSED -o STUDENT --budget-seconds 15 --plan-only
      chooses network, spacing and window so that this machine segments a scan
      in 15 seconds
  nnstudent study FUSED -o STUDENT --start bundled --preset PRESET.toml
      starts from the student that comes with the package; PRESET has the
      network of examples/bundled-student/preset.toml, or a narrower one

FUSED is made by nnstudent select; from a plain cohort folder the student learns
the true labels only. STUDENT becomes an nnU-Net model folder that stock
nnUNetv2_predict_from_modelfolder runs. If you stop it, the same command goes on
from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli.common import Options, add_classes, add_output, add_trust_pickle
from nnstudent.cli.teach import add_training_arguments

if TYPE_CHECKING:
    from nnstudent.bundle.bundle import Model
    from nnstudent.pipeline.preset import Preset
    from nnstudent.training.design.search import Machine, Option
    from nnstudent.volume import Grid

HELP = "train the student from a fused cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "fused", type=Path, metavar="FUSED", help="fused cohort, made by: nnstudent select"
    )
    add_output(parser, metavar="STUDENT", help="folder for the model")
    advanced = add_training_arguments(parser)
    add_start(advanced)
    add_classes(
        advanced,
        "--only",
        help="learn only these classes, as the second stage of a cascade does (default: all)",
    )
    add_trust_pickle(advanced)
    add_budget(parser)


def add_start(parser: Options) -> None:
    """Add ``--start``, which means the same in every verb that trains a student."""
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="start from the weights of a trained model, whose network is the same or wider: a "
        "bundle, an nnU-Net folder, a name from nnstudent model list, or bundled (default: random "
        "weights)",
    )


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose a network for a machine."""
    budget = parser.add_argument_group("a network that fits a machine")
    budget.add_argument(
        "--budget-seconds",
        type=float,
        metavar="S",
        help="choose network, spacing and window so that a scan takes at most this long",
    )
    budget.add_argument(
        "--budget-memory",
        metavar="SIZE",
        help="and at most this much memory, such as 2GB (default: 4GB)",
    )
    budget.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE.json",
        help="speed of the machine that will segment (default: this one is measured)",
    )
    budget.add_argument(
        "--save-calibration",
        type=Path,
        metavar="FILE.json",
        help="write what was measured, for --calibration elsewhere",
    )


def run(args: argparse.Namespace) -> int:
    """Train the student, or print what would be trained."""
    from nnstudent.cli.common import Display, failed_rows, print_failures, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.io.nifti import read_grid
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.training.design.describe import describe
    from nnstudent.training.study import study_result, study_task

    preset = load_preset(args.preset)
    budget: dict[str, Any] = {}
    if args.budget_seconds is not None:
        cohort = read_cohort(args.fused, made_by="select COHORT PSEUDO")
        preset, budget = fit_budget(
            args,
            preset,
            grids=[read_grid(case.image) for case in cohort],
            classes=len(cohort.taxonomy.classes),
        )
    check_budget(args)
    organs_only = not preset.one_student
    start = start_model(args.start, trust_pickle=args.trust_pickle)
    if args.plan_only:
        plan = describe(
            study_task(args.fused, preset.student, organs_only=organs_only, only=args.only)
        )
        print("\n".join(plan.lines()))
        report = {"preset": preset.to_dict(), "plan": [plan.to_dict()], **budget}
        write_report(args.report, report)
        return 0
    with Display() as display:
        trained = study_result(
            args.fused,
            args.out,
            preset.student,
            organs_only=organs_only,
            start=start,
            only=args.only,
            device=args.device,
            threads=args.threads,
            progress=display,
        )
    state = "trained" if trained.fresh else "was trained from this before, nothing to do"
    print(f"{trained.model}: {state}")
    report = {
        "preset": preset.to_dict(),
        "models": [trained.to_dict()],
        "failures": failed_rows(trained.failures),
    }
    write_report(args.report, {**report, **budget})
    return print_failures("study", trained.failures, done=len(trained.folds))


def start_model(text: str | None, *, trust_pickle: bool = False) -> Model | None:
    """The model that ``--start`` names; None without it.

    Raises:
        InputError: It is no usable model.
    """
    from nnstudent.bundle.bundle import open_model
    from nnstudent.bundle.store import find_model

    return None if text is None else open_model(find_model(text), trust_pickle=trust_pickle)


def check_budget(args: argparse.Namespace) -> None:
    """Refuse options of a budget without one."""
    from nnstudent.errors import InputError

    others = (args.budget_memory, args.calibration, args.save_calibration)
    if args.budget_seconds is None and any(others):
        raise InputError(
            "--budget-memory, --calibration and --save-calibration need --budget-seconds"
        )


def fit_budget(
    args: argparse.Namespace, preset: Preset, *, grids: Sequence[Grid], classes: int
) -> tuple[Preset, dict[str, Any]]:
    """Choose the student that fits the budget and print the choice.

    Args:
        args: The verb's arguments.
        preset: The preset whose student is changed.
        grids: The grids of the scans.
        classes: How many classes are to be learned.

    Returns:
        The preset with the chosen student, and what the report says of the choice.
    """
    from dataclasses import replace

    from nnstudent.cli.common import write_report
    from nnstudent.inference.memory import gigabytes, parse_size
    from nnstudent.training.design.search import choose, options, shown, typical

    seconds, memory_mb = args.budget_seconds, parse_size(args.budget_memory or "4GB")
    scan = typical(grids)
    machine = _machine(args)
    write_report(args.save_calibration, machine.to_dict())
    considered = options(machine, scan, classes=classes + 1)
    chosen = choose(considered, seconds=seconds, memory_mb=memory_mb)
    memory = f"{gigabytes(memory_mb):.1f} GB"
    print(f"budget: {seconds:g} s and {memory} for a scan of {scan}, on {machine.name}")
    table = shown(considered, chosen)
    print("\n".join(option_table(table, chosen, seconds=seconds, memory_mb=memory_mb)))
    facts = {
        "machine": machine.to_dict(),
        "seconds": seconds,
        "memory_mb": memory_mb,
        "chosen": chosen.to_dict(),
        "considered": [option.to_dict() for option in considered],
    }
    return replace(preset, student=chosen.applied(preset.student)), {"budget": facts}


def _machine(args: argparse.Namespace) -> Machine:
    """Return the speed of the machine of ``--calibration``, or measure this one."""
    from nnstudent.cli.common import Display
    from nnstudent.data_files import read_json_table
    from nnstudent.machine import cores
    from nnstudent.training.design.search import Machine

    if args.calibration is not None:
        table = read_json_table(args.calibration, what="a calibration")
        return Machine.from_dict(table, where=str(args.calibration))
    from nnstudent.training.design.speed import measure

    with Display() as display:
        return measure(threads=args.threads or cores(), progress=display)


def option_table(
    table: list[Option], chosen: Option, *, seconds: float, memory_mb: float
) -> list[str]:
    """Return the options as a table, with the reason why each was taken or not."""
    from nnstudent.inference.memory import gigabytes

    rows = [
        f"  {'network':<17}{'mm (z, y, x)':<14}{'window':<14}"
        f"{'windows':>8}{'seconds':>9}{'GB':>6}{'points':>8}"
    ]
    for option in table:
        costs = {"time": option.seconds > seconds, "memory": option.memory_mb > memory_mb}
        over = [what for what, exceeded in costs.items() if exceeded]
        why = f"exceeds {' and '.join(over)}" if over else "fewer points"
        if option == chosen:
            why = "chosen: the most points within both"
        mm = "×".join(f"{value:g}" for value in option.spacing_mm)
        patch = "×".join(f"{value:g}" for value in option.patch)
        rows.append(
            f"{'→' if option == chosen else ' '} {option.name:<17}{mm:<14}{patch:<14}"
            f"{option.windows:>8}{option.seconds:>9.1f}{gigabytes(option.memory_mb):>6.1f}"
            f"{option.worth:>8.1f}  {why}"
        )
    rows.append(
        "points: a rule of thumb for DSC, see docs/explanation/students.md; seconds and memory: "
        "estimates for all windows in fp32"
    )
    return rows
