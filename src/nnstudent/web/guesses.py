"""Wrong tokens: who guesses has to wait, longer each time, while everybody else is let in as before."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_FORGET_SECONDS = 3600.0


@dataclass
class _Guesser:
    wrong: int = 0
    last: float = 0.0
    until: float = 0.0


class Guesses:
    """Counts wrong tokens by client address. The number of addresses remembered is bounded."""

    def __init__(
        self,
        *,
        free: int = 5,
        longest: float = 60.0,
        clients: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nobody has guessed yet.

        Args:
            free: Wrong tokens without a wait; each one more doubles the wait, from 1 s.
            longest: The longest wait, in seconds.
            clients: Addresses remembered; the one that guessed longest ago is forgotten first.
            clock: Seconds that only increase.
        """
        self._free, self._longest, self._clients, self._clock = free, longest, clients, clock
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()

    def wait(self, host: str) -> float:
        """Seconds until this client may show a token again; 0 for at once."""
        guesser = self._guessers.get(network(host))
        return 0.0 if guesser is None else max(0.0, guesser.until - self._clock())

    def wrong(self, host: str) -> None:
        """Note a wrong token."""
        now, key = self._clock(), network(host)
        guesser = self._guessers.pop(key, None)
        if guesser is None or now - guesser.last > _FORGET_SECONDS:
            guesser = _Guesser()
        guesser.wrong, guesser.last = guesser.wrong + 1, now
        if guesser.wrong > self._free:
            guesser.until = now + min(2.0 ** min(guesser.wrong - self._free - 1, 30), self._longest)
        self._guessers[key] = guesser
        while len(self._guessers) > self._clients:
            self._guessers.popitem(last=False)

    def right(self, host: str) -> None:
        """Forget what a client guessed, for it knows the token."""
        self._guessers.pop(network(host), None)


def network(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host
