"""Answers in the protocol's form: JSON, a file, or both as the parts of a form."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

from starlette.responses import Response


def form_answer(params: dict[str, Any], file: Path, *, name: str) -> Response:
    """Return an answer with the parts ``params`` and ``image``.

    The clients take the parts apart themselves. MITK's expects ``params`` first, ``Content-Type``
    as the last header of each part, and ``application/octet-stream`` for the image.

    Args:
        params: What is said about the image.
        file: The image.
        name: Its name; the clients save it under this name.
    """
    boundary = secrets.token_hex(16)
    body = b"".join(
        (
            f"--{boundary}\r\n".encode(),
            b'Content-Disposition: form-data; name="params"\r\n',
            b"Content-Type: application/json\r\n\r\n",
            json.dumps(params).encode(),
            f"\r\n--{boundary}\r\n".encode(),
            f'Content-Disposition: form-data; name="image"; filename="{name}"\r\n'.encode(),
            b"Content-Type: application/octet-stream\r\n\r\n",
            file.read_bytes(),
            f"\r\n--{boundary}--\r\n".encode(),
        )
    )
    return Response(body, media_type=f"multipart/form-data; boundary={boundary}")
