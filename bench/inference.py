"""Seconds and memory for a full CT, beside stock nnU-Net, on phantoms of full size.

  make bench-inference       trains the paper's student on phantoms first (an hour or two)
  make bench-inference-quick its speed with random weights, in minutes
  python -m bench.inference --sizes 55,100,150,215,334,448,499,554 --repeats 3 --json inference.json
  python -m bench.inference --sizes 100 --no-stock --json inference.json

Stock `nnUNetv2_predict_from_modelfolder -device cpu --disable_tta` and `nnstudent segment` run
alternately, each as a whole process from command to file; `nnstudent profile` measures seconds and
peak memory of the process tree. Ratios of medians count, because machines are noisy. Both run the
paper's student plan from weights in fp16. It must find 12 organs with a DSC above 0.5; otherwise
nothing is reported, because the empty answer is the fastest. This needs the extras [train], and
[int8] for the bundle's int8.

A network's speed does not depend on its weights. With --untrained the paper's student has random
ones; it takes all windows and its labels, which mean nothing, are not corrected by anatomy. Which
windows are left out where an organ is not depends on the labels: the bundled student, which is
trained, shows that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nnstudent
from bench.floor import bandwidth, floor, flops, peak
from bench.scans import Contender, Run, full_scan, run_ours
from bench.untrained import write_untrained
from nnstudent.bundle.export import export
from nnstudent.cohort.cohort import read_cohort
from nnstudent.errors import InputError
from nnstudent.evaluation.metrics import dsc
from nnstudent.inference.calibration import sample_cohort
from nnstudent.inference.engines.precision import choose_precision, cpu_instructions
from nnstudent.inference.labels.postprocess import DEFAULT, postprocess
from nnstudent.io.atomic import write_json
from nnstudent.io.nifti import read_image, read_labels
from nnstudent.machine import cores
from nnstudent.phantom import make_cohort
from nnstudent.profiling.profile import profile
from nnstudent.taxonomy import flare23

PATCH = (32, 128, 192)  # the paper's
ORGANS, FOUND_DSC = 12, 0.5
# nnU-Net wants these folders named, but predicting uses none of them.
NNUNET = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), os.devnull)
STOCK = ("-f", "0", "-device", "cpu", "--disable_tta")
# What makes `segment` do as stock nnU-Net does.
EXACTLY = ("--windows", "dense", "--precision", "fp32", "--postprocess", "none")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        type=lambda text: [int(n) for n in text.split(",")],
        default=[100],
        help="slices, as 55,100,554",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--no-stock",
        action="store_true",
        help="leave stock nnU-Net out, which takes minutes a scan",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the rows go")
    parser.add_argument(
        "--trained",
        type=Path,
        default=Path("runs/paper-plan/last"),
        help="of bench/paper-plan-last.toml",
    )
    parser.add_argument(
        "--untrained",
        action="store_true",
        help="random weights instead, which show the speed of the network only",
    )
    parser.add_argument(
        "--work", type=Path, default=Path("runs/bench"), help="folder for scans and results"
    )
    args = parser.parse_args()
    if args.untrained:
        args.trained = write_untrained(args.work / "untrained")
    elif not (args.trained / "plans.json").is_file():
        sys.exit(
            f"{args.trained}: the paper's plan is not trained; train it first with: "
            "make paper-plan, or measure it with random weights: --untrained"
        )
    bench(
        [
            paper_plan(args.trained, args.work, name="untrained" if args.untrained else ""),
            Contender("bundled", None, None),
        ],
        args.sizes,
        repeats=args.repeats,
        stock=not args.no_stock,
        work=args.work,
        least=0 if args.untrained else ORGANS,
        out=args.json,
    )


def bench(
    contenders: Sequence[Contender],
    sizes: Sequence[int],
    *,
    repeats: int,
    stock: bool,
    work: Path,
    plane: int = 512,
    least: int = ORGANS,
    out: Path | None = None,
) -> dict[str, Any]:
    """Run every contender on every scan; prints a table and returns the report.

    Args:
        contenders: The models; stock nnU-Net runs the first too.
        sizes: Slices of each scan.
        repeats: Number of runs of each.
        stock: Whether stock nnU-Net runs at all.
        work: Folder for scans and results.
        plane: Voxels in plane of a scan that is 410 mm wide.
        least: Organs that the first contender must find.
        out: File of the report, rewritten after each size; None for no file.
    """
    threads = cores()
    machine = describe(threads)
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    rows = []
    for slices in sizes:
        scan = full_scan(work / "scans" / f"{slices}x{plane}", slices, plane=plane)
        outs = {
            name: work / "out" / str(slices) / name
            for name in ("stock", *(one.name for one in contenders))
        }
        stock_runs: list[Run] = []
        runs: dict[str, list[Run]] = {one.name: [] for one in contenders}
        for _ in range(repeats):  # alternately, so that noise affects all alike
            if stock and contenders[0].folder is not None:
                run = run_stock(contenders[0].folder, scan, outs["stock"])
                stock_runs += [] if run is None else [run]
            for one in contenders:
                runs[one.name].append(
                    run_ours(one, scan, outs[one.name] / "labels.nii.gz", *one.options)
                )
        for one in contenders:
            exact = run_ours(one, scan, outs[one.name] / "exact.nii.gz", *EXACTLY)
            row = {"slices": slices, "model": one.name, **timing(runs[one.name], stock_runs)}
            if not one.options:
                row |= quality(one, scan, outs[one.name], outs["stock"] if stock_runs else None)
            row["dense_fp32_seconds"] = exact.seconds
            if one is contenders[0] and least and row["organs_found"] < least:
                sys.exit(
                    f"{one.name} finds {row['organs_found']} organs with DSC > {FOUND_DSC} "
                    f"in {slices} slices, not {least}: no figures"
                )
            row |= shares(one, scan, row, machine)
            rows.append(row)
            print(line(row), flush=True)
        if out:
            write_json(out, {"machine": machine, "rows": rows})
    return {"machine": machine, "rows": rows}


def paper_plan(trained: Path, work: Path, *, name: str = "") -> Contender:
    """The trained model with the paper's whole patch and fp16 weights.

    It is both an nnU-Net folder and a bundle, the latter with int8 if NNCF is installed. A model
    with a name of its own is untrained, and its labels mean nothing.
    """
    import torch

    title = f"paper-plan, {name}" if name else "paper-plan"
    options = ("--windows", "dense", "--postprocess", "none") if name else ()
    folder, bundle = work / "paper-plan", work / "paper-plan-bundle"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "fold_0").mkdir(parents=True)
    plans = json.loads((trained / "plans.json").read_text())
    checkpoint = torch.load(
        trained / "fold_0" / "checkpoint_final.pth", map_location="cpu", weights_only=False
    )
    plans["configurations"][checkpoint["init_args"]["configuration"]]["patch_size"] = list(PATCH)
    weights = {
        name: values.half().float() for name, values in checkpoint["network_weights"].items()
    }
    kept = {
        "network_weights": weights,
        "trainer_name": "nnUNetTrainer",
        "init_args": checkpoint["init_args"],
    }
    torch.save(
        kept | {"inference_allowed_mirroring_axes": None},
        folder / "fold_0" / "checkpoint_final.pth",
    )
    (folder / "plans.json").write_text(json.dumps(plans))
    shutil.copy(trained / "dataset.json", folder)
    calibration = work / "calibration"
    if not (calibration / "cohort.json").is_file():
        make_cohort(calibration, cases=6, seed=77, counts={"full": 6})
    int8 = partial(sample_cohort, read_cohort(calibration)) if find_spec("nncf") else None
    try:
        return Contender(title, export(folder, bundle, int8=int8), folder, options)
    except InputError as refused:  # it then runs without int8, as every refused model
        print(refused)
        return Contender(title, export(folder, bundle), folder, options)


def run_stock(folder: Path, scan: Path, out: Path) -> Run | None:
    """Run stock nnU-Net on a scan; None if it fails.

    It may fail because a long scan takes more memory than the machine has.
    """
    os.environ.update(NNUNET)
    command = [str(Path(sys.executable).with_name("nnUNetv2_predict_from_modelfolder"))]
    command += ["-i", str(scan / "images"), "-o", str(out), "-m", str(folder), *STOCK]
    found = profile(command)
    if found.exit_code:
        print(
            f"stock nnU-Net: exit code {found.exit_code} at {found.peak_rss_mb:.0f} MB, "
            "so there is nothing to compare with"
        )
        return None
    return Run(found.wall_seconds, found.peak_rss_mb)


def timing(runs: Sequence[Run], stock: Sequence[Run]) -> dict[str, Any]:
    """Medians over the repeats; ``start`` is the process's time outside the case."""
    seconds = statistics.median(run.seconds for run in runs)
    cases = [run.report for run in runs if run.report is not None]
    stages = {
        name: statistics.median(case["seconds"][name] for case in cases)
        for name in cases[0]["seconds"]
        if name != "total"
    }
    stages["start"] = statistics.median(
        run.seconds - case["seconds"]["total"] for run, case in zip(runs, cases, strict=True)
    )
    stock_seconds = statistics.median(run.seconds for run in stock) if stock else None
    return {
        "windows": cases[0]["windows"],
        "precision": cases[0]["precision"],
        "seconds": seconds,
        "peak_rss_mb": max(run.peak_rss_mb for run in runs),
        "stages": stages,
        "stock_seconds": stock_seconds,
        "stock_peak_rss_mb": max(run.peak_rss_mb for run in stock) if stock else None,
        "ratio": stock_seconds / seconds if stock_seconds else None,
    }


def quality(one: Contender, scan: Path, out: Path, stock: Path | None) -> dict[str, Any]:
    """Agreement of dense fp32 with stock, and the DSC that the fast defaults lose.

    Stock does not correct labels by anatomy, so labels are not corrected for the agreement. For the
    loss, those of both sides are.
    """
    table = flare23()
    labels = read_labels(out / "exact.nii.gz")
    truth, fast = (
        read_labels(path).array for path in (scan / "truth.nii.gz", out / "labels.nii.gz")
    )
    exact, corrected = labels.array, postprocess(labels, table, rules=DEFAULT).array
    organs = [name for name in table.organs if (truth == table[name].id).any()]
    before, after = (
        {name: dsc(labels == table[name].id, truth == table[name].id) for name in organs}
        for labels in (corrected, fast)
    )
    cost = {name: before[name] - after[name] for name in organs}
    agreement: dict[str, float] = {}
    if stock is not None and one.folder is not None:
        theirs = read_labels(stock / "ct.nii.gz").array
        spec = one.model.networks[0].spec
        for channel, name in enumerate(spec.classes[1:], start=1):
            if (theirs == channel).any() or (exact == table[name].id).any():
                agreement[name] = dsc(exact == table[name].id, theirs == channel)
    return {
        "agreement_dense_fp32": statistics.mean(agreement.values()) if agreement else None,
        "agreement_worst": min(agreement.values(), default=None),
        "dsc_cost": statistics.mean(cost.values()),
        "dsc_cost_worst": max(cost.values()),
        "dsc": after,
        "organs_found": sum(value > FOUND_DSC for value in after.values()),
    }


def shares(
    one: Contender, scan: Path, row: dict[str, Any], machine: dict[str, Any]
) -> dict[str, Any]:
    """The least time of each stage in seconds, and its share of the time taken."""
    (network,) = one.model.networks
    graph = network.members[0].graph
    if graph is None:
        sys.exit(f"{one.name}: has no graph to count the operations of")
    least = floor(
        read_image(scan / "images" / "ct_0000.nii.gz"),
        network,
        windows=row["windows"]["run"],
        operations=flops(graph, network.spec),
        peak=machine[f"gflops_{row['precision']}"] * 1e9,
        bandwidth=machine["gb_per_second"] * 1e9,
    )
    return {
        "floor": least,
        "share_of_floor": {
            stage: least[stage] / max(row["stages"][stage], 1e-9) for stage in least
        },
    }


def describe(threads: int) -> dict[str, Any]:
    has = cpu_instructions()
    precisions = [
        "fp32",
        *dict.fromkeys(choose_precision("auto", graph=graph, has=has) for graph in (False, True)),
    ]
    peaks = {
        f"gflops_{name}": round(peak(name, threads=threads) / 1e9, 1)
        for name in dict.fromkeys(precisions)
    }
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    return {
        "processor": platform.machine(),
        "cores": threads,
        "instructions": " ".join(has),
        **peaks,
        "gb_per_second": round(bandwidth() / 1e9, 1),
        "nnstudent": nnstudent.__version__,
        "commit": commit.stdout.strip() or None,
    }


def line(row: dict[str, Any]) -> str:
    stages = ", ".join(
        f"{name} {value:.2f} ({row['share_of_floor'].get(name, 0):.0%})"
        for name, value in row["stages"].items()
    )
    beside = (
        f", stock {row['stock_seconds']:.1f} s {row['stock_peak_rss_mb']:.0f} MB, "
        f"{row['ratio']:.1f} times"
        if row["ratio"]
        else ""
    )
    found = "labels mean nothing"
    if "organs_found" in row:
        found = f"{row['organs_found']} organs found, fast costs {row['dsc_cost']:+.4f} DSC"
        if row["agreement_dense_fp32"]:
            found = f"agreement {row['agreement_dense_fp32']:.4f}, {found}"
    return (
        f"{row['slices']} slices, {row['model']}, {row['precision']}: {row['seconds']:.2f} s, "
        f"{row['peak_rss_mb']:.0f} MB{beside}, {found}; "
        f"windows {row['windows']['run']} of {row['windows']['planned']}; "
        f"seconds (floor's share): {stages}"
    )


if __name__ == "__main__":
    main()
