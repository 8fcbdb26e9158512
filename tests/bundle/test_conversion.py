"""A network that another process converts is the one that this process would convert."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnstudent.bundle import conversion, graph
from nnstudent.bundle.bundle import open_model
from nnstudent.bundle.network import build, load_weights
from nnstudent.errors import InputError, MissingExtraError

torch = pytest.importorskip("torch", reason="converts networks, and torch is not installed")


def test_the_graph_computes_the_same(folder):
    network = open_model(folder).networks[0]
    member = network.members[1]
    here = graph.convert(
        load_weights(build(network.spec), member.weights(), path=folder), network.spec
    )
    assert member.convert_apart is not None
    apart = member.convert_apart()
    window = np.random.default_rng(0).normal(size=(1, 1, *network.spec.patch)).astype(np.float32)
    one, other = (graph.openvino().compile_model(it, "CPU")([window])[0] for it in (here, apart))
    np.testing.assert_array_equal(one, other)


def test_what_is_wrong_there_is_said_here(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    path = copy / "fold_0" / "checkpoint_final.pth"
    network = open_model(copy).networks[0]
    whole = torch.load(path, weights_only=False)
    name = next(iter(whole["network_weights"]))
    whole["network_weights"][name][:] = float("nan")
    torch.save(whole, path)
    assert network.members[0].convert_apart is not None
    with pytest.raises(InputError, match=f"weight {name} holds NaN"):
        network.members[0].convert_apart()


@pytest.mark.parametrize(
    ("output", "code", "error", "said"),
    [
        ('{"error": "MissingExtraError", "message": "no torch"}', 0, MissingExtraError, "no torch"),
        ("", -9, InputError, r"exit code -9 \(out of memory\); free some memory"),
        ("no table", 0, InputError, "exit code 0"),
    ],
)
def test_a_process_that_fails_is_one_line(folder, monkeypatch, output, code, error, said):
    done = subprocess.CompletedProcess([], code, stdout=output, stderr="a\nout of memory\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    member = open_model(folder).networks[0].members[0]
    assert member.convert_apart is not None
    with pytest.raises(error, match=said) as caught:
        member.convert_apart()
    assert "\n" not in str(caught.value)


def test_an_error_of_this_package_is_the_answer(folder, tmp_path, monkeypatch, capsys):
    order = {
        "checkpoint": str(tmp_path / "none.pth"),
        "spec": open_model(folder).networks[0].spec.to_dict(),
        "trust_pickle": False,
        "path": str(folder),
        "out": str(tmp_path / "network.xml"),
    }
    monkeypatch.setattr(sys, "stdin", (tmp_path / "order").open("w+"))
    json.dump(order, sys.stdin)
    sys.stdin.seek(0)
    assert conversion.main() == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["error"] == "InputError"
    assert "no such file" in answer["message"]
    assert not (tmp_path / "network.xml").exists()


def test_segmenting_with_a_folder_keeps_torch_out_of_the_process(folder):
    program = (
        "import sys; from pathlib import Path; from nnstudent.inference.segmenter import Segmenter; "
        f"Segmenter(Path({str(folder)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
