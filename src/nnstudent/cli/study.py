"""Train the student: a small network that learns from true labels and pseudo-labels together.

  nnstudent study FUSED -o STUDENT --preset laptop
  nnstudent study FUSED -o STUDENT --preset paper --plan-only     network, parameters, epochs; trains nothing
  nnstudent study FUSED -o STUDENT --start bundled                from what the student that comes with the package knows

FUSED is what `select` made; of a plain cohort folder the student learns the true labels only. STUDENT becomes an nnU-Net
model folder that stock nnUNetv2_predict_from_modelfolder runs. The same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nnstudent.cli.teach import add_training_arguments

HELP = "train the student of a fused cohort"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("fused", type=Path, metavar="FUSED", help="fused cohort, made by: nnstudent select")
    parser.add_argument("-o", "--output", dest="out", type=Path, required=True, metavar="STUDENT", help="folder for the model")
    add_training_arguments(parser)
    parser.add_argument(
        "--start",
        metavar="MODEL",
        help="begin from a trained model of the same network: a bundle, an nnU-Net folder, or bundled (default: from chance)",
    )
    parser.add_argument("--trust-pickle", action="store_true", help="load a checkpoint that holds more than tensors; it can run any code")


def run(args: argparse.Namespace) -> int:
    """Study."""
    from nnstudent.bundle.bundle import open_model
    from nnstudent.cli.common import Display, name_failures, write_report
    from nnstudent.training.describe import describe
    from nnstudent.training.recipe import load_preset
    from nnstudent.training.study import study_result, study_task

    preset = load_preset(args.preset)
    start = None
    if args.start is not None:
        start = open_model(None if args.start == "bundled" else Path(args.start), trust_pickle=args.trust_pickle)
    if args.plan_only:
        described = describe(study_task(args.fused, preset))
        print("\n".join(described.lines()))
        write_report(args.report, {"preset": preset.to_dict(), "plan": [described.to_dict()]})
        return 0
    display = Display()
    try:
        trained = study_result(args.fused, args.out, preset, start=start, device=args.device, threads=args.threads, progress=display)
    finally:
        display.close()
    print(f"{trained.model}: trained" if trained.fresh else f"{trained.model}: was already trained from this, nothing to do")
    failed = [{"id": failure.case, "reason": failure.reason} for failure in trained.failures]
    write_report(args.report, {"preset": preset.to_dict(), "models": [trained.to_dict()], "failed": failed})
    return name_failures("study", trained.failures, done=len(trained.folds))
