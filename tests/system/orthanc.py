"""A real PACS: Debian's Orthanc with its DICOMweb plugin, on loopback, with a folder and
configuration of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TITLE = "ORTHANC"
PROGRAM = "/usr/sbin/Orthanc"  # make test-system installs it
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


class Orthanc:
    """Started where it is made; ``kill`` and ``start`` make it die and come back with
    what it had."""

    def __init__(self, folder: Path, *, peer: tuple[str, int] | None = None) -> None:
        folder.mkdir()
        self._folder, self._process = folder, None
        with ExitStack() as taken:
            ports = [
                taken.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
                for _ in range(2)
            ]
        self.http, self.dicom = ports
        self.root = f"http://127.0.0.1:{self.http}"
        self.url = f"{self.root}/dicom-web"
        config = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": TITLE,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {"clerk": "pass word"},
            "Plugins": [PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomModalities": {"nnstudent": ["NNSTUDENT", *peer]} if peer else {},
            "OverwriteInstances": True,
        }
        (folder / "orthanc.json").write_text(json.dumps(config))
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [PROGRAM, str(self._folder / "orthanc.json")], stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                self.get("/system")
                return
            except (urllib.error.URLError, ConnectionError):
                assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
                time.sleep(0.1)
        raise AssertionError("Orthanc does not answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(
            self.root + path, body, {"Authorization": "Basic Y2xlcms6cGFzcyB3b3Jk"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def get(self, path: str) -> Any:
        return json.loads(self.ask("GET", path))

    def add(self, folder: Path) -> str:
        """Store a folder's files; Orthanc's id of their study."""
        answers = [
            json.loads(self.ask("POST", "/instances", path.read_bytes()))
            for path in sorted(folder.iterdir())
        ]
        return answers[-1]["ParentStudy"]

    def found(self, modality: str, study: str) -> list[str]:
        """Orthanc's ids of the instances of a modality in a study."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study, "Modality": modality}}
        return json.loads(self.ask("POST", "/tools/find", json.dumps(query).encode()))

    def file(self, instance: str) -> bytes:
        return self.ask("GET", f"/instances/{instance}/file")
