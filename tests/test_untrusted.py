"""Files that nnStudent reads back, with any part replaced, give a value or a one-line error."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnstudent.bundle.bundle import read_bundle, sealed
from nnstudent.bundle.labels import has_regions
from nnstudent.bundle.plans import from_nnunet
from nnstudent.bundle.spec import NetworkSpec
from nnstudent.cohort.cohort import Case, Cohort, read_cohort, write_cohort
from nnstudent.cohort.ledger import LedgerRow, read_ledger, write_ledger
from nnstudent.cohort.sources import nnunet
from nnstudent.data_files import parse_json
from nnstudent.errors import Failure, InputError
from nnstudent.evaluation.declared import declared_table
from nnstudent.labels.class_maps import label_names
from nnstudent.pseudo.pseudo_label import PseudoLabel, read_pseudo_label
from nnstudent.taxonomy import Taxonomy, flare23
from nnstudent.training.design.search import Machine
from tests.inference.folders import ISOTROPIC, dataset, plans

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["liver", "torch.nn.ReLU", "../../x", "", -1, 0, 1e300]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(value, (*path, key))


def changed(data: Any, path: tuple[Any, ...], value: Any, *, how: str) -> Any:
    if not path:
        return value
    data = copy.deepcopy(data)
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    if how == "remove":
        del parent[path[-1]]
    elif how == "add" and isinstance(parent, dict):
        parent["surprise"] = value
    else:
        parent[path[-1]] = value
    return data


def cohort(folder: Path) -> Any:
    cases = (
        Case(
            "a",
            folder / "a.nii.gz",
            folder / "b.nii.gz",
            frozenset({"liver"}),
            True,
            "train",
            ("odd",),
        ),
        Case("b", folder / "b.nii"),
    )
    write_cohort(folder, Cohort(flare23(), cases, (Failure("c", "broken"),)))
    return json.loads((folder / "cohort.json").read_text())


def ledger(folder: Path) -> Any:
    write_ledger(
        folder / "ledger.jsonl", [LedgerRow("a", "liver", "pseudo", "m", 1, 0.5, "why", 0.1)]
    )
    return json.loads((folder / "ledger.jsonl").read_text())


def pseudo_label(folder: Path) -> Any:
    made = PseudoLabel(
        "a",
        "x",
        ("liver",),
        {"m": "h"},
        1,
        {"liver": 0.5},
        {"liver": 0.5},
        ("liver",),
        {"m": 5},
        1.0,
        {"liver": 2.0},
        (0.1,),
    )
    return made.to_dict() | {"made_from": "x"}


def bundle(folder: Path) -> Any:
    spec = from_nnunet(plans(ISOTROPIC), dataset(("liver",)), configuration="3d_fullres", name="m")[
        0
    ].to_dict()
    (folder / "networks").mkdir(exist_ok=True)
    for suffix in (".xml", ".bin"):
        (folder / "networks" / f"n{suffix}").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    files = {f"networks/n{suffix}": empty for suffix in (".xml", ".bin")}
    return {
        "format": 1,
        "made_by": "x",
        "networks": [{"name": "n", "spec": spec, "files": files}],
        "taxonomy": flare23().to_dict(),
        "card": {},
    }


def _write(folder: Path, name: str, data: Any) -> Path:
    (folder / name).write_text(json.dumps(data))
    return folder


def _read_pseudo_label(folder: Path, data: Any) -> Any:
    (folder / "a.nii.gz").write_bytes(b"")
    return read_pseudo_label(_write(folder, "a.json", data), "a")


def _read_bundle(folder: Path, data: Any) -> Any:
    return read_bundle(
        _write(folder, "bundle.json", sealed(data) if isinstance(data, dict) else data)
    )


def _read_plans(folder: Path, data: Any) -> Any:
    text = parse_json(json.dumps(data), where="plans.json", what="x")
    return (
        from_nnunet(text, dataset(("liver",)), configuration="3d_fullres", name="plans.json")
        if isinstance(text, dict)
        else None
    )


def _read_labels(folder: Path, data: Any) -> Any:
    declared_table(_write(folder, "dataset.json", data))
    if isinstance(data, dict) and not has_regions(data):
        label_names(data, where=folder / "dataset.json")
    return from_nnunet(plans(ISOTROPIC), data, configuration="3d_fullres", name="dataset.json")


def _raw_dataset(folder: Path, data: Any) -> Any:
    (folder / "imagesTr").mkdir(exist_ok=True)
    return nnunet.read(_write(folder, "dataset.json", data))


# What a valid document is, and how it is read.
READERS: dict[str, tuple[Callable[[Path], Any], Callable[[Path, Any], Any]]] = {
    "cohort.json": (cohort, lambda folder, data: read_cohort(_write(folder, "cohort.json", data))),
    "ledger.jsonl": (
        ledger,
        lambda folder, data: read_ledger(_write(folder, "ledger.jsonl", data) / "ledger.jsonl"),
    ),
    "a.json": (pseudo_label, _read_pseudo_label),
    "bundle.json": (bundle, _read_bundle),
    "plans.json": (lambda folder: plans(ISOTROPIC), _read_plans),
    "dataset.json": (lambda folder: dataset(("liver", "spleen")), _read_labels),
    "dataset.json of regions": (lambda folder: dataset((), regions=True), _read_labels),
    "dataset.json with images": (lambda folder: dataset(("liver", "spleen")), _raw_dataset),
    "table": (
        lambda folder: flare23().to_dict(),
        lambda folder, data: Taxonomy.from_dict(data) if isinstance(data, dict) else None,
    ),
    "calibration.json": (
        lambda folder: {
            "name": "x",
            "network_seconds": {"plain 8": 1.0},
            "scan_seconds": 1,
            "grid_seconds": 1.0,
            "base_mb": 3.0,
        },
        lambda folder, data: Machine.from_dict(data, where="calibration.json"),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_the_documents_are_valid_as_they_are(name: str, tmp_path: Path) -> None:
    make, read = READERS[name]
    read(tmp_path, make(tmp_path))


@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(draw=st.data())
def test_anything_in_place_of_any_part_is_read_or_refused(
    name: str, tmp_path: Path, draw: st.DataObject
) -> None:
    make, read = READERS[name]
    document = make(tmp_path)
    path = draw.draw(st.sampled_from(list(places(document))))
    data = changed(
        document,
        path,
        draw.draw(anything),
        how=draw.draw(st.sampled_from(["replace", "remove", "add"])),
    )
    try:
        read(tmp_path, data)
    except InputError as error:
        text = str(error)
    else:
        text = name
    assert "\n" not in text
    assert name.split()[0] in text


def test_a_spec_survives() -> None:
    spec = from_nnunet(plans(ISOTROPIC), dataset(("liver",)), configuration="3d_fullres", name="m")[
        0
    ]
    assert NetworkSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
