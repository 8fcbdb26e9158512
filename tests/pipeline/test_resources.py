"""What jobs ask for, by preset."""

from __future__ import annotations

import pytest

from nnstudent.errors import InputError
from nnstudent.pipeline.preset import load_preset
from nnstudent.pipeline.resources import Need


def test_a_preset_says_what_its_jobs_ask_for(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('like = "demo"\n[cluster.train]\ngpus = 2\nhours = 0.5\n')
    need = load_preset(file).cluster.train
    assert need.to_snakemake(gpu=True, cores=None)["gpu"] == 2
    assert need.to_snakemake(gpu=False, cores=3) == {
        "threads": 3,
        "mem_mb": round(1000 * need.memory_gb),
        "runtime": 30,
    }


@pytest.mark.parametrize("wrong", [{"gpus": -1}, {"cores": 0}, {"memory_gb": 0.0}, {"hours": -2.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(InputError, match="expected no negative number of GPUs"):
        Need(**wrong)


def test_a_wrong_key_names_where(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('like = "demo"\n[cluster.train]\nmemory = 3\n')
    with pytest.raises(InputError, match=r"mine.toml.*cluster.train: unknown key 'memory'"):
        load_preset(file)
