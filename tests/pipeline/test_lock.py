from __future__ import annotations

import json
import socket
import subprocess
import sys

import psutil
import pytest

from nnstudent.errors import OutputError
from nnstudent.pipeline.lock import NAME, alone_in


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path):
    with alone_in(tmp_path), pytest.raises(OutputError, match="another call works in it"), alone_in(tmp_path):
        pytest.fail("two at once")
    with alone_in(tmp_path):
        pass
    assert not (tmp_path / NAME).exists()


def test_what_a_killed_process_left_is_taken_over(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    mark = {"host": socket.gethostname(), "pid": child.pid, "started": psutil.Process(child.pid).create_time()}
    (tmp_path / NAME).write_text(json.dumps(mark))
    with pytest.raises(OutputError, match=f"process {child.pid}"), alone_in(tmp_path):
        pytest.fail("it lives")
    child.kill()
    child.wait()
    with alone_in(tmp_path):
        pass


def test_another_machine_is_believed(tmp_path):
    (tmp_path / NAME).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 0}))
    with pytest.raises(OutputError, match=r"on elsewhere \(process 1\); if that one is no more, remove"), alone_in(tmp_path):
        pytest.fail("it may live")


def test_a_half_written_mark_holds_nobody_up(tmp_path):
    (tmp_path / NAME).write_text('{"host"')
    with alone_in(tmp_path):
        pass
