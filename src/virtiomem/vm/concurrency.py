"""Ask many peers at once: a bounded number at a time, and no task left running when one fails."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

AT_ONCE = 16
"""Questions under way to one peer; most answer them one by one anyway."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


async def each(
    ask: Callable[[Item], Awaitable[Answer]], items: Iterable[Item], *, at_once: int = AT_ONCE
) -> list[Answer]:
    """Return the answers for all items, in their order; at most `at_once` are asked at a time.

    The first failure is raised once all the others have been cancelled and have ended.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Answer:
        async with gate:
            return await ask(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        # gather() raises the first failure and leaves the other tasks running; what they then raised would be printed
        # as "exception was never retrieved", behind the one line that says what is wrong.
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
