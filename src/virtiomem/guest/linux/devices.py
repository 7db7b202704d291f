"""The memory devices of a guest, as QEMU knows and changes them."""

import time
from collections.abc import Callable

from msgspec import UNSET

from virtiomem.errors import DeviceError, ProtocolError
from virtiomem.qemu.arguments import backend_object
from virtiomem.qemu.memory_devices import QUERY, SET, MemoryDevice, path_of, requested_size
from virtiomem.qemu.qmp import QmpSession
from virtiomem.recording import DeviceInfo, VirtioMemInfo
from virtiomem.recording.values import PlugDimm
from virtiomem.text import quoted
from virtiomem.units import Span

UNPLUG_LIMIT = 30.0
"""Seconds the guest has to answer when a DIMM is to go."""

_DELETED = "DEVICE_DELETED"
# QEMU 6.2 gave the event its new name and still sends both.
_REFUSED = ("DEVICE_UNPLUG_GUEST_ERROR", "MEM_UNPLUG_ERROR")
_POLL = 0.2


class MemoryDevices:
    """virtio-mem devices and DIMMs; what QEMU refuses raises DeviceError in its words."""

    def __init__(self, qmp: QmpSession) -> None:
        self._qmp = qmp

    def query(self) -> list[DeviceInfo]:
        """All of them, as they are now."""
        return list(map(_info, self._qmp.ask(QUERY, shape=list[MemoryDevice])))

    def regions(self) -> dict[str, Span]:
        """The virtio-mem devices' memory, by id."""
        return {info.id: info.region for info in self.query() if isinstance(info, VirtioMemInfo)}

    def set_requested_size(self, device: str, size: int) -> None:
        """Set a virtio-mem device's requested-size, in bytes."""
        self._qmp.execute(SET, requested_size(path_of(device), size))

    def plug_dimm(self, step: PlugDimm) -> None:
        """Plug a DIMM; the guest hears of it through ACPI."""
        memory = _memory(step.id)
        self._qmp.execute("object-add", backend_object(memory, int(step.size)))
        dimm = {"driver": "pc-dimm", "id": step.id, "memdev": memory, "node": step.node}
        try:
            self._qmp.execute("device_add", dimm if step.memaddr is UNSET else {**dimm, "addr": int(step.memaddr)})
        except DeviceError:
            # Else the id stays taken, and a second attempt fails for that instead of for its own reason.
            self._qmp.execute("object-del", {"id": memory})
            raise

    def unplug_dimm(self, identifier: str, *, meanwhile: Callable[[], None]) -> None:
        """Ask for a DIMM and wait for the guest's answer, calling `meanwhile` now and then."""
        # An event about an earlier DIMM of this id must not be taken for the answer.
        self._qmp.forget_events()
        self._qmp.execute("device_del", {"id": identifier})
        until = time.monotonic() + UNPLUG_LIMIT
        while time.monotonic() < until:
            event = self._qmp.next_event(_DELETED, *_REFUSED, timeout=_POLL)
            # The guest prints while it works, and a console that is not read stops it.
            meanwhile()
            if event is None or event.data.get("device") != identifier:
                continue
            if event.name == _DELETED:
                self._qmp.execute("object-del", {"id": _memory(identifier)})
                return
            raise DeviceError(f"the guest did not give back {identifier}")
        raise DeviceError(f"the guest did not answer within {UNPLUG_LIMIT:g} s when {identifier} was to go")


def _memory(identifier: str) -> str:
    """The id of a DIMM's backend."""
    return f"mem-{identifier}"


def _info(device: MemoryDevice) -> DeviceInfo:
    """An entry of query-memory-devices; each device that we start has an id."""
    if device.data.id is None or device.type not in {"dimm", "virtio-mem"}:
        raise ProtocolError(f"QEMU has a memory device that we did not start, of type {quoted(device.type)}")
    return device.info
