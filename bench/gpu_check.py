"""What the GPU code does on a real GPU: whether it runs, how fast, and whether it is right.

  make gpu-check
  python -m bench.gpu_check --device cuda --json runs/gpu-check.json
  python -m bench.gpu_check --device cpu --quick --only steps,label,sizes,segment

Nothing is downloaded; networks that are measured for speed have random weights. It ends in about
ten minutes on a GPU. A section that fails is named with the reason, and the others are done. With
--quick everything is tiny and says nothing about speed: it shows that this script runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common import ROOT
from bench.gpu_parts import (
    MemoryCurve,
    Setting,
    noise_scan,
    paper_teacher,
    same,
    step_rate,
    untrained_model,
)
from bench.scans import THICKNESS_MM
from nnstudent.errors import InputError, one_line
from nnstudent.inference.segmenter import Segmenter
from nnstudent.io.atomic import write_json
from nnstudent.machine import environment
from nnstudent.pipeline.preset import load_preset

SIZES = (55, 100, 150, 215, 334, 448, 499, 554)  # slices of the scans in the paper's Table 5
SECONDS = 600.0


def steps(setting: Setting) -> dict[str, Any]:
    """Training steps per second of the paper's networks, by how they are run."""
    preset = load_preset("paper")
    found: dict[str, Any] = {}
    for name, recipe in (("teacher", preset.teachers), ("student", preset.student)):
        ways: dict[str, dict[str, Any]] = {
            "plain": {},
            "benchmark": {"benchmark": True},
            "benchmark, batch 4": {"benchmark": True, "batch": 4},
            "benchmark, compiled": {"benchmark": True, "compiled": True},
        }
        for label, how in ways.items():
            key = f"{name}: {label}"
            if how.get("compiled") and setting.quick:  # a compiler takes longer than all the rest
                continue
            try:
                found[key] = round(step_rate(recipe, setting, **how), 3)
            except Exception as error:  # out of memory, or no compiler: the others are measured
                found[key] = f"failed: {one_line(error)}"
    return found


def label(setting: Setting) -> dict[str, Any]:
    """A scan labeled by five folds: summed on the device, and as before on the processor."""
    teacher = paper_teacher(setting)
    engines = [teacher.segmenter.engine_of(0, fold) for fold in range(5)]
    scan = noise_scan(setting, slices=100)
    results, seconds = {}, {}
    for place in ("device", "host"):
        for engine in engines:
            engine.sums_on_device = place == "device"  # type: ignore[attr-defined]
        if place == "device":  # the first windows load kernels
            teacher.predict(noise_scan(setting, slices=16))
        began = time.perf_counter()
        results[place] = teacher.predict(scan)
        seconds[place] = round(time.perf_counter() - began, 2)
    small = noise_scan(setting, slices=24, plane=setting.size(96, 20))
    on_cpu = paper_teacher(setting, device="cpu").predict(small)
    return {
        "voxels": list(scan.grid.shape[::-1]),
        "seconds_summed_on_device": seconds["device"],
        "seconds_summed_on_host": seconds["host"],
        "same_labels_device_and_host": same(results["device"].labels, results["host"].labels),
        "same_labels_as_cpu": same(teacher.predict(small).labels, on_cpu.labels),
    }


def sizes(setting: Setting) -> dict[str, Any]:
    """The paper's Table 5: seconds, peak memory and area, for organs and tumor in turn."""
    segmenter = Segmenter(untrained_model(setting, tumor=True), engine="torch", device=setting.name)
    segmenter(noise_scan(setting, slices=SIZES[0]))
    found = {}
    for slices in SIZES[:2] if setting.quick else SIZES:
        scan = noise_scan(setting, slices=slices, thickness_mm=THICKNESS_MM[slices])
        with MemoryCurve(setting) as curve:
            segmenter(scan)
        found["×".join(map(str, scan.grid.shape[::-1]))] = curve.result
    return found


def segment(setting: Setting) -> dict[str, Any]:
    """The bundled student on the device and on the processor: the same labels?"""
    from nnstudent.io.nifti import read_image
    from nnstudent.phantom import make_cohort

    cohort = make_cohort(setting.work / "patient", cases=1, seed=2, preset="tiny")
    image = read_image(cohort.cases[0].image)
    labels, seconds = [], []
    for device, engine in ((setting.name, "torch"), ("cpu", "openvino")):
        segmenter = Segmenter(None, engine=engine, device=device, precision="fp32")
        segmenter(image)
        began = time.perf_counter()
        labels.append(segmenter(image).labels.array)
        seconds.append(round(time.perf_counter() - began, 3))
    return {
        "seconds_device": seconds[0],
        "seconds_cpu": seconds[1],
        "same_labels_as_cpu": same(*labels),
        "foreground_voxels": int((labels[1] > 0).sum()),
    }


def demo(setting: Setting) -> dict[str, Any]:
    """The demo path on the device: phantoms, teachers, pseudo-labels, a student, its scores."""
    from nnstudent.data_files import read_json_table
    from nnstudent.phantom import make_cohort
    from nnstudent.pipeline.run import run

    source, out = setting.work / "phantoms", setting.work / "run"
    make_cohort(source, cases=setting.size(16, 6), seed=1, preset="tiny")
    preset = setting.work / "preset.toml"
    fewer = "\n[student.training]\nepochs = 1\niterations = 2\n" if setting.quick else ""
    preset.write_text(f'like = "demo"\n{fewer}')
    began = time.perf_counter()
    made = run(source, out, preset=preset, device=setting.name)
    scores = read_json_table(out / "scores" / "student.json", what="scores")
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "stages": {row.name: row.state for row in made.stages},
        "organ_dsc": scores["mean"]["organs"]["dsc"],
    }


SECTIONS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "segment": segment,
    "steps": steps,
    "label": label,
    "sizes": sizes,
    "demo": demo,
}


def main(argv: list[str] | None = None) -> int:
    """Run the sections; the exit code is 0 if all of them ended, 2 if there is no such device."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, A,B (default: all)")
    parser.add_argument("--json", type=Path, default=ROOT / "runs" / "gpu-check.json")
    args = parser.parse_args(argv)
    chosen = args.only.split(",")
    if unknown := [name for name in chosen if name not in SECTIONS]:
        print(f"--only {unknown[0]}: expected some of {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    import torch

    if args.device == "cuda" and not torch.cuda.is_available():
        print("gpu-check: torch finds no CUDA device here; nothing was checked", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as work:
        setting = Setting(args.device, args.quick, Path(work))
        report = check(setting, chosen, save=lambda found: write_json(args.json, found))
    print("\n".join(table(report)))
    print(f"as JSON: {args.json}")
    failed = [name for name in chosen if "failed" in report["sections"][name]]
    return 1 if failed else 0


def check(
    setting: Setting, chosen: list[str], *, save: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Run the sections; what there is so far is saved after each."""
    began, found = time.monotonic(), {}
    for name in chosen:
        if time.monotonic() - began > SECONDS:
            found[name] = {"failed": f"left out: {SECONDS / 60:.0f} minutes are over"}
            continue
        try:
            print(f"{name} …", file=sys.stderr, flush=True)
            found[name] = SECTIONS[name](setting)
        except Exception as error:  # whatever a driver raises is what this script is to find out
            found[name] = {"failed": one_line(error)}
        minutes = round((time.monotonic() - began) / 60, 2)
        report = {
            "environment": environment(),
            "device": setting.name,
            "quick": setting.quick,
            "minutes": minutes,
            "sections": found,
        }
        save(report)
    if not found:
        raise InputError("no section was chosen")
    return report


def table(report: dict[str, Any]) -> list[str]:
    """A table in Markdown, for docs/results.md."""
    gpus = ", ".join(report["environment"]["gpus"] or []) or "no GPU"
    lines = [f"| {report['device']} ({gpus}) | |", "|---|---|"]
    for name, section in report["sections"].items():
        for key, value in section.items():
            shown = value
            if isinstance(value, dict):
                shown = ", ".join(f"{what} {item}" for what, item in value.items())
            lines.append(f"| {name}: {str(key).replace('_', ' ')} | {shown} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
