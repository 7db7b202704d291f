"""Asking many at once: not more than is decent, and none left behind when one fails."""

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
    """The answers for all items, in their order, a few at a time.

    The first failure is raised once all the others have been cancelled and have ended.
    """
    gate = asyncio.Semaphore(at_once)

    async def one(item: Item) -> Answer:
        async with gate:
            return await ask(item)

    tasks = [asyncio.create_task(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
