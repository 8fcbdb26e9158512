"""How long who guesses has to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnstudent.web.guesses import Guesses, network


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_wrong_token_doubles_the_wait_up_to_a_minute():
    clock = Clock()
    guesses, waits = Guesses(free=2, clock=clock), []
    for _ in range(12):
        guesses.wrong("10.0.0.1")
        waits.append(guesses.wait("10.0.0.1"))
        clock.now += waits[-1]
        assert guesses.wait("10.0.0.1") == 0
    assert waits == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    guesses.right("10.0.0.1")
    guesses.wrong("10.0.0.1")
    assert guesses.wait("10.0.0.1") == 0, "who knows it begins anew"


def test_an_hour_later_it_is_forgotten():
    clock = Clock()
    guesses = Guesses(free=1, clock=clock)
    for _ in range(5):
        guesses.wrong("a")
    clock.now += 3601
    guesses.wrong("a")
    assert guesses.wait("a") == 0


@given(st.lists(st.ip_addresses(), max_size=60))
def test_memory_is_bounded(addresses):
    guesses = Guesses(clients=10)
    for address in addresses:
        guesses.wrong(str(address))
    assert len(guesses._guessers) <= 10


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
    assert network(host) == client
