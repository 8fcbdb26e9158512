"""Throttling of wrong tokens: a client that guesses must wait, longer each time.

Other clients do not notice.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FORGET_SECONDS = 3600.0


@dataclass
class _Client:
    failures: int = 0
    last: float = 0.0
    blocked_until: float = 0.0


class LoginThrottle:
    """Counts wrong tokens of each client; the number of clients remembered is bounded."""

    def __init__(
        self,
        *,
        free: int = 5,
        longest: float = 60.0,
        clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without any failure.

        Args:
            free: Wrong tokens without a wait; after that the wait starts at 1 s and doubles.
            longest: Longest wait, in seconds.
            clients: Clients remembered; the one whose last failure is oldest is forgotten first.
            clock: Returns seconds that only increase.
        """
        self._free, self._longest, self._most, self._clock = free, longest, clients, clock
        self._clients: OrderedDict[str, _Client] = OrderedDict()

    def wait(self, host: str) -> float:
        """Return the seconds until this client may try again; 0 for at once."""
        client = self._clients.get(client_key(host))
        return 0.0 if client is None else max(0.0, client.blocked_until - self._clock())

    def failed(self, host: str) -> None:
        """Record a wrong token."""
        now, key = self._clock(), client_key(host)
        client = self._clients.pop(key, None)
        if client is None or now - client.last > _FORGET_SECONDS:
            client = _Client()
        client.failures, client.last = client.failures + 1, now
        if client.failures > self._free:
            wait = 2.0 ** min(client.failures - self._free - 1, 30)
            client.blocked_until = now + min(wait, self._longest)
        self._clients[key] = client
        while len(self._clients) > self._most:
            self._clients.popitem(last=False)

    def succeeded(self, host: str) -> None:
        """Forget the failures of a client that gave the right token."""
        self._clients.pop(client_key(host), None)


def client_key(host: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
