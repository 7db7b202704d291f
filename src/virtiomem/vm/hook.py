"""Set a machine's requested size from code without asyncio that needs nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from virtiomem.errors import DeviceError, UsageError
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.model import VirtioMemDevice, Vm

T = TypeVar("T")


class DoorHook:
    """The one virtio-mem device of a machine, through a door of `vm`, which stays open from the first call until `close`."""

    def __init__(self, text: str) -> None:
        """`text` as for --connect; raises UsageError for what means no machine."""
        self._connection = parse_connection(text).changing()
        self._runner: asyncio.Runner | None = None
        self._vm: Vm | None = None

    def set_requested_size(self, size: int) -> None:
        """Set it, in bytes; raises DeviceError, in the VMM's own words, when it refuses."""

        async def set_size(vm: Vm) -> None:
            await vm.backend.set_requested_size((await self._device(vm)).id, size)

        try:
            self._with(set_size)
        except DeviceError as refused:
            raise DeviceError(refused.message) from None

    def size(self) -> int:
        """The plugged size that the VMM reports; NotImplementedError when it does not."""
        size = self._with(self._device).size
        if size is None:
            raise NotImplementedError
        return size

    def close(self) -> None:
        """Close the connection, also to a machine that is gone; the next call opens a new one."""
        runner, vm = self._runner, self._vm
        self._runner = self._vm = None
        if runner is not None:
            with runner:
                if vm is not None:
                    runner.run(vm.aclose())

    async def _device(self, vm: Vm) -> VirtioMemDevice:
        devices = (await vm.backend.look()).virtio_mem
        if len(devices) != 1:
            raise UsageError(f"{self._connection.label}: one virtio-mem device is needed, and there are {len(devices)}")
        return devices[0]

    def _with(self, use: Callable[[Vm], Awaitable[T]]) -> T:
        async def used() -> T:
            # Kept open: a monitor serves one client, and one that comes back at once may find it still taken on a busy
            # machine.
            self._vm = self._vm or await open_vm(self._connection)
            return await use(self._vm)

        # One event loop for all calls, since sockets and tasks of an open machine belong to the loop that opened it.
        self._runner = self._runner or asyncio.Runner()
        return self._runner.run(used())
