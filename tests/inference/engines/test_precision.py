from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.inference.engines import openvino, precision
from nnstudent.inference.engines.precision import (
    accelerator_precision,
    choose_precision,
    cpu_instructions,
    explain_auto,
    precision_warning,
)
from nnstudent.inference.segmenter import Segmenter

SERVER, LAPTOP, OLD, ARM = (
    ("avx512_vnni", "avx512_bf16"),
    ("avx2", "avx_vnni"),
    ("avx2", "avx512f"),
    ("asimd",),
)


@pytest.mark.parametrize(
    ("has", "graph", "taken"),
    [
        (SERVER, True, "int8"),
        (SERVER, False, "bf16"),
        (LAPTOP, True, "int8"),
        (LAPTOP, False, "fp32"),
        (("amx_int8", "amx_bf16"), True, "int8"),
        (("amx_bf16",), True, "bf16"),
        (OLD, True, "int8"),
        (OLD, False, "fp32"),
        (ARM, True, "fp32"),
        ((), True, "fp32"),
    ],
)
def test_what_the_processor_makes_pay(has, graph, taken):
    assert choose_precision("auto", graph=graph, has=has) == taken
    assert explain_auto(has).startswith(choose_precision("auto", graph=True, has=has))


def test_what_is_asked_for_is_taken_if_it_can_be():
    assert choose_precision("fp32", graph=True, has=SERVER) == "fp32"
    assert choose_precision("int8", graph=True, has=OLD) == "int8"
    with pytest.raises(InputError, match="export it with --int8 --calibration COHORT"):
        choose_precision("int8", graph=False, has=SERVER)
    with pytest.raises(InputError, match="this processor has none of avx512_bf16, amx_bf16"):
        choose_precision("bf16", graph=True, has=LAPTOP)
    with pytest.raises(InputError, match="expected one of auto, fp32, bf16, int8"):
        choose_precision("fp64", graph=True, has=SERVER)


@pytest.mark.parametrize(
    ("wanted", "device", "taken"),
    [
        ("auto", "GPU", "fp16"),
        ("auto", "NPU", "fp16"),
        ("fp32", "GPU", "fp32"),
        ("fp32", "NPU", "fp16"),  # all that it has
        ("int8", "GPU", "int8"),
    ],
)
def test_what_intels_gpus_compute_in(wanted, device, taken):
    assert accelerator_precision(wanted, device=device, graph=True) == taken
    with pytest.raises(InputError, match="computes in fp16"):
        accelerator_precision("bf16", device=device, graph=True)
    with pytest.raises(InputError, match="export it with --int8"):
        accelerator_precision("int8", device=device, graph=False)


@pytest.mark.parametrize("device", ["gpu", "npu", "gpu.1"])
def test_a_device_of_openvino_is_passed_on(device, monkeypatch):
    asked = []

    class Core:
        available_devices = ("CPU",)

    class Openvino:
        @staticmethod
        def Core():
            asked.append(device)
            return Core()

    monkeypatch.setattr("nnstudent.bundle.graph.openvino", lambda: Openvino)
    with pytest.raises(InputError, match=f"device '{device}': OpenVINO has CPU here"):
        Segmenter(device=device)
    assert asked == [device]


def test_int8_without_its_instructions_is_one_line():
    assert "has none of avx512_vnni, avx_vnni, amx_int8, avx2" in precision_warning("int8", ARM)
    assert "\n" not in precision_warning("int8", ARM)
    assert (
        precision_warning("int8", SERVER)
        is precision_warning("int8", OLD)
        is precision_warning("fp32", ARM)
        is precision_warning("int8", ())
        is None
    )


def test_doctor_says_why():
    assert (
        explain_auto(LAPTOP)
        == "int8 (avx_vnni) where the model has it, else fp32 (no avx512_bf16 or amx_bf16)"
    )
    assert explain_auto(OLD).startswith("int8 (avx2)")
    assert "no avx512_vnni, avx_vnni, amx_int8 or avx2" in explain_auto(ARM)
    assert "does not tell" in explain_auto(())


def test_reading_the_processor(tmp_path, monkeypatch):
    listing = tmp_path / "cpuinfo"
    listing.write_text(
        "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni avx512_vnni_x\n\nprocessor\t: 1\n"
    )
    monkeypatch.setattr(precision, "Path", lambda _: listing)
    assert cpu_instructions() == ("avx2", "avx512_vnni")
    listing.unlink()
    assert cpu_instructions() == ()


def test_an_engine_that_cannot_says_so_before_any_image_is_read(isotropic):
    with pytest.raises(InputError, match="this model has none"):
        Segmenter(isotropic, precision="int8")
    with pytest.raises(InputError, match="torch has fp32"):
        Segmenter(isotropic, engine="torch", precision="bf16")
    assert Segmenter(isotropic).engine_of(0, 0).precision == "fp32"


def test_the_engine_says_what_there_is_to_say(isotropic, monkeypatch, caplog):
    monkeypatch.setattr(openvino, "cpu_instructions", lambda: ARM)
    monkeypatch.setattr(openvino, "choose_precision", lambda *_, **__: "int8")
    with caplog.at_level("WARNING"):
        Segmenter(isotropic, precision="int8").engine_of(0, 0)
    assert "this processor has none of avx512_vnni" in caplog.text
