"""How long who throttle has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.web.throttle import LoginThrottle, client_key


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_token_doubles_the_wait_up_to_a_minute():
    clock = Clock()
    throttle, waits = LoginThrottle(free=2, clock=clock), []
    for _ in range(12):
        throttle.failed("10.0.0.1")
        waits.append(throttle.wait("10.0.0.1"))
        clock.now += waits[-1]
        assert throttle.wait("10.0.0.1") == 0
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    throttle.succeeded("10.0.0.1")
    throttle.failed("10.0.0.1")
    assert throttle.wait("10.0.0.1") == 0, "who knows it begins anew"


def test_an_hour_later_it_is_forgotten():
    clock = Clock()
    throttle = LoginThrottle(free=1, clock=clock)
    for _ in range(5):
        throttle.failed("a")
    clock.now += 3601
    throttle.failed("a")
    assert throttle.wait("a") == 0


@given(st.lists(st.ip_addresses(), max_size=60))
def test_memory_is_bounded(addresses):
    throttle = LoginThrottle(clients=10)
    for address in addresses:
        throttle.failed(str(address))
    assert len(throttle._clients) <= 10


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_what_counts_as_one_client(host, client):
    assert client_key(host) == client
