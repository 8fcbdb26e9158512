"""A client of the protocol, which sends what the plugin of 3D Slicer sends and reads answers as it does."""

from __future__ import annotations

import http.client
import json
import mimetypes
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

BOUNDARY = "----------lImIt_of_THE_fIle_eW_$"  # the plugin's, with a sign that RFC 2046 has not


@dataclass
class Answer:
    """An answer: status, headers, and the body as it came and as its parts."""

    status: int
    headers: dict[str, str]
    body: bytes
    form: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """Sends requests to a service.

    Attributes:
        address: Address of the service.
        name: What the client calls itself.
        token: What it was given for a password.
    """

    address: str
    name: str = "slicer-1"
    token: str = ""

    def call(self, method: str, path: str, body: bytes = b"", kind: str = "") -> Answer:
        """Send a request, with the headers that the plugin sends and no others."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
        headers = {"content-type": kind, "content-length": str(len(body))} if body else {}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        connection.request(method, path, body=body or None, headers=headers)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        answer = Answer(response.status, names, response.read())
        if "multipart" in names.get("content-type", ""):
            head = f"Content-Type: {names['content-type']}\r\n\r\n".encode()
            for part in BytesParser(policy=HTTP).parsebytes(head + answer.body).iter_parts():
                content = part.get_payload(decode=True)
                name = part.get_param("name", header="content-disposition")
                if part.get_filename():
                    answer.files[part.get_filename()] = content
                else:
                    answer.form[name] = content.decode()
        return answer

    def send(self, method: str, path: str, params: dict[str, Any] | None = None) -> Answer:
        """Send params as JSON; the client's name is always among them."""
        params = {**(params or {}), "client_id": self.name}
        return self.call(method, path, json.dumps(params).encode(), "application/json")

    def form(self, method: str, path: str, params: Any, files: dict[str, Path | bytes]) -> Answer:
        """Send a form whose files are named by their whole paths, as the plugin does."""
        lines: list[bytes] = []
        given = {**params, "client_id": self.name} if isinstance(params, dict) else params
        text = given if isinstance(given, str) else json.dumps(given)
        lines += [
            f"--{BOUNDARY}".encode(),
            b'Content-Disposition: form-data; name="params"',
            b"",
            text.encode(),
        ]
        for key, file in files.items():
            name = str(file) if isinstance(file, Path) else "label.bin"
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            lines += [
                f"--{BOUNDARY}".encode(),
                f'Content-Disposition: form-data; name="{key}"; filename="{name}"'.encode(),
                f"Content-Type: {kind}".encode(),
                b"",
                file.read_bytes() if isinstance(file, Path) else file,
            ]
        body = b"\r\n".join([*lines, f"--{BOUNDARY}--".encode(), b"", b""])
        return self.call(method, path, body, f"multipart/form-data; boundary={BOUNDARY}")

    def info(self) -> Answer:
        return self.call("GET", "/info/")

    def infer(self, model: str, image: str, **files: Path) -> Answer:
        path = f"/infer/{quote_plus(model)}?image={quote_plus(image)}"
        return self.form("POST", path, {}, dict(files))

    def save_label(self, image: str, label: Path | bytes, tag: str = "", **params: Any) -> Answer:
        path = f"/datastore/label?image={quote_plus(image)}"
        path += f"&tag={quote_plus(tag)}" if tag else ""
        return self.form("PUT", path, params, {"label": label})

    def upload_image(self, image: str, file: Path) -> Answer:
        path = f"/datastore/?image={quote_plus(image)}"
        return self.form("PUT", path, {}, {"file": file})

    def next_sample(self, strategy: str) -> Answer:
        return self.send("POST", f"/activelearning/{quote_plus(strategy)}")

    def log_in(self, user: str, password: str) -> Answer:
        text = urlencode({"username": user, "password": password, "grant_type": "password"})
        return self.call("POST", "/auth/token", text.encode(), "application/x-www-form-urlencoded")
