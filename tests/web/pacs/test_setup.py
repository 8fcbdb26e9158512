"""Studies in the queue: fetched, resumed after a restart, delivered; with a simulated PACS."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="the extra [web] is not installed")

from nnstudent.errors import InputError
from nnstudent.web.pacs.setup import connect
from nnstudent.web.settings import PacsSettings


@pytest.mark.parametrize(
    ("pacs", "message"),
    [
        (PacsSettings(listen=("127.0.0.1", 0)), "nowhere to send results to"),
        (PacsSettings(peer="A@b:1"), "no scan is received"),
        (PacsSettings(url="http://a/b", title="x" * 17), "application entity title"),
        (PacsSettings(url="http://a/b", peer="A"), "expected AET@HOST:PORT"),
        (PacsSettings(url="nowhere"), "expected the root of its DICOMweb service"),
    ],
)
def test_unusable_settings_are_refused_before_work_begins(queue, settings, pacs, message):
    with pytest.raises(InputError, match=message):
        connect(queue, replace(settings, pacs=pacs))
