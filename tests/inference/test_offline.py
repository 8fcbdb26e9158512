"""Segmenting opens no socket and imports no torch, in a process without the test runner."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnstudent.bundle.export import export
from nnstudent.io.nifti import write_image
from tests.conftest import ROOT
from tests.inference.conftest import blobs

# A socket, or another process that could open one, ends it.
WATCH = """
import os, sys
WATCHED = ("socket.", "os.fork", "os.posix_spawn", "os.system", "subprocess.Popen")
def watch(event, args):
    if event.startswith(WATCHED) and "ldconfig" not in str(args):
        os.write(2, f"SEEN {event} {args}\\n".encode())
        os._exit(99)
sys.addaudithook(watch)
# Not in the base install; where it is, nibabel loads it, and its requests looks for IPv6 by binding
# a local socket.
sys.modules["pydicom"] = None
"""
CI = ("CI", "TF_BUILD", "JENKINS_URL")  # with these set OpenVINO would keep quiet by itself


def run(code: str, tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
    }
    assert not set(CI) & set(environment)
    command = [sys.executable, "-c", WATCH + code, *map(str, arguments)]
    return subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )


def test_the_watch_sees_a_socket(tmp_path):
    assert run("import socket; socket.socket()", tmp_path).returncode == 99


def test_the_watch_sees_openvino_report_its_import_when_nothing_keeps_it_quiet(tmp_path):
    code = "import openvino, time; time.sleep(3)"
    if run(code, tmp_path).returncode != 99:
        pytest.skip("this OpenVINO does not report its import")


@pytest.fixture(scope="module")
def bundle(isotropic, tmp_path_factory) -> Path:
    return export(isotropic, tmp_path_factory.mktemp("offline") / "bundle")


def test_segmenting_with_a_bundle_needs_no_network_and_no_torch(bundle, tmp_path):
    write_image(tmp_path / "ct.nii.gz", blobs((14, 20, 22), (5.0, 4.0, 4.0)))
    code = """
from nnstudent.cli import main
args = ["--model", sys.argv[1], "--preview", "--report", "r.json"]
code = main(["segment", "ct.nii.gz", "-o", "labels.nii.gz", *args])
heavy = {"torch", "nnunetv2", "SimpleITK", "skimage", "matplotlib", "safetensors"}
heavy &= set(sys.modules)
if heavy:
    sys.exit(f"imported {heavy}")
sys.exit(code)
"""
    done = run(code, tmp_path, bundle)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "labels.nii.gz").is_file()


def test_converting_an_nnunet_folder_needs_no_network(isotropic, tmp_path):
    code = """
from pathlib import Path
from nnstudent.bundle.export import export
export(Path(sys.argv[1]), Path("bundle"))
"""
    done = run(code, tmp_path, isotropic)
    assert done.returncode == 0, done.stderr


def test_a_telemetry_that_is_loaded_already_is_silenced(tmp_path):
    code = """
import types
calls = []
class Telemetry:
    consent = True
    _one = None
    def __new__(cls, *a, **k):
        cls._one = cls._one or super().__new__(cls)
        return cls._one
module = types.ModuleType("openvino_telemetry")
module.Telemetry = Telemetry
sys.modules["openvino_telemetry"] = module
sys.modules["openvino"] = types.ModuleType("openvino")
from nnstudent.bundle import graph
graph.openvino()
sys.exit(0 if Telemetry().consent is False else 1)
"""
    assert run(code, tmp_path).returncode == 0
