from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from nnstudent.bundle import graph

# Before torch is imported, here and in what tests start: threads that wait for each other would
# otherwise keep a core busy that another worker needs, which made some tests five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples each time, so that no test fails by chance.
settings.register_profile("same", derandomize=True, deadline=None, max_examples=30)
# Other examples each time: for developers, and for `make test-faults`.
settings.register_profile("dev", deadline=None, max_examples=30)
# It looks for what thirty examples miss, and takes an hour.
settings.register_profile("many", deadline=None, max_examples=500)
# A few examples each: which lines run shows after the first ones, and measuring coverage makes each
# several times as slow.
settings.register_profile("few", derandomize=True, deadline=None, max_examples=5)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "same")

# What is started in the background of a script ignores the keyboard, and so would what tests start
# and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real CT; tests that need it are skipped without it."""
    folder = Path(os.environ.get("NNSTUDENT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real CT at {folder}; set NNSTUDENT_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="session", autouse=True)
def networks_converted_once() -> Iterator[None]:
    """Convert networks of the same weights to OpenVINO once, which takes a second each time."""
    convert, known = graph.convert, {}

    def convert_once(module: Any, spec: Any) -> Any:
        weights = sha256(repr(spec).encode())
        for name, values in module.state_dict().items():
            weights.update(name.encode())
            weights.update(values.detach().cpu().numpy().tobytes())
        key = (type(module), weights.digest())
        if key not in known:
            known[key] = convert(module, spec)
        return known[key].clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "convert", convert_once)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file with one worker, and those of phantoms, which share their abdomens.

    Files with slow tests come first, so that with several workers none of them is left alone at the
    end.
    """
    slow = {_file(item) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: _file(item) not in slow)
    for item in items:
        file = _file(item)
        group = "phantom" if file.startswith("tests/phantom/") else file
        item.add_marker(pytest.mark.xdist_group(group))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]
