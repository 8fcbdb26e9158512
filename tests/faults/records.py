"""Lists, tables, presets and records that other programs, people or a failing disk wrote wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.faults.damage import harm, harm_json, harm_text
from tests.faults.outcome import Attack


def cohort_list(chance: Random, folder: Path, sound: Path) -> Attack:
    """A cohort's list, as CSV or TOML."""
    name = chance.choice(("cases.csv", "cases.toml"))
    source = folder / "in"
    shutil.copytree(sound / "source", source)
    _harm(source / name, chance)
    more = ["--taxonomy", str(source / "table.toml")] if chance.random() < 0.8 else []
    return Attack(
        ["index", str(source / name), "-o", str(folder / "out"), "--threads", "1", *more],
        folder,
        folder / "out",
        (),
    )


def cohort(chance: Random, folder: Path, sound: Path) -> Attack:
    """``cohort.json``, and what the index remembers, before every verb that reads a cohort."""
    made, out = folder / "in", folder / "out"
    shutil.copytree(sound / "cohort", made)
    name = chance.choice(("cohort.json",) * 5 + ("checks.jsonl",))
    _harm(made / name, chance)
    preset = str(sound / "source" / "preset.toml")
    if name == "checks.jsonl":
        table = str(sound / "source" / "table.toml")
        return Attack(
            [
                "index",
                str(sound / "source" / "cases.csv"),
                "-o",
                str(made),
                "--threads",
                "1",
                "--taxonomy",
                table,
            ],
            folder,
            made,
        )
    argv = chance.choice(
        (
            ["teach", str(made), "-o", str(out), "--preset", preset, "--plan-only"],
            ["study", str(made), "-o", str(out), "--preset", preset, "--plan-only"],
            ["label", str(made), "-o", str(out), "--from", str(sound / "made")],
            ["select", str(made), str(sound / "pseudo"), "-o", str(out)],
            ["evaluate", str(sound / "predictions"), str(made)],
            ["evaluate", str(sound / "predictions"), str(sound / "truth"), "--cohort", str(made)],
            ["index", str(made), "-o", str(out), "--threads", "1"],
            ["run", str(made), "-o", str(out), "--preset", preset, "--dry-run"],
        )
    )
    return Attack(argv, folder, out, ())


def pseudo(chance: Random, folder: Path, sound: Path) -> Attack:
    """The records beside pseudo-labels, when they are selected and when labeling goes on."""
    made, out = folder / "in", folder / "out"
    shutil.copytree(sound / "pseudo", made)
    _harm(chance.choice(sorted(made.glob("*.json"))), chance)
    if chance.random() < 0.7:
        argv = ["select", str(sound / "cohort"), str(made), "-o", str(out)]
        argv += chance.choice(
            ([], ["--leave-open"], ["--max-change", "0.5"], ["--min-confidence", "0.1"])
        )
        return Attack(argv, folder, out, ())
    if chance.random() < 0.5:
        return Attack(
            ["label", str(sound / "cohort"), "-o", str(made), "--from", str(sound / "made")],
            folder,
            made,
            (),
        )
    argv = [
        "label",
        str(sound / "cohort"),
        "-o",
        str(out),
        "--from",
        str(sound / "made"),
        "--before",
        str(made),
    ]
    return Attack(argv, folder, out, ())


def fused(chance: Random, folder: Path, sound: Path) -> Attack:
    """What ``select`` wrote: the ledger, records, the raw dataset; before ``study`` and before
    ``select`` again."""
    made, out = folder / "in", folder / "out"
    shutil.copytree(sound / "fused", made)
    _harm(
        chance.choice(
            sorted(path for path in made.rglob("*") if path.suffix in (".json", ".jsonl"))
        ),
        chance,
    )
    if chance.random() < 0.5:
        return Attack(
            [
                "select",
                str(sound / "cohort"),
                str(sound / "pseudo"),
                "-o",
                str(made),
                "--leave-open",
            ],
            folder,
            made,
            (),
        )
    argv = [
        "study",
        str(made),
        "-o",
        str(out),
        "--preset",
        str(sound / "source" / "preset.toml"),
        "--plan-only",
    ]
    return Attack(argv, folder, out, ())


def preset(chance: Random, folder: Path, sound: Path) -> Attack:
    """Presets and recipes."""
    path = folder / "preset.toml"
    shutil.copy(sound / "source" / "preset.toml", path)
    _harm(path, chance)
    verb = chance.choice(("teach", "study", "run", "select"))
    out = folder / "out"
    if verb == "select":
        argv = [
            "select",
            str(sound / "cohort"),
            str(sound / "pseudo"),
            "-o",
            str(out),
            "--preset",
            str(path),
        ]
    else:
        source = sound / ("fused" if verb == "study" else "cohort")
        argv = [
            verb,
            str(source),
            "-o",
            str(out),
            "--preset",
            str(path),
            "--dry-run" if verb == "run" else "--plan-only",
        ]
    return Attack(argv, folder, out, ())


def label_table(chance: Random, folder: Path, sound: Path) -> Attack:
    """Label tables of the user's own."""
    path, out = folder / "table.toml", folder / "out"
    shutil.copy(sound / "source" / "table.toml", path)
    _harm(path, chance)
    argv = chance.choice(
        (
            ["index", str(sound / "source" / "cases.csv"), "-o", str(out), "--threads", "1"],
            ["evaluate", str(sound / "predictions"), str(sound / "truth")],
            [
                "segment",
                str(sound / "ct.nii.gz"),
                "-o",
                str(folder / "out.nii.gz"),
                "--model",
                str(sound / "bundle"),
                "--threads",
                "1",
            ],
            ["export", str(sound / "model"), "-o", str(out)],
        )
    )
    return Attack([*argv, "--taxonomy", str(path)], folder, out, ())


def raw_dataset(chance: Random, folder: Path, sound: Path) -> Attack:
    """``dataset.json`` of a raw dataset, indexed or evaluated against."""
    made, out = folder / "in", folder / "out"
    shutil.copytree(sound / "raw" / "Dataset001_Small", made)
    _harm(made / "dataset.json", chance)
    if chance.random() < 0.7:
        return Attack(["index", str(made), "-o", str(out), "--threads", "1"], folder, out, ())
    return Attack(["evaluate", str(made / "labelsTr"), str(made / "labelsTr")], folder, None, ())


def run_folder(chance: Random, folder: Path, sound: Path) -> Attack:
    """A run's folder, reported as HTML, Markdown and LaTeX."""
    made = folder / "in"
    shutil.copytree(sound / "run", made)
    files = sorted(path for path in made.rglob("*") if path.suffix in (".json", ".jsonl"))
    for path in chance.sample(files, chance.choice((1, 1, 2, 4))):
        _harm(path, chance)
    out = folder / chance.choice(("out.md", "out.md", "out.md", "out.tex", "out.html"))
    return Attack(["report", str(made), "-o", str(out)], folder, out, ())


def scores(chance: Random, folder: Path, sound: Path) -> Attack:
    """The other settings that are files: a model card's facts, hosts of lesions, a calibration."""
    path, out = folder / "in.json", folder / "out"
    text = chance.choice(
        (
            '{"training_data": ["phantoms"], "cases": 7}',
            '{"liver": {"threshold": 0.5, "least_ml": 0.3}}',
            '{"schema": 1, "seconds": {"a": 1.5}, "windows": [[1, 2, 3]]}',
        )
    )
    path.write_text(text)
    _harm(path, chance)
    argv = chance.choice(
        (
            ["export", str(sound / "model"), "-o", str(out), "--card", str(path)],
            [
                "export",
                str(sound / "model"),
                "-o",
                str(out),
                "--behind",
                str(sound / "bundle"),
                "--hosts",
                str(path),
            ],
            [
                "study",
                str(sound / "fused"),
                "-o",
                str(out),
                "--plan-only",
                "--budget-seconds",
                "5",
                "--calibration",
                str(path),
            ],
        )
    )
    return Attack(argv, folder, out, ("in.json",) if "--calibration" in argv else ())


def _harm(path: Path, chance: Random) -> None:
    text = path.read_text("utf-8")
    how: Callable[[str, Random], bytes] = harm_text
    if path.suffix == ".json":
        how = harm_json
    elif path.suffix == ".jsonl":
        lines = text.splitlines()
        at = chance.randrange(len(lines))
        lines[at] = (
            harm_json(lines[at], chance).decode("utf-8", "surrogateescape").replace("\n", " ")
        )
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
        return
    path.write_bytes(how(text, chance) if chance.random() < 0.95 else harm(text.encode(), chance))
