"""Running uploads: how many there may be, how slow one may be, and which one yields to another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nnstudent.errors import InputError
from nnstudent.web.jobs import FullError
from nnstudent.web.settings import Limits

_POLL_SECONDS = 0.1


class TooSlowError(InputError):
    """An upload is slower than the lowest permitted rate."""


class TimeBudget:
    """A leaky bucket of time: each byte adds ``1 / rate`` seconds, up to ``patience`` seconds."""

    def __init__(self, rate: int, patience: float, *, now: float) -> None:
        """Start with the full ``patience``."""
        self._rate, self._patience = rate, patience
        self.due = now + patience

    def take(self, size: int, *, now: float) -> None:
        """Count bytes that arrived."""
        self.due = min(now + self._patience, self.due + size / self._rate)


class Upload:
    """One running upload; it is used in the event loop only."""

    def __init__(self, limits: Limits) -> None:
        """Start an upload now."""
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._required = TimeBudget(limits.least_rate, limits.stall_seconds, now=now)
        self._yielding = TimeBudget(limits.least_rate, limits.yield_seconds, now=now)
        self._waiting: asyncio.Timeout | None = None

    @property
    def stalls_since(self) -> float:
        """Loop time after which it yields to another upload."""
        return self._yielding.due

    def give_way(self) -> None:
        """End it, if it is waiting for its sender."""
        if self._waiting is not None:
            self._waiting.reschedule(self._loop.time())

    async def paced(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass the stream on as long as it is fast enough; the reader's own time does not count.

        Raises:
            TooSlowError: It is too slow, or it stalled while another upload waited.
        """
        pieces = aiter(stream)
        while True:
            try:
                async with asyncio.timeout_at(self._required.due) as self._waiting:
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TooSlowError("the upload stalled and was cut off; send it again") from None
            finally:
                self._waiting = None
            now = self._loop.time()
            self._required.take(len(piece), now=now)
            self._yielding.take(len(piece), now=now)
            yield piece
            spent = self._loop.time() - now
            self._required.due += spent
            self._yielding.due += spent


class UploadSlots:
    """The running uploads."""

    def __init__(self, limits: Limits) -> None:
        """Start without any upload."""
        self._limits = limits
        self._uploads: set[Upload] = set()

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[Upload]:
        """Admit one more upload.

        If there are too many, one that stalls yields to it; otherwise it waits a little.

        Raises:
            FullError: All slots are taken by uploads that are fast enough.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._limits.yield_seconds + 1.0
        while len(self._uploads) >= self._limits.uploads:
            slowest = min(self._uploads, key=lambda upload: upload.stalls_since)
            if slowest.stalls_since < loop.time():
                slowest.give_way()
            if loop.time() >= until:
                raise FullError(
                    f"{self._limits.uploads} uploads are running; try again when one has finished"
                )
            await asyncio.sleep(_POLL_SECONDS)
        upload = Upload(self._limits)
        self._uploads.add(upload)
        try:
            yield upload
        finally:
            self._uploads.discard(upload)
