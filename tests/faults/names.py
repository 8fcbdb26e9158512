"""Names that programs stumble over, and things that are no files."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from random import Random

from tests.faults.outcome import Attack, Result

_STEMS = (
    "x" * 240,
    "é" * 120,
    "caf\udce9",
    "\udcff\udcfe",
    "a\nb",
    "a\tb",
    "-o",
    "--help",
    "-",
    " ",
    " x ",
    "x.",
    "..x",
    ".hidden",
    "~",
    "$HOME",
    "`id`",
    "a'b\"c",
    "con",
    "漢字",
    "x\u202e",
    "e\u0301",
    "a;b|c",
    "%s%n",
    "img_0000",
    "x_0001",
    "a\\b",
    "*",
    "[x]",
    "{x}",
    "x,y",
    "x=y",
    "\x1b[31m",
    "x.nii",
    "x.nii.gz",
)


def names(chance: Random, folder: Path, sound: Path) -> Attack:
    """Files, folders and outputs of odd names."""
    stem = chance.choice(_STEMS)
    inputs = folder / "in"
    inputs.mkdir()
    path = inputs / f"{stem}.nii.gz"
    how = chance.randrange(6)
    bundle = ["--model", str(sound / "bundle"), "--threads", "1"]
    if how == 0:
        return Attack(
            ["segment", str(_copy(sound, path)), "-o", str(folder / "out.nii.gz"), *bundle],
            folder,
            folder / "out.nii.gz",
        )
    if how == 1:
        _copy(sound, path)
        _copy(sound, inputs / "sound.nii.gz")

        def lost(result: Result) -> str | None:
            done = len(list((folder / "out").glob("*.nii.gz"))) + len(
                list((folder / "out").glob(".*.nii.gz"))
            )
            return (
                None
                if done == 2 or "passed over" in result.err or "hidden" in result.err
                else f"{done} of 2 segmented"
            )

        return Attack(
            ["segment", str(inputs), "-o", str(folder / "out"), *bundle],
            folder,
            folder / "out",
            lost=lost,
        )
    if how == 2:
        out = folder / "out" / f"{stem}.nii.gz"
        return Attack(
            ["segment", str(sound / "ct.nii.gz"), "-o", str(out), *bundle], folder, folder / "out"
        )
    if how == 3:
        for place in ("predictions", "truth"):
            (folder / place).mkdir()
            shutil.copy(sound / "truth" / "full.nii.gz", folder / place / f"{stem}.nii.gz")
        report = folder / "out.json"
        argv = [
            "evaluate",
            str(folder / "predictions"),
            str(folder / "truth"),
            "--report",
            str(report),
            "--csv",
            str(folder / "out.csv"),
        ]
        return Attack(argv, folder, report)
    if how == 4:
        _copy(sound, path)
        (folder / "cases.csv").write_bytes(b"image\nin/" + os.fsencode(path.name) + b"\n")
        return Attack(
            ["index", str(folder / "cases.csv"), "-o", str(folder / "out"), "--threads", "1"],
            folder,
            folder / "out",
        )
    series = inputs / stem
    shutil.copytree(sound / "series", series)
    argv = [
        "segment",
        str(series),
        "-o",
        str(folder / "out"),
        *bundle,
        "--format",
        chance.choice(("nifti", "nifti,dicom-seg", "seg.nrrd")),
    ]
    if argv[-1] == "nifti":
        argv[3] = str(folder / "out.nii.gz")
    return Attack(argv, folder, folder / "out")


def no_files(chance: Random, folder: Path, sound: Path) -> Attack:
    """Pipes, sockets, folders, devices, dead links and loops where a file is expected, or among the
    files."""
    kind = chance.choice(
        ("pipe", "socket", "folder", "dead", "loop", "device", "missing", "endless")
    )
    verb = chance.randrange(9)
    name = (
        "x.nii.gz",
        "x.nii.gz",
        "x.dcm",
        "full.nii.gz",
        "cases.csv",
        "dataset.json",
        "cohort.json",
        "preset.toml",
        "checkpoint_final.pth",
    )[verb]
    inputs, out = folder / "in", folder / "out"
    inputs.mkdir()
    source = {2: "series", 5: "model", 6: "cohort", 8: "model"}.get(verb)
    if source:
        shutil.copytree(sound / source, inputs, dirs_exist_ok=True)
    path = inputs / ("fold_0" if verb == 8 else ".") / name
    path.unlink(missing_ok=True)
    _make_odd(path, kind)
    bundle = ["--model", str(sound / "bundle"), "--threads", "1"]
    argv = (
        ["segment", str(path), "-o", str(folder / "out.nii.gz"), *bundle],
        ["segment", str(inputs), "-o", str(out), *bundle],
        ["segment", str(inputs), "-o", str(folder / "out.nii.gz"), *bundle],
        ["evaluate", str(inputs), str(sound / "truth")],
        ["index", str(path), "-o", str(out)],
        ["export", str(inputs), "-o", str(out)],
        ["label", str(inputs), "-o", str(out), "--from", str(sound / "made")],
        ["study", str(sound / "fused"), "-o", str(out), "--preset", str(path), "--plan-only"],
        [
            "segment",
            str(sound / "ct.nii.gz"),
            "-o",
            str(folder / "out.nii.gz"),
            "--model",
            str(inputs),
            "--engine",
            "torch",
            "--threads",
            "1",
        ],
    )[verb]
    return Attack(argv, folder, out)


def _make_odd(path: Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
        os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    elif kind == "dead":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "endless":
        path.symlink_to("/dev/zero")


def _copy(sound: Path, path: Path) -> Path:
    shutil.copy(sound / "ct.nii.gz", path)
    return path
