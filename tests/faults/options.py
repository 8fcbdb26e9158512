"""Options with odd values."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

from tests.faults.outcome import Attack

_OPTIONS = {
    "segment": (
        "--engine",
        "--precision",
        "--windows",
        "--postprocess",
        "--threads",
        "--memory-limit",
        "--taxonomy",
        "--organs",
        "--format",
        "--series",
        "--model",
        "--device",
        "-o",
        "--report",
    ),
    "index": ("--taxonomy", "--annotated", "--skip", "--threads", "--report", "-o"),
    "evaluate": (
        "--protocol",
        "--cohort",
        "--taxonomy",
        "--classes",
        "--cases",
        "--against",
        "--seed",
        "--csv",
        "--report",
    ),
    "label": (
        "--map",
        "--decision",
        "--part",
        "--round",
        "--before",
        "--report",
        "-o",
        "--from",
        "--threads",
    ),
    "select": (
        "--preset",
        "--min-agreement",
        "--min-confidence",
        "--max-change",
        "--ignore-below",
        "--classes",
        "--report",
        "-o",
    ),
    "study": (
        "--preset",
        "--device",
        "--threads",
        "--report",
        "--start",
        "--only",
        "--budget-seconds",
        "--budget-memory",
        "--calibration",
        "-o",
    ),
    "teach": ("--target", "--fold", "--preset", "--device", "--threads", "-o"),
    "export": (
        "--overlay",
        "--second",
        "--near",
        "--behind",
        "--hosts",
        "--fold",
        "--taxonomy",
        "--card",
        "--calibration",
        "--report",
        "-o",
    ),
    "report": ("-o", "--format"),
    "phantom": (
        "--cases",
        "--seed",
        "--slices",
        "--full",
        "--tumor",
        "--partial",
        "--unlabeled",
        "--test",
        "--report",
    ),
    "profile": ("--json", "--plot", "--gpu"),
    "doctor": ("--report",),
    "qc": ("--next", "--strategy", "--calibrate", "--report", "--threads", "--model", "-o"),
    "audit": ("--predictions", "--classes", "--pictures", "--report", "--threads", "-o"),
    "relabel": ("--map", "--to", "--conflict", "--like", "--report", "--threads", "-o"),
    "stats": ("--images", "--taxonomy", "--classes", "--report", "--threads", "-o"),
    "distill": (
        "--teacher",
        "--start",
        "--classes",
        "--map",
        "--taxonomy",
        "--preset",
        "--rounds",
        "--device",
        "--threads",
        "--report",
        "-o",
    ),
    "model": ("--name", "--sha256"),
    "info": ("--model", "--schema"),
}
_ODD = (
    "",
    " ",
    "0",
    "-1",
    "nan",
    "inf",
    "1e99",
    "9" * 5000,
    "x",
    "\udce9",
    "a\nb",
    "../..",
    "/dev/null",
    "/dev/full",
    "/proc/x",
    "/",
    ".",
    "liver",
    "liver,,",
    ",",
    "liver=1",
    "=",
    "1/0",
    "0/2",
    "3/2",
    "1/x",
    "2GB",
    "-2GB",
    "0GB",
    "1e-9GB",
    "full=all",
    "*=x",
    "[=x",
    "none",
    "all",
    "x" * 300,
    "é",
    "1.5",
    "-0",
    "0x10",
    "--",
    "١",
)


def options(chance: Random, folder: Path, sound: Path) -> Attack:
    """Every verb with odd values of its options."""
    verb, out = chance.choice(sorted(_OPTIONS)), folder / "out"
    base, environment = _sound_words(folder, sound)[verb], {}
    if verb == "qc":  # it writes beside what it reads
        shutil.copytree(sound / "results", folder / "results")
    if verb == "model":
        out, environment = folder / "store", {"NNSTUDENT_MODELS": str(folder / "store")}
    more = []
    chosen = _OPTIONS[verb]
    for option in chance.sample(chosen, min(len(chosen), chance.choice((1, 1, 2)))):
        value = chance.choice(_ODD)
        if option in ("-o", "--report", "--csv", "--json", "--plot"):
            value = _place(folder, value)
        elif verb == "phantom" and option not in ("--seed", "--report"):
            value = chance.choice(("0", "-1", "x", "1.5", "9" * 5000, "", "1"))
        more.append(f"{option}={value}" if option.startswith("--") else f"{option}{value}")
    argv = [verb, *more, *base] if verb == "profile" else [verb, *base, *more]
    return Attack(
        argv, folder, folder / "results" if verb == "qc" else out, environment=environment
    )


def _sound_words(folder: Path, sound: Path) -> dict[str, list[str]]:
    """What each verb is called with beside the odd options."""
    out = folder / "out"
    return {
        "segment": [
            str(sound / "ct.nii.gz"),
            "-o",
            str(folder / "out.nii.gz"),
            "--model",
            str(sound / "bundle"),
            "--threads",
            "1",
        ],
        "index": [str(sound / "source" / "cases.csv"), "-o", str(out), "--threads", "1"],
        "evaluate": [str(sound / "predictions"), str(sound / "truth")],
        "label": [str(sound / "cohort"), "-o", str(out), "--from", str(sound / "made")],
        "select": [str(sound / "cohort"), str(sound / "pseudo"), "-o", str(out)],
        "study": [
            str(sound / "fused"),
            "-o",
            str(out),
            "--preset",
            str(sound / "source" / "preset.toml"),
            "--plan-only",
        ],
        "teach": [
            str(sound / "cohort"),
            "-o",
            str(out),
            "--preset",
            str(sound / "source" / "preset.toml"),
            "--plan-only",
        ],
        "export": [str(sound / "model"), "-o", str(out)],
        "report": [str(sound / "run"), "-o", str(folder / "out.md")],
        "phantom": [str(out), "--preset", "tiny", "--cases", "1", "--slices", "8"],
        "profile": ["--", "true"],
        "doctor": [],
        "qc": [str(folder / "results")],
        "audit": [str(sound / "cohort"), "-o", str(out), "--pictures", "0"],
        "relabel": [str(sound / "truth"), "-o", str(out)],
        "stats": [str(sound / "truth")],
        "distill": [str(sound / "source" / "cases.csv"), "-o", str(out), "--dry-run"],
        "model": ["add", str(sound / "model"), "--name", "m"],
        "info": [],
    }


def _place(folder: Path, value: str) -> str:
    """Where to write: never outside of the folder, not even by a fault of what is tested: it may
    run as root."""
    if value in ("", "/proc/x"):
        return value
    if value.startswith("/dev/"):
        link = folder / "device"
        if not link.is_symlink():
            link.symlink_to(value)
        return str(link)
    return str(folder / "out" / value.replace("/", "|").replace("..", "dots"))
