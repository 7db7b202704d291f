"""Many machines over time: one sample for each look, for a live view, for JSON lines, for metrics.

A machine that is lost is tried again after 1, 2, 4 … 30 seconds, until the watch ends.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from virtiomem.errors import BackendError, UsageError, VirtiomemError
from virtiomem.text import shown
from virtiomem.vm.connect import open_vm
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.model import Event, Machine, Vm

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 30.0
# A bound on what a reader that has stopped reading makes us keep: watchers then wait for it.
MAX_PENDING = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a machine: what it showed, or why it could not be seen.

    `still_for`: seconds since each device's size last changed, or since it was first seen.
    """

    vm: str
    seconds: float
    """Since watching began."""
    machine: Machine | None
    error: VirtiomemError | None = None
    events: frozenset[Event] = frozenset()
    still_for: dict[str, float] = field(default_factory=dict)
    changed: bool = True
    """False when nothing differs from the machine's last sample."""


async def watch(
    connections: Sequence[Connection], interval: float, *, yields: bool = False
) -> AsyncGenerator[Sample, None]:
    """Samples of all machines as they come: at once when something happens, every `interval` seconds anyway.

    `yields` closes each connection between two looks, so that other clients of a monitor get a turn; no events come then.
    Raises UsageError for an invalid connection, such as a scenario that does not exist: trying again would not help.
    """
    samples: asyncio.Queue[Sample | UsageError] = asyncio.Queue(MAX_PENDING)
    began = asyncio.get_running_loop().time()
    watchers = [asyncio.create_task(_Watcher(c, interval, samples, began, yields).run()) for c in connections]
    try:
        while True:
            sample = await samples.get()
            if isinstance(sample, UsageError):
                raise sample
            yield sample
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


class _Watcher:
    """One machine, looked at again and again."""

    def __init__(
        self,
        connection: Connection,
        interval: float,
        samples: asyncio.Queue[Sample | UsageError],
        began: float,
        yields: bool,
    ) -> None:
        # A simulated machine waits in real time here: at full speed a watch would never pause.
        self.connection = replace(connection, access=replace(connection.access, pace=1.0))
        self.interval = interval
        self.yields = yields
        self.samples = samples
        self.began = began
        self.last: Machine | None = None
        self.last_error: str | None = None
        self.moved_at: dict[str, float] = {}

    async def run(self) -> None:
        """Watch until cancelled."""
        pause = FIRST_RETRY_SECONDS
        while True:
            try:
                vm = await open_vm(self.connection)
                # It answered: a machine that is lost once an hour is tried again after one second each time.
                pause = FIRST_RETRY_SECONDS
                await self._follow(vm)
                # Reached only with `yields`: `_follow` returns after one look, and the monitor is free while we sleep.
                await asyncio.sleep(self.interval)
                continue
            # A scenario that is missing will be missing at the next try as well.
            except UsageError as error:
                await self.samples.put(error)
                return
            except VirtiomemError as error:
                await self._lost(error)
            except Exception as error:  # noqa: BLE001 - a watcher that ends unseen would be blind and silent
                why = shown(error) or type(error).__name__
                await self._lost(BackendError(f"cannot be looked at: {why}", connection=str(self.connection)))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY_SECONDS)

    async def _follow(self, vm: Vm) -> None:
        """Look until the machine is lost, or once where others are to have it then."""
        try:
            events: frozenset[Event] = frozenset()
            while True:
                machine = await vm.backend.look()
                await self._seen(machine, events)
                if self.yields:
                    return
                events = await vm.backend.wait(self.interval)
        finally:
            with suppress(VirtiomemError):
                await vm.aclose()

    async def _seen(self, machine: Machine, events: frozenset[Event]) -> None:
        now = self._now()
        before = {device.id: device.size for device in self.last.devices} if self.last else {}
        for device in machine.devices:
            if before.get(device.id) != device.size:
                self.moved_at[device.id] = now
        still = {device.id: now - self.moved_at[device.id] for device in machine.devices}
        # A change of size shows in the machine itself, and an event that was throttled may come when nothing differs
        # any more.
        changed = machine != self.last or bool(events - {Event.SIZE})
        self.last, self.last_error = machine, None
        await self.samples.put(
            Sample(self.connection.name, now, machine, events=events, still_for=still, changed=changed)
        )

    async def _lost(self, error: VirtiomemError) -> None:
        changed = str(error) != self.last_error
        self.last, self.last_error = None, str(error)
        # While it was out of sight its devices may have moved: how long they stood still is not known.
        self.moved_at.clear()
        await self.samples.put(Sample(self.connection.name, self._now(), None, error, changed=changed))

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self.began
