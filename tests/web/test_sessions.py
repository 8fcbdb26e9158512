"""Sessions: how long they last, and what opens one."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from nnstudent.web.sessions import Sessions
from tests.web.conftest import taking_in
from tests.web.test_access import TOKEN


@pytest.mark.parametrize("value", ["", "x", "x.y", "é.é", "a" * 5000, ".", "mine.0"])
def test_a_cookie_that_is_not_ours_is_nobody(settings, value):
    sessions = Sessions("secret", settings)
    assert sessions.owner_of_cookie(value) is None
    good = sessions.new_cookie()
    assert sessions.owner_of_cookie(good) is not None
    assert sessions.owner_of_header(f"a=b; {sessions.cookie}={good}") == sessions.owner_of_cookie(
        good
    )
    assert sessions.owner_of_header("a=b; \x00") is None
    assert sessions.owner_of_cookie(("0" if good[0] != "0" else "1") + good[1:]) is None
    assert Sessions("other", settings).owner_of_cookie(good) is None
    assert Sessions("secret", replace(settings, token=TOKEN)).owner_of_cookie(good) is None


def test_a_cookie_ends(settings, monkeypatch):
    sessions = Sessions("secret", settings)
    cookie, now = sessions.new_cookie(), time.time()
    monkeypatch.setattr("time.time", lambda: now + 29 * 86400)
    assert sessions.owner_of_cookie(cookie) is not None
    monkeypatch.setattr("time.time", lambda: now + 31 * 86400)
    assert sessions.owner_of_cookie(cookie) is None


def test_a_ticket_opens_one_session(settings, monkeypatch):
    with taking_in(replace(settings, token=TOKEN)) as (service, client):
        ticket, late = service.sessions.new_ticket(), service.sessions.new_ticket()
        assert client().post("/api/session", json={"token": ticket}).status_code == 204
        assert client().post("/api/session", json={"token": ticket}).status_code == 401
        assert (
            client().get("/api/jobs", headers={"Authorization": f"Bearer {late}"}).status_code
            == 401
        )
        now = time.monotonic()
        monkeypatch.setattr("nnstudent.web.sessions.time.monotonic", lambda: now + 130)
        assert client().post("/api/session", json={"token": late}).status_code == 401
