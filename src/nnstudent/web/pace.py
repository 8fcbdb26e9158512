"""Uploads that are under way: how many, how slow one may be, and which gives way when another one waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nnstudent.errors import InputError
from nnstudent.web.jobs import FullError
from nnstudent.web.settings import Limits

_LOOK_SECONDS = 0.1


class TooSlowError(InputError):
    """Less came than the least rate asks for."""


class Pace:
    """A leaky bucket of time: each byte buys ``1 / rate`` seconds, and no more than ``patience`` seconds are ever in hand."""

    def __init__(self, rate: int, patience: float, *, now: float) -> None:
        """Start with all the patience there is."""
        self._rate, self._patience = rate, patience
        self.due = now + patience

    def take(self, size: int, *, now: float) -> None:
        """Count bytes that came."""
        self.due = min(now + self._patience, self.due + size / self._rate)


class Upload:
    """One upload under way. All of it happens in the event loop."""

    def __init__(self, limits: Limits) -> None:
        """An upload that begins now."""
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._least = Pace(limits.least_rate, limits.stall_seconds, now=now)
        self._polite = Pace(limits.least_rate, limits.yield_seconds, now=now)
        self._waiting: asyncio.Timeout | None = None

    @property
    def stalls_since(self) -> float:
        """Loop time from which on it gives way to another one."""
        return self._polite.due

    def give_way(self) -> None:
        """End it, if it waits for its sender."""
        if self._waiting is not None:
            self._waiting.reschedule(self._loop.time())

    async def paced(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same stream, as long as enough of it comes. What the reader itself takes is not counted.

        Raises:
            TooSlowError: Less came than the least rate asks for, or it stalled while another upload waited.
        """
        pieces = aiter(stream)
        while True:
            try:
                async with asyncio.timeout_at(self._least.due) as self._waiting:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TooSlowError("the upload stalled, and was given up; send it again") from None
            finally:
                self._waiting = None
            now = self._loop.time()
            self._least.take(len(piece), now=now)
            self._polite.take(len(piece), now=now)
            yield piece
            spent = self._loop.time() - now
            self._least.due += spent
            self._polite.due += spent


class Uploads:
    """The uploads under way."""

    def __init__(self, limits: Limits) -> None:
        """None yet."""
        self._limits = limits
        self._uploads: set[Upload] = set()

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Upload]:
        """Let one more in. Where there are as many as may be, one that stalls gives way; else this one waits a little.

        Raises:
            FullError: All others are going well.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.yield_seconds + 1.0
        while len(self._uploads) >= self._limits.uploads:
            slowest = min(self._uploads, key=lambda upload: upload.stalls_since)
            if slowest.stalls_since < loop.time():
                slowest.give_way()
            if loop.time() >= until:
                raise FullError(
                    f"{self._limits.uploads} uploads are under way; try again when one of them is through"
                )
            await asyncio.sleep(_LOOK_SECONDS)
        upload = Upload(self._limits)
        self._uploads.add(upload)
        try:
            yield upload
        finally:
            self._uploads.discard(upload)
