"""The command ``serve`` under a thousand malformed uploads: over HTTP, with the worker that tries
to read what was taken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import httpx2 as httpx
from hypothesis import HealthCheck, given, settings

from nnstudent.io.nifti import write_image
from nnstudent.phantom import make_case
from tests.web.malformed import bodies, headers

UPLOADS = 1000


def test_a_thousand_malformed_uploads(tmp_path):
    answers: Counter[int] = Counter()
    command = [
        sys.executable,
        "-m",
        "nnstudent",
        "serve",
        "--port",
        "0",
        "--work",
        str(tmp_path / "work"),
        "--limit-jobs",
        "2000",
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NNSTUDENT_TOKEN": ""},
    ) as serve:
        with httpx.Client(base_url=serve.stdout.readline().split()[-1], timeout=60) as client:

            @settings(max_examples=UPLOADS, suppress_health_check=list(HealthCheck), deadline=None)
            @given(body=bodies())
            def send(body):
                answer = client.post("/api/jobs", content=body, headers=headers())
                answers[answer.status_code] += 1
                assert answer.status_code in (201, 400), answer.text

            try:
                send()
                assert sum(answers.values()) >= UPLOADS
                assert answers[201] > 10, "some are taken, and the worker meets them"
                write_image(tmp_path / "ct.nii.gz", make_case(1, preset="tiny", slices=24).image)
                sound = client.post(
                    "/api/jobs",
                    files={"files": ("ct.nii.gz", (tmp_path / "ct.nii.gz").read_bytes())},
                ).json()["id"]
                until = time.monotonic() + 300
                while (jobs := client.get("/api/jobs").json())[0]["state"] not in (
                    "done",
                    "failed",
                ) and time.monotonic() < until:
                    time.sleep(0.5)
                ended = Counter(job["state"] for job in jobs)
                print(f"answers {dict(answers)}, jobs {dict(ended)}")
                assert {job["id"]: job["state"] for job in jobs}[sound] == "done"
                assert set(ended) == {"done", "failed"}
            finally:
                serve.send_signal(signal.SIGINT)
        _, err = serve.communicate(timeout=60)
    assert serve.returncode == 0
    assert "unexpected" not in err
    assert "the worker ended" not in err, "what is malformed does not even kill the worker"
    assert "Secretname" not in err
