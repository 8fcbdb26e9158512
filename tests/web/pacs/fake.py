"""A tiny DICOMweb service on loopback that answers as PACS do, and as they should not."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

from tests.io.series import Series, save

MULTIPART = 'multipart/related; type="application/dicom"; boundary=b0'
Answer = tuple[int, str, bytes]


class Fake:
    """A DICOMweb service of these series.

    ``answers`` maps a path to responses that replace the normal ones, one for each request.
    """

    def __init__(self, *series: Series) -> None:
        self.series = {one.uid: one for one in series}
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                fake.asked.append((self.command, self.path, dict(self.headers), content))
                special = fake.answers.get(path.path)
                status, kind, body = (
                    special.pop(0) if special else fake.answer(path.path, parse_qs(path.query))
                )
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if 300 <= status < 400:
                    self.send_header("Location", "/dicom-web/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, query: dict[str, list[str]]) -> Answer:
        parts = path.removeprefix("/dicom-web/").split("/")
        if path.endswith("/series"):
            rows = [one.slices[0].to_json_dict() for one in self.series.values()]
            rows = [{tag: row[tag] for tag in ("0020000E", "00080060")} for row in rows]
            for row, one in zip(rows, self.series.values(), strict=True):
                row["00201209"] = {"vr": "IS", "Value": [len(one.slices)]}
            return 200, "application/dicom+json", json.dumps(rows).encode()
        if path.endswith("/metadata"):
            rows = [
                header.to_json_dict(bulk_data_threshold=10, bulk_data_element_handler=lambda _: "x")
                for header in self.of(parts[3])
            ]
            return 200, "application/dicom+json", json.dumps(rows).encode()
        if len(parts) == 4:
            return (
                200,
                'multipart/related; type="application/dicom"; boundary=b0',
                multipart([file_of(header) for header in self.of(parts[3])]),
            )
        return 404, "text/plain", b"Secretname^Petra"

    def of(self, uid: str) -> list:
        return self.series[uid].slices


def file_of(header) -> bytes:
    save(header, file := BytesIO())
    return file.getvalue()


def multipart(files: list[bytes], boundary: str = "b0") -> bytes:
    parts = [
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n"
        for file in files
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()
