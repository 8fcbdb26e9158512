"""Who may: host, origin, token, owner."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from nnstudent.web.access import is_loopback
from nnstudent.web.sessions import load_or_create_secret
from tests.web.conftest import taking_in, upload

NIFTI = ("ct.nii.gz", b"\x1f\x8b\x08\x00rest")
TOKEN = "a-token-of-good-length"


@pytest.fixture
def guarded(settings):
    """What makes clients of a service that is reached from elsewhere and has a token."""
    with taking_in(replace(settings, host="0.0.0.0", token=TOKEN, names=("ct.example",))) as (
        _,
        client,
    ):
        yield client


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST"]
)
def test_a_host_of_this_machine_is_answered(client, host):
    assert client.get("/api/about", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost:x",
        "::1",
        "[::1",
        "localhost\x00",
        "local host",
        "127.0.0.1:x",
        "user@localhost",
        "evil.example:8765",
        "localhost.evil.example",
        "192.168.1.5",
        "",
        "[",
        "127.0.0.1.nip.io",
    ],
)
def test_another_host_is_not(client, host):
    for path in ("/", "/api/about", "/api/jobs"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421
        assert "error" in answer.json()


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 201),
        ({"Origin": "http://localhost"}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "//localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_only_the_own_page_changes_something(client, headers, code):
    assert client.post("/api/jobs", files={"files": NIFTI}, headers=headers).status_code == code
    assert len(client.get("/api/jobs").json()) == (code == 201)


def test_headers_keep_a_page_from_what_it_need_not(client):
    for path in ("/", "/api/about", "/api/none", "/api/jobs/x/files/y"):
        headers = client.get(path).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert "http" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
    assert client.get("/api/about").headers["Cache-Control"] == "no-store"


def test_the_cookie_is_for_this_service_alone(client):
    (cookie,) = client.get("/").headers.get_list("set-cookie")
    assert cookie.startswith("nnstudent-8765=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "set-cookie" not in client.get("/api/jobs").headers, "who has one keeps it"


def test_nobody_sees_or_removes_what_is_another_s(settings):
    with taking_in(settings) as (service, client):
        mine, other = client(), client()
        job = upload(mine, NIFTI).json()
        assert [row["id"] for row in mine.get("/api/jobs").json()] == [job["id"]]
        assert other.get("/api/jobs").json() == []
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/files/labels.nii.gz")):
            theirs = other.request(method, f"/api/jobs/{job['id']}{path}")
            none = other.request(method, f"/api/jobs/{'0' * 32}{path}")
            assert (theirs.status_code, theirs.json()) == (404, none.json()), (
                "as if there were none"
            )
        assert mine.get(f"/api/jobs/{job['id']}").json()["id"] == job["id"]
        record = next(service.settings.work.rglob("job.json")).read_text()
        assert mine.cookies["nnstudent-8765"].split(".")[0] not in record, (
            "who reads the disk cannot make the cookie"
        )


def test_the_token_is_asked_for_and_exchanged_once(guarded):
    client = guarded()
    assert client.get("/").status_code == 200, "the page, which asks for it"
    assert "set-cookie" not in client.get("/").headers
    for path in ("/api/about", "/api/jobs", "/api/openapi.json", "/api/none"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert upload(client, NIFTI).status_code == 401
    for wrong in ("", TOKEN[:-1]):
        assert client.post("/api/session", json={"token": wrong}).status_code == 401
    for wrong in ("é", TOKEN + "x"):
        assert (
            client.get(
                "/api/jobs", headers={"Authorization": f"Bearer {wrong}".encode()}
            ).status_code
            == 401
        )
    assert client.get("/api/jobs").status_code == 401
    assert client.post("/api/session", json={"token": TOKEN}).status_code == 204
    job = upload(client, NIFTI).json()
    assert [row["id"] for row in client.get("/api/jobs").json()] == [job["id"]]
    other = guarded()
    other.post("/api/session", json={"token": TOKEN})
    assert other.get("/api/jobs").json() == [], "the token does not make two people one"


def test_programs_show_the_token_as_bearer(guarded):
    client = guarded()
    client.headers["Authorization"] = f"Bearer {TOKEN}"
    job = upload(client, NIFTI)
    assert job.status_code == 201
    assert client.get("/api/jobs").json()[0]["id"] == job.json()["id"]


def test_elsewhere_addresses_and_given_names_are_hosts(guarded):
    client = guarded()
    for host in ("192.168.1.5:8765", "ct.example", "localhost"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_nothing_but_an_upload_is_long(client):
    assert client.post("/api/session", json={"token": "x" * 20_000}).status_code == 413
    assert client.post("/api/session", content=iter([b"{}"])).status_code == 413, (
        "of a length that is not told"
    )
    assert client.post("/api/session", json={"token": "x"}).status_code == 204


def test_a_secret_is_kept_and_is_its_owner_s_alone(tmp_path):
    first = load_or_create_secret(tmp_path / "work" / "secret")
    assert len(first) > 40
    assert load_or_create_secret(tmp_path / "work" / "secret") == first
    assert (tmp_path / "work" / "secret").stat().st_mode & 0o077 == 0
    (tmp_path / "short").write_text("abc")
    assert len(load_or_create_secret(tmp_path / "short")) > 40


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("ct.lan", False),
    ],
)
def test_what_only_this_machine_reaches(host, is_it):
    assert is_loopback(host) is is_it


def test_a_cookie_is_secure_where_the_way_is(guarded):
    for scheme, secure in (("http", False), ("https", True)):
        answer = guarded().post(
            "/api/session", json={"token": TOKEN}, headers={"Host": "localhost"}, extensions={}
        )
        assert answer.status_code == 204
        cookie = (
            guarded(base_url=f"{scheme}://localhost")
            .post("/api/session", json={"token": TOKEN})
            .headers["set-cookie"]
        )
        assert ("Secure" in cookie.split("; ")) is secure


def test_who_guesses_has_to_wait_and_nobody_else(guarded):
    evil, good = guarded(client=("10.0.0.1", 1)), guarded(client=("10.0.0.2", 1))
    codes = [evil.post("/api/session", json={"token": f"{n}" * 16}).status_code for n in range(9)]
    assert codes == [401] * 6 + [429] * 3
    answer = evil.get("/api/jobs", headers={"Authorization": f"Bearer {TOKEN}"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1"), (
        "not even the right one, or guessing would go on"
    )
    assert "too many wrong tokens" in answer.json()["error"]
    assert good.post("/api/session", json={"token": TOKEN}).status_code == 204
    assert good.get("/api/jobs").status_code == 200
    assert evil.get("/api/jobs").status_code == 401, "who shows none does not guess"
    time.sleep(1.1)
    assert evil.post("/api/session", json={"token": TOKEN}).status_code == 204


def test_who_is_in_stays_in_whatever_others_of_the_same_address_guess(guarded):
    mine = guarded()
    mine.post("/api/session", json={"token": TOKEN})
    for n in range(8):
        guarded().get("/api/jobs", headers={"Authorization": f"Bearer {n}"})
    assert mine.get("/api/jobs").status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/about", "/api/jobs", "/api/openapi.json"])
def test_head_is_answered_where_get_is(client, path):
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])
    assert "head" not in client.get("/api/openapi.json").json()["paths"].get(path, {})


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS", "PROPFIND", "X" * 100])
def test_other_methods_are_refused_in_one_line(client, method):
    for path in ("/", "/api/jobs", "/api/session", "/api/jobs/x/files/labels.nii.gz"):
        answer = client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (405, ["error"])


def test_two_answers_to_where_a_body_ends_are_none(client):
    headers = {"Transfer-Encoding": "chunked", "Content-Length": "5"}
    for path in ("/", "/api/jobs", "/api/session"):
        assert client.post(path, content=b"0\r\n\r\n", headers=headers).status_code == 400


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5000, "1e3", "٣"])
def test_a_length_that_is_none_is_refused(client, length):
    for path in ("/api/jobs", "/api/session"):
        assert (
            client.post(path, content=b"", headers={"Content-Length": length.encode()}).status_code
            == 413
        )
