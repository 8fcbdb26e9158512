"""How slow an upload may be, and which one yields to another."""

from __future__ import annotations

import asyncio

import pytest

from nnstudent.web.jobs import FullError
from nnstudent.web.pace import TimeBudget, TooSlowError, Upload, UploadSlots
from nnstudent.web.settings import Limits

LIMITS = Limits(uploads=1, stall_seconds=0.3, yield_seconds=0.05, least_rate=1000)


def test_each_byte_buys_time_but_never_more_than_the_patience() -> None:
    budget = TimeBudget(100, 5.0, now=10.0)
    assert budget.due == 15.0
    budget.take(200, now=14.0)
    assert budget.due == 17.0
    budget.take(10**9, now=14.0)
    assert budget.due == 19.0


async def pieces(count: int, *, pause: float):
    for _ in range(count):
        await asyncio.sleep(pause)
        yield bytes(100)


def test_a_steady_stream_passes_and_a_stalled_one_is_cut_off() -> None:
    async def sent(pause: float) -> int:
        return sum([len(piece) async for piece in Upload(LIMITS).paced(pieces(5, pause=pause))])

    assert asyncio.run(sent(0.0)) == 500
    with pytest.raises(TooSlowError, match="stalled and was cut off"):
        asyncio.run(sent(1.0))


def test_the_readers_own_time_does_not_count() -> None:
    async def read_slowly() -> int:
        count = 0
        async for _ in Upload(LIMITS).paced(pieces(3, pause=0.0)):
            await asyncio.sleep(0.5)
            count += 1
        return count

    assert asyncio.run(read_slowly()) == 3


def test_one_that_stalls_yields_and_one_that_is_fast_does_not() -> None:
    async def second_comes(*, stalled: bool) -> None:
        slots = UploadSlots(Limits(uploads=1, stall_seconds=60, yield_seconds=0.05, least_rate=10))
        pause = 60.0 if stalled else 0.01

        async def first() -> None:
            async with slots.admit() as upload:
                async for _ in upload.paced(pieces(10_000, pause=pause)):
                    pass

        task = asyncio.create_task(first())
        await asyncio.sleep(0.01)
        try:
            async with slots.admit():
                pass
        finally:
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended[0], TooSlowError) == stalled

    asyncio.run(second_comes(stalled=True))
    with pytest.raises(FullError, match="1 uploads are running"):
        asyncio.run(second_comes(stalled=False))
