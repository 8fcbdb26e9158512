"""What the verbs about label maps, quality and models take, damaged: each with its other
arguments sound."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import shutil
import zipfile
from pathlib import Path
from random import Random

import pydicom

from tests.faults.damage import harm, harm_json, harm_text
from tests.faults.formats import zip_of
from tests.faults.models import Touch, name_code
from tests.faults.outcome import Attack, Result

_CLASS_MAP = """\
title = "the other tool"
source = "somewhere"
[classes]
1 = "Leber"
2 = "Milz"
3 = "Aorta"
[flare23]
"Leber" = "liver"
"Milz" = ["spleen"]
"Aorta" = "aorta"
"""


def quality(chance: Random, folder: Path, sound: Path) -> Attack:
    """Tables of results that ``qc`` sorts, of which rows, columns or bytes are wrong."""
    made = folder / "in"
    shutil.copytree(sound / "results", made)
    path = made / "statistics.csv"
    text = path.read_text()
    one = "\n".join(line for line in text.splitlines() if not line.startswith(("part", "bare")))
    if chance.random() < 0.4:  # a table for each case, as segment writes of one
        path.unlink()
        (made / "sound.csv").write_text(text.replace("full,", "sound,"))
        path = made / "full.csv"
    harmed = harm_text(one if path.name == "full.csv" else text, chance)
    path.write_bytes(harmed)
    more = ["--next", chance.choice(("1", "3", "99"))] if chance.random() < 0.4 else []
    strategies = ("quality", "uncertainty", "diversity", "random")
    more += ["--strategy", chance.choice(strategies)] if more and chance.random() < 0.3 else []

    def lost(result: Result) -> str | None:
        try:
            rows = list(csv.reader(io.StringIO(harmed.decode("utf-8", "replace"))))
        except csv.Error:
            rows = []
        told = result.out + result.err
        if path.name == "full.csv" and "full" not in told and path.name not in told and rows:
            return "the table of full was passed over without a word"
        return None

    argv = ["qc", str(made), *more]
    return Attack(argv, folder, made, ("in", path.name), lost=lost)


def calibration(chance: Random, folder: Path, sound: Path) -> Attack:
    """Corrected label maps that are damaged, too few, or not of these scans."""
    made = folder / "corrected"
    shutil.copytree(sound / "truth", made)
    _harm_image(chance.choice(sorted(made.iterdir())), chance)
    argv = ["qc", str(sound / "source"), "--calibrate", str(made), "-o", str(folder / "out")]
    model = ["--model", str(sound / "bundle"), "--threads", "1"]
    return Attack([*argv, *model], folder, folder / "out")


def audit(chance: Random, folder: Path, sound: Path) -> Attack:
    """Cohorts whose label maps, or the predictions beside them, are damaged."""
    made, out = folder / "in", folder / "out"
    shutil.copytree(sound / "source", made)
    predictions = folder / "predictions"
    shutil.copytree(sound / "predictions", predictions)
    cohort = folder / "cohort"
    shutil.copytree(sound / "cohort", cohort)
    path = cohort / "cohort.json"
    path.write_text(path.read_text().replace(str(sound / "source"), str(made)))
    which = chance.randrange(4)
    if which == 0:
        path.write_bytes(harm_json(path.read_text(), chance))
    elif which == 1:
        _harm_image(chance.choice(sorted(predictions.iterdir())), chance)
    else:
        _harm_image(chance.choice(sorted(made.glob("*.nii.gz"))), chance)
    more = ["--predictions", str(predictions)] if which == 1 or chance.random() < 0.3 else []
    more += chance.choice(([], [], ["--pictures", "0"], ["--pictures", "2"]))
    argv = ["audit", str(cohort), "-o", str(out), "--threads", "1", *more]
    return Attack([*argv, "--report", str(folder / "out.json")], folder, out)


def relabel(chance: Random, folder: Path, sound: Path) -> Attack:
    """Label maps, class maps and declared names that are damaged."""
    made, out = folder / "in", folder / "out"
    shutil.copytree(sound / "truth", made)
    table, class_map = str(sound / "source" / "table.toml"), folder / "map.toml"
    class_map.write_text(_CLASS_MAP)
    argv = ["relabel", str(made), "-o", str(out), "--threads", "1"]
    which, names = chance.randrange(4), ()
    if which == 0:
        path = chance.choice(sorted(made.iterdir()))
        _harm_image(path, chance)
        argv += ["--to", table]
        names = (path.name.partition(".")[0],)
    elif which == 1:
        class_map.write_bytes(harm_text(_CLASS_MAP, chance))
        argv += ["--map", str(class_map)]
    elif which == 2:
        labels = {"background": 0, "liver": 1, "spleen": 2, "aorta": 3}
        text = json.dumps({"labels": labels, "channel_names": {"0": "CT"}})
        (made / "dataset.json").write_bytes(harm_json(text, chance))
    else:  # files of one class each
        for case in sorted(made.iterdir()):
            (made / case.name.partition(".")[0]).mkdir()
            for name in ("liver", chance.choice(("spleen", "x", "Liver", "aorta_1", "\udce9"))):
                shutil.copy(case, made / case.name.partition(".")[0] / f"{name}.nii.gz")
            case.unlink()
    argv += chance.choice(([], [], ["--split"], ["--conflict", "agree"], ["--conflict", "last"]))
    report = ["--report", str(folder / "out.json")]

    def lost(result: Result) -> str | None:
        cases = len(list(made.glob("*.nii.gz"))) or len(list(made.iterdir()))
        done = len(list(out.iterdir()))
        return None if done >= cases or result.err or "notice" in result.out else f"{done} done"

    return Attack([*argv, *report], folder, out, names, lost=lost)


def regions(chance: Random, folder: Path, sound: Path) -> Attack:
    """DICOM segmentations and structure sets, damaged as bytes or in their tags."""
    made = folder / "in"
    made.mkdir()
    source = chance.choice(sorted((sound / "objects").glob("*.dcm")))
    path = made / source.name
    if chance.random() < 0.5:
        path.write_bytes(harm(source.read_bytes(), chance))
    else:
        header = pydicom.dcmread(source)
        for _ in range(chance.choice((1, 1, 2))):
            _harm_object(header, chance)
        try:
            header.save_as(path)
        except Exception:
            path.write_bytes(source.read_bytes()[: chance.randrange(200, 3000)])
    out = folder / "out.nii.gz"
    argv = ["relabel", str(path), "-o", str(out), "--to", str(sound / "source" / "table.toml")]
    argv += ["--like", str(sound / "series")] if chance.random() < 0.7 else []
    return Attack(argv, folder, out, (path.name, path.name.partition(".")[0], "in"))


def _harm_object(header: pydicom.Dataset, chance: Random) -> None:
    """Change something at a random place of an object, however deep."""
    here = header
    for _ in range(chance.randrange(5)):
        inner = [element for element in here if element.VR == "SQ" and len(element.value)]
        if not inner:
            break
        here = chance.choice(list(chance.choice(inner).value))
    elements = [element for element in here if element.tag.group != 2]
    if not elements:
        return
    element = chance.choice(elements)
    match chance.randrange(4):
        case 0:
            del here[element.tag]
        case 1 if element.VR == "SQ":
            element.value = chance.choice(([], [pydicom.Dataset()], list(element.value)[:1]))
        case 2 if isinstance(element.value, bytes):
            element.value = element.value[: chance.randrange(len(element.value) + 1) // 2 * 2]
        case _:
            odd = chance.choice(("", "x", "0", "-1", "nan", "1e99", "9" * 12, "1\\2", "\n"))
            here[element.tag] = pydicom.DataElement(element.tag, "LO", odd)


def measured(chance: Random, folder: Path, sound: Path) -> Attack:
    """Label maps and images that ``stats`` measures, damaged, or on other grids."""
    made, images = folder / "in", folder / "images"
    shutil.copytree(sound / "truth", made)
    images.mkdir()
    for path in sorted(made.iterdir()):
        shutil.copy(sound / "source" / path.name, images / path.name)
    path = chance.choice(sorted(made.iterdir()) + sorted(images.iterdir()))
    _harm_image(path, chance)
    out = folder / "out.csv"
    argv = [
        "stats",
        str(made),
        "--taxonomy",
        str(sound / "source" / "table.toml"),
        "--threads",
        "1",
    ]
    argv += ["--images", str(images)] if path.parent == images or chance.random() < 0.5 else []
    argv += ["-o", str(out)] if chance.random() < 0.7 else []
    argv += chance.choice(([], ["--wide"], ["--classes", "liver"]))

    def lost(result: Result) -> str | None:
        told = result.out + (out.read_text() if out.is_file() else "")
        missing = [p.name.partition(".")[0] for p in made.iterdir()]
        missing = [id for id in missing if id not in told + result.err]
        return f"{missing} not measured, and not a word" if missing else None

    return Attack(argv, folder, out, (path.name.partition(".")[0], "in", "images"), lost=lost)


def distill(chance: Random, folder: Path, sound: Path) -> Attack:
    """What a distillation begins with: scans, teachers, class maps, presets."""
    scans, out = folder / "in", folder / "out"
    scans.mkdir()
    for id in ("full", "bare"):
        shutil.copy(sound / "source" / f"{id}.nii.gz", scans)
    teacher, more = sound / "bundle", []
    which = chance.randrange(5)
    if which == 0:
        _harm_image(scans / "full.nii.gz", chance)
    elif which == 1:
        teacher = folder / "teacher"
        shutil.copytree(sound / "model", teacher)
        path = teacher / chance.choice(("plans.json", "dataset.json"))
        path.write_bytes(harm_json(path.read_text(), chance))
    elif which == 2:
        (folder / "map.toml").write_bytes(harm_text(_CLASS_MAP, chance))
        more = ["--map", str(folder / "map.toml")]
    elif which == 3:
        text = (sound / "source" / "preset.toml").read_bytes().decode()
        (folder / "preset.toml").write_bytes(harm_text(text, chance))
        more = ["--preset", str(folder / "preset.toml")]
    else:
        text = "id,image\nfull,full.nii.gz\nbare,bare.nii.gz\n"
        (scans / "scans.csv").write_bytes(harm_text(text, chance))
        scans = scans / "scans.csv"
    argv = ["distill", str(scans), "--teacher", str(teacher), "-o", str(out), "--dry-run", *more]
    return Attack(argv, folder, out)


def added(chance: Random, folder: Path, sound: Path) -> Attack:
    """Models and archives that are put into the store: damaged, unsafe, several, or with code."""
    canary = folder.with_name(folder.name + ".canary")
    source, store = folder / "in", folder / "store"
    shutil.copytree(sound / chance.choice(("model", "bundle")), source)
    given: Path | str = source
    if chance.random() < 0.4:
        _harm_model(source, chance, canary)
    if chance.random() < 0.6:
        given = folder / "in.zip"
        files: list[tuple[str | zipfile.ZipInfo, bytes]] = [
            (f"m/{path.relative_to(source)}", path.read_bytes())
            for path in sorted(source.rglob("*"))
            if path.is_file()
        ]
        match chance.randrange(6):
            case 0:
                files.append((chance.choice((f"../{canary.name}", str(canary), "m/../../x")), b"x"))
            case 1:
                files += [(f"n/{name[2:]}", data) for name, data in files if isinstance(name, str)]
            case 2:
                files = files[chance.randrange(len(files)) :]
            case 3:
                files.append(files[0])
        made = zip_of(files)
        given.write_bytes(harm(made, chance) if chance.random() < 0.4 else made)
    if chance.random() < 0.1:
        given = chance.choice(
            (
                "http://[",
                "https://x.invalid/m.zip",
                "file:///etc/passwd",
                "ftp://x",
                "://",
                "x" * 300,
            )
        )
    argv = [
        "model",
        "add",
        str(given),
        "--name",
        chance.choice(("m", "m", "m", "../m", "", "M", "a\nb")),
    ]
    argv += chance.choice(([], [], [], ["--sha256", "0" * 64], ["--sha256", "x"]))
    environment = {"NNSTUDENT_MODELS": str(store)}
    return Attack(argv, folder, store, canary=canary, environment=environment)


def _harm_model(source: Path, chance: Random, canary: Path) -> None:
    checkpoint, plans = source / "fold_0" / "checkpoint_final.pth", source / "plans.json"
    if checkpoint.is_file() and chance.random() < 0.3:
        checkpoint.write_bytes(pickle.dumps(Touch(canary, chance.randrange(5)), protocol=2))
    elif plans.is_file() and chance.random() < 0.4:
        data = json.loads(plans.read_text())
        name_code(data, chance, canary)
        plans.write_text(json.dumps(data))
    else:
        path = chance.choice(sorted(p for p in source.rglob("*") if p.is_file()))
        path.write_bytes(harm(path.read_bytes(), chance))


def _harm_image(path: Path, chance: Random) -> None:
    """Damage a packed image as bytes, as voxels or in its header."""
    packed = path.read_bytes()
    match chance.randrange(4):
        case 0:
            path.write_bytes(packed[: chance.randrange(len(packed))])
        case 1:
            path.write_bytes(harm(packed, chance))
        case 2:
            raw = gzip.decompress(packed)
            path.write_bytes(gzip.compress(harm(raw, chance, within=352), 1, mtime=0))
        case _:
            path.write_bytes(gzip.compress(harm(gzip.decompress(packed), chance), 1, mtime=0))
