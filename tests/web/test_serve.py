from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from nnstudent.cli.main import main
from nnstudent.errors import MissingExtraError

pytest.importorskip("fastapi", reason="the extra [web] is not installed")
import httpx2 as httpx

from tests.io.series import PATIENT, Series
from tests.web.conftest import taking_in, upload, wait_for


def started(*args: object, token: str = "") -> tuple[subprocess.Popen[str], str]:
    """The command, and the address that it prints."""
    command = [sys.executable, "-m", "nnstudent", "serve", "--port", "0", *map(str, args)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NNSTUDENT_TOKEN": token},
    )
    line = process.stdout.readline()
    assert line.startswith("nnStudent is at http://"), process.communicate(timeout=10)
    return process, line.split()[-1]


def stopped(process: subprocess.Popen[str], how: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert process.returncode == (0 if how == signal.SIGINT else -how), err
    return out, err


def test_it_serves_until_ctrl_c_and_logs_nobody_s_name(tmp_path):
    process, address = started("--work", tmp_path / "work")
    try:
        with httpx.Client(base_url=address, timeout=30) as client:
            assert client.get("/").status_code == 200
            assert client.get("api/about").json()["model"]["bundled"] is True
            file = ("Secretname^Petra.nii.gz", b"\x1f\x8b\x08\x00rest")
            job = client.post("api/jobs", files={"files": file})
            assert job.json()["name"] == "Secretname^Petra"
            failed = wait_for(client, job.json()["id"], "done", "failed")
            assert "Secretname^Petra: cannot be opened" in failed["error"]
            assert str(tmp_path) not in json.dumps(failed)
            names = sorted(
                Series().write(tmp_path / PATIENT).iterdir()
            )  # of a patient whose name is Secretname
            series = upload(client, *names, names=lambda path: f"{PATIENT}/{path.name}").json()
            assert series["name"] == f"{PATIENT} (2)", "the file had that name too"
            wait_for(client, series["id"], "done", "failed")
        assert [
            child for child in children(process.pid) if "nnstudent.web.worker" in child.cmdline()
        ]
    finally:
        out, err = stopped(process)
    assert "stopped" in out
    assert re.search(r"job \w{8}: failed", err)
    assert "Secret" not in out + err
    assert not (tmp_path / "work" / ".nnstudent.lock").exists(), "another may take the folder"
    assert children(process.pid) == []


def children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_jobs_outlive_the_service(tmp_path, phantom, long_phantom):
    process, address = started("--work", tmp_path / "work")
    with httpx.Client(base_url=address, timeout=30) as client:
        jobs = [
            upload(client, (f"{name}.nii.gz", scan.read_bytes())).json()["id"]
            for name, scan in (("a", long_phantom), ("b", phantom))
        ]
        while client.get(f"/api/jobs/{jobs[0]}").json()["state"] == "queued":
            time.sleep(0.05)
        workers = children(process.pid)
        process.kill()
        process.communicate(timeout=30)
        for worker in workers:
            worker.wait(timeout=30)  # there is nobody left to work for
        again, _ = started(
            "--work", tmp_path / "work", "--port", address.rsplit(":", 1)[1].strip("/")
        )
        try:
            assert {job["id"]: job["name"] for job in client.get("/api/jobs").json()} == dict(
                zip(jobs, "ab", strict=True)
            )
            for id in jobs:
                job = wait_for(client, id, "done", "failed")
                assert (job["state"], job["error"]) == ("done", None)
        finally:
            stopped(again)


def test_elsewhere_a_token_is_made_printed_and_kept(tmp_path):
    process, address = started("--work", tmp_path / "work", "--host", "0.0.0.0")
    stopped(process, signal.SIGTERM)
    again, same = started("--work", tmp_path / "work", "--host", "0.0.0.0")
    try:
        port, token = re.search(r":(\d+)/#token=(\S{43})$", same).groups()
        assert address.endswith(token)
        assert token == (tmp_path / "work" / "token").read_text().strip()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/api/jobs").status_code == 401
            assert (
                client.get("/api/jobs", headers={"Authorization": f"Bearer {token}"}).status_code
                == 200
            )
    finally:
        stopped(again)


def test_a_token_that_was_chosen_is_not_printed_and_not_inherited(tmp_path):
    token = "hush-hush-hush-hush"
    process, address = started("--work", tmp_path / "work", token=token)
    try:
        assert "#" not in address
        assert process.stdout.readline() == "it asks for the token that you chose\n"
        with httpx.Client(base_url=address) as client:
            assert client.get("/api/about").status_code == 401
            assert (
                client.get("/api/about", headers={"Authorization": f"Bearer {token}"}).status_code
                == 200
            )
        worker = next(
            child for child in children(process.pid) if "nnstudent.web.worker" in child.cmdline()
        )
        assert token not in str(worker.environ())
        assert token not in " ".join(worker.cmdline())
    finally:
        out, err = stopped(process)
    assert token not in out + err


def test_one_damaged_record_does_not_keep_it_from_starting(settings, caplog):
    folder = settings.work / "jobs" / ("a" * 32)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"id": 5}')
    with taking_in(settings) as (_, client):
        assert client().get("/api/jobs").json() == []
    assert f"a job is ignored: {folder}" in caplog.text
    assert (folder / "job.json").exists()


def test_what_is_wrong_is_one_line_and_2(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("NNSTUDENT_TOKEN", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for args, said in (
            (["--port", port], f"127.0.0.1, port {port}: cannot listen there"),
            (["--host", "no such host"], "no such host, port"),
            (["--token", "short"], "a token of 5 characters; expected at least 16"),
            (["--token", ""], "a token of 0 characters"),
            (["--model", str(tmp_path / "none")], "no such folder; expected a bundle"),
            (["--limit-upload", "2000", "--limit-disk", "1"], "expected room for at least one"),
            (["--work", __file__], "choose a place"),
        ):
            assert main(["serve", "--port", "0", "--work", str(tmp_path / "work"), *args]) == 2
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1)
            assert said in err


@pytest.mark.parametrize(
    "args",
    [
        ["--port", "70000"],
        ["--port", "x"],
        ["--keep-hours", "0"],
        ["--keep-hours", "nan"],
        ["--limit-files", "0"],
    ],
)
def test_wrong_usage(args, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["serve", *args])
    assert stop.value.code == 2
    assert args[1] in capsys.readouterr().err


def test_without_the_extra_it_says_which(monkeypatch, capsys):
    def missing(module, *, extra, why):
        raise MissingExtraError(
            f"{why} needs {module}; install it with: pip install 'nnstudent[{extra}]'"
        )

    monkeypatch.setattr("nnstudent.errors.require", missing)
    assert main(["serve"]) == 2
    assert "nnstudent[web]" in capsys.readouterr().err
