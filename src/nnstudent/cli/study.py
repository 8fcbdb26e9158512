"""Train the student: a small network that learns from true labels and pseudo-labels together.

  nnstudent study FUSED -o STUDENT --preset laptop
  nnstudent study FUSED -o STUDENT --preset paper --plan-only     network, parameters, epochs; trains nothing
  nnstudent study FUSED -o STUDENT --budget-seconds 15 --budget-memory 2GB --plan-only
                                                                  network, spacing and window for this machine
  nnstudent study FUSED -o STUDENT --start bundled --preset examples/bundled-student/preset.toml
                                                                  from what the student that comes with the package knows

FUSED is what `select` made; of a plain cohort folder the student learns the true labels only. STUDENT becomes an nnU-Net
model folder that stock nnUNetv2_predict_from_modelfolder runs. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnstudent.cli.teach import add_training_arguments

if TYPE_CHECKING:
    from nnstudent.pipeline.preset import Preset
    from nnstudent.training.design.search import Option

HELP = "train the student of a fused cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "fused", type=Path, metavar="FUSED", help="fused cohort, made by: nnstudent select"
    )
    parser.add_argument(
        "-o",
        "--output",
        dest="out",
        type=Path,
        required=True,
        metavar="STUDENT",
        help="folder for the model",
    )
    add_training_arguments(parser)
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="begin from a trained model of the same network: a bundle, an nnU-Net folder, or bundled (default: from chance)",
    )
    parser.add_argument(
        "--only",
        metavar="CLASS,CLASS",
        help="learn only these classes, as the second stage of a cascade does (default: all there are)",
    )
    parser.add_argument(
        "--budget-seconds",
        type=float,
        metavar="S",
        help="choose network, spacing and window so that a scan takes at most so long here",
    )
    parser.add_argument(
        "--budget-memory",
        metavar="SIZE",
        help="and at most so much memory, such as 2GB (default with a budget: 4GB)",
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        metavar="FILE.json",
        help="of the machine that will segment (default: this one is measured)",
    )
    parser.add_argument(
        "--save-calibration",
        type=Path,
        metavar="FILE.json",
        help="write what was measured, for --calibration elsewhere",
    )
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="load a checkpoint that holds more than tensors; it can run any code",
    )


def run(args: argparse.Namespace) -> int:
    """Study."""
    from nnstudent.bundle.bundle import open_model
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.errors import InputError
    from nnstudent.pipeline.preset import load_preset
    from nnstudent.training.design.describe import describe
    from nnstudent.training.study import study_result, study_task

    preset = load_preset(args.preset)
    budget: dict[str, Any] = {}
    if args.budget_seconds is not None:
        preset, budget = within_budget(args, preset)
    elif args.budget_memory or args.calibration or args.save_calibration:
        raise InputError(
            "--budget-memory and calibrations are for a budget; give --budget-seconds too"
        )
    organs_only = not preset.one_student
    only = None if args.only is None else [name.strip() for name in args.only.split(",")]
    start = None
    if args.start is not None:
        start = open_model(
            None if args.start == "bundled" else Path(args.start), trust_pickle=args.trust_pickle
        )
    if args.plan_only:
        described = describe(
            study_task(args.fused, preset.student, organs_only=organs_only, only=only)
        )
        print("\n".join(described.lines()))
        write_report(
            args.report, {"preset": preset.to_dict(), "plan": [described.to_dict()], **budget}
        )
        return 0
    display = Display()
    try:
        trained = study_result(
            args.fused,
            args.out,
            preset.student,
            organs_only=organs_only,
            start=start,
            only=only,
            device=args.device,
            threads=args.threads,
            progress=display,
        )
    finally:
        display.close()
    print(
        f"{trained.model}: trained"
        if trained.fresh
        else f"{trained.model}: was already trained from this, nothing to do"
    )
    failed = [{"id": failure.case, "reason": failure.reason} for failure in trained.failures]
    write_report(
        args.report,
        {"preset": preset.to_dict(), "models": [trained.to_dict()], "failed": failed, **budget},
    )
    return name_failures("study", trained.failures, done=len(trained.folds))


def within_budget(args: argparse.Namespace, preset: Preset) -> tuple[Preset, dict[str, Any]]:
    """The preset with the student that the budget allows, after telling which and why; and the same for the report."""
    from dataclasses import replace

    from nnstudent.cli.common import Display, cores, import_nibabel, write_report
    from nnstudent.cohort.cohort import read_cohort
    from nnstudent.inference.memory import gigabytes, parse_size
    from nnstudent.io.nifti import read_grid
    from nnstudent.serialization import read_json_table
    from nnstudent.training.design.search import Machine, choose, options, shown, typical

    import_nibabel()
    memory_mb = parse_size(args.budget_memory or "4GB")
    cohort = read_cohort(args.fused)
    scan = typical([read_grid(case.image) for case in cohort])
    if args.calibration is not None:
        machine = Machine.from_dict(
            read_json_table(args.calibration, what="a calibration"), where=str(args.calibration)
        )
    else:
        from nnstudent.training.design.speed import measure

        display = Display()
        try:
            machine = measure(threads=args.threads or cores(), progress=display)
        finally:
            display.close()
    write_report(args.save_calibration, machine.to_dict())
    considered = options(machine, scan, classes=len(cohort.taxonomy.classes) + 1)
    chosen = choose(considered, seconds=args.budget_seconds, memory_mb=memory_mb)
    table = shown(considered, chosen)
    print(
        f"budget: {args.budget_seconds:g} s and {gigabytes(memory_mb):.1f} GB a scan of {scan}, on {machine.name}"
    )
    print("\n".join(lines(table, chosen, seconds=args.budget_seconds, memory_mb=memory_mb)))
    facts = {
        "machine": machine.to_dict(),
        "seconds": args.budget_seconds,
        "memory_mb": memory_mb,
        "chosen": chosen.to_dict(),
        "considered": [option.to_dict() for option in considered],
    }
    return replace(preset, student=chosen.applied(preset.student)), {"budget": facts}


def lines(table: list[Option], chosen: Option, *, seconds: float, memory_mb: float) -> list[str]:
    """The options as a table, and why each was not taken."""
    from nnstudent.inference.memory import gigabytes

    head = f"  {'network':<17}{'mm (z, y, x)':<14}{'window':<14}{'windows':>8}{'seconds':>9}{'GB':>6}{'points':>8}"
    rows = [head]
    for option in table:
        over = [
            what
            for what, yes in (
                ("time", option.seconds > seconds),
                ("memory", option.memory_mb > memory_mb),
            )
            if yes
        ]
        why = (
            "chosen: the most points within both"
            if option == chosen
            else f"over in {' and '.join(over)}"
            if over
            else "fewer points"
        )
        mm, patch = (
            "×".join(f"{value:g}" for value in values)
            for values in (option.spacing_mm, option.patch)
        )
        cost = f"{option.windows:>8}{option.seconds:>9.1f}{gigabytes(option.memory_mb):>6.1f}{option.worth:>8.1f}"
        rows.append(
            f"{'→' if option == chosen else ' '} {option.name:<17}{mm:<14}{patch:<14}{cost}  {why}"
        )
    rows.append(
        "points: a rule of thumb for DSC, see docs/explanation/students.md; seconds and memory: estimates, in fp32, of all windows"
    )
    return rows
