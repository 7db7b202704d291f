"""Many at once: a few at a time, none left behind; and a cancellation is never lost."""

import asyncio
import gc

import pytest

from virtiomem.vm.concurrency import each
from virtiomem.vm.doors.qmp import QmpBackend


def test_answers_come_in_order_and_few_are_under_way() -> None:
    under_way, most = 0, 0

    async def ask(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(number % 3):
            await asyncio.sleep(0)
        under_way -= 1
        return -number

    assert asyncio.run(each(ask, range(50), at_once=4)) == [-number for number in range(50)]
    assert most == 4


def test_first_failure_ends_the_others_and_leaves_no_exception_behind(caplog: pytest.LogCaptureFixture) -> None:
    ended = []

    async def ask(number: int) -> None:
        try:
            await asyncio.sleep(0 if number < 2 else 60)
            raise LookupError(number)
        finally:
            ended.append(number)

    async def run() -> None:
        with pytest.raises(LookupError, match="0"):
            await each(ask, range(4))
        assert sorted(ended) == [0, 1, 2, 3]

    asyncio.run(run())
    gc.collect()  # an exception that was not awaited would complain now
    assert caplog.records == []


@pytest.mark.parametrize("turns", range(5))
def test_a_cancellation_in_the_moment_of_an_event_is_not_lost(turns: int) -> None:
    async def run() -> None:
        backend = QmpBackend("qmp:test", "/nowhere")
        waiting = asyncio.create_task(backend.wait(60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        backend._on_event("MEMORY_DEVICE_SIZE_CHANGE", {})
        for _ in range(turns):
            await asyncio.sleep(0)
        if waiting.cancel():
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(run())
