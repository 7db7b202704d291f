"""A watcher outlives the machines it watches."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE
from virtiomem.errors import UsageError
from virtiomem.units import GiB
from virtiomem.vm import watch as watching
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.watch import Sample, watch

SUMMARY = {"base-memory": GiB, "plugged-memory": 0}
DATA = {"id": "vm0", "memaddr": 1 << 32, "requested-size": 0, "max-size": GiB, "block-size": 1 << 21, "node": 0}


def table(size: int) -> dict[str, Any]:
    return {
        "query-memory-size-summary": SUMMARY,
        "query-status": {"status": "running"},
        "query-memory-devices": [{"type": "virtio-mem", "data": DATA | {"size": size}}],
    }


async def until(
    connection: Connection, enough: Callable[[list[Sample]], bool], seen: list[Sample], *, yields: bool = False
) -> None:
    async with aclosing(watch([connection], 0.02, yields=yields)) as samples, asyncio.timeout(PATIENCE):
        async for sample in samples:
            seen.append(sample)
            if enough(seen):
                return


def test_machine_that_goes_and_comes_back_is_seen_again(serve: Any, qmp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_RETRY_SECONDS", 0.05)
    seen: list[Sample] = []

    async def run() -> None:
        first = asyncio.Event()

        def back_again(samples: list[Sample]) -> bool:
            first.set()
            return samples[-1].machine is not None and any(sample.error for sample in samples)

        async with serve(qmp(table(0))) as path:
            watcher = asyncio.create_task(until(parse_connection(f"vm=qmp:{path}"), back_again, seen))
            await first.wait()
            async with serve(qmp(table(0)), hang_up=True):
                await watcher

    asyncio.run(run())
    assert [sample.error is None for sample in seen if sample.changed][:3] == [True, False, True]


def test_watch_that_yields_lets_others_at_the_machine_between_two_looks(serve: Any, qmp: Any) -> None:
    """The server serves one client after the other, as QEMU's monitor does."""
    seen: list[Sample] = []

    async def run() -> None:
        turn = asyncio.Lock()
        serving = qmp(table(0))

        async def one_at_a_time(*streams: Any) -> None:
            async with turn:
                await serving(*streams)

        async with serve(one_at_a_time) as path:
            connection = parse_connection(f"vm=qmp:{path}")
            watcher = asyncio.create_task(until(connection, lambda samples: len(samples) >= 4, seen, yields=True))
            vm = await open_vm(connection)
            assert (await vm.backend.look()).devices
            await vm.aclose()
            await watcher

    asyncio.run(run())
    assert [sample.error for sample in seen] == [None] * len(seen)
    assert [sample.changed for sample in seen] == [True] + [False] * (len(seen) - 1), "it is the same machine each time"


def test_machine_that_stays_lost_changes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_RETRY_SECONDS", 0.01)
    seen: list[Sample] = []
    nowhere = parse_connection(f"vm=qmp:{tmp_path / 'none.sock'}")
    asyncio.run(until(nowhere, lambda samples: len(samples) == 3, seen))
    assert [sample.changed for sample in seen] == [True, False, False]
    assert all(sample.error for sample in seen), "a metric goes on saying that it is down"


def test_connection_that_can_never_be_one_ends_the_watch(tmp_path: Path) -> None:
    nowhere = parse_connection(f"vm=sim:{tmp_path / 'none.toml'}")
    with pytest.raises(UsageError, match=r"none\.toml"):
        asyncio.run(until(nowhere, lambda samples: len(samples) == 3, []))


@pytest.mark.parametrize("status", ["\ud800", {"status": "\x1b[2J"}, {}])
def test_machine_that_answers_nonsense_is_lost_with_the_reason(serve: Any, qmp: Any, status: object) -> None:
    seen: list[Sample] = []

    async def run() -> None:
        async with serve(qmp(table(0) | {"query-status": status})) as path:
            await until(parse_connection(f"vm=qmp:{path}"), lambda samples: len(samples) == 1, seen)

    asyncio.run(run())
    assert "bad answer to query-status: " in str(seen[0].error)


def test_watcher_that_fails_for_any_other_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watching, "open_vm", broken)
    seen: list[Sample] = []
    asyncio.run(until(parse_connection("vm=qmp:/monitor"), lambda samples: len(samples) == 1, seen))
    assert str(seen[0].error) == "qmp:/monitor: cannot be looked at: ZeroDivisionError"


def test_still_time_counts_from_the_last_change(serve: Any, qmp: Any) -> None:
    seen: list[Sample] = []
    state = table(0)

    async def run() -> None:
        async with serve(qmp(state)) as path:

            def enough(samples: list[Sample]) -> bool:
                if len(samples) == 4:
                    state.update(table(1 << 21))
                return len(samples) == 6

            await until(parse_connection(f"vm=qmp:{path}"), enough, seen)

    asyncio.run(run())
    stills = [sample.still_for["vm0"] for sample in seen]
    assert stills[0] == 0
    assert stills[3] > 0
    assert stills[4] == 0
    assert [sample.changed for sample in seen] == [True, False, False, False, True, False]
