"""The binding `libvirt` played from embedded guests, as libvirt 9.0 with its QEMU driver behaves.

Codes and texts are those that a real libvirtd gave (tests/real/test_vm_libvirt.py provokes them); what libvirt shows of a
plugged size is what it has heard of by an event.
"""

import json
import threading
import types
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

from tests.vm.doors.machine import BOOT, Played
from tests.vm.doors.servers import dimms
from virtiomem.errors import DeviceError
from virtiomem.units import KiB, MiB

URI = "fake:///system"


class FakeError(Exception):
    """libvirtError."""

    def __init__(self, code: int, words: str, domain: int = 10) -> None:
        super().__init__(words)
        self._code, self._domain = code, domain

    def get_error_code(self) -> int:
        return self._code

    def get_error_domain(self) -> int:
        return self._domain


class Daemon:
    """A libvirtd with its domains."""

    def __init__(self, **domains: Played) -> None:
        self.domains = domains
        self.alive = True
        self.opened: list[bool] = []
        """For each connection, whether it may write."""
        self.hanging = threading.Event()
        self.hanging.set()
        """Cleared while QEMU does not answer its monitor."""
        self.stored = {name: {device.id: 0 for device in played.devices} for name, played in domains.items()}
        self.callbacks: list[tuple[int, Callable[..., None], Any]] = []
        self.close_callbacks: list[tuple[Any, Callable[..., None]]] = []
        for name, played in domains.items():
            played.listeners.append(partial(self._on_size, name))

    def _on_size(self, name: str, device: str, size: int) -> None:
        self.tell(SIZE, name, device, size // KiB)

    def tell(self, number: int, name: str, *arguments: Any) -> None:
        for wanted, callback, connection in self.callbacks:
            if wanted == number:
                callback(connection, FakeDomain(self, name, writes=False), *arguments, None)

    def stop(self, name: str, detail: int) -> None:
        """End a domain: 1 it is destroyed, 3 it has migrated away."""
        del self.domains[name]
        self.tell(LIFECYCLE, name, 5, detail)

    def die(self) -> None:
        self.alive = False
        for connection, callback in self.close_callbacks:
            callback(connection, 1, None)
        self.callbacks, self.close_callbacks = [], []


LIFECYCLE, REBOOT, SIZE = 0, 1, 26


class FakeConnection:
    """virConnect."""

    def __init__(self, daemon: Daemon, *, writes: bool) -> None:
        if not daemon.alive:
            raise FakeError(38, "Failed to connect socket to '/run/libvirt/libvirt-sock': Connection refused", 7)
        self.daemon, self.writes = daemon, writes
        daemon.opened.append(writes)

    def check(self) -> Daemon:
        if not self.daemon.alive:
            raise FakeError(1, "internal error: client socket is closed", 7)
        return self.daemon

    def setKeepAlive(self, interval: int, count: int) -> None:  # noqa: N802
        assert interval
        assert count

    def registerCloseCallback(self, callback: Callable[..., None], opaque: Any) -> None:  # noqa: N802
        assert opaque is None
        self.daemon.close_callbacks.append((self, callback))

    def domainEventRegisterAny(self, domain: Any, number: int, callback: Callable[..., None], _: Any) -> int:  # noqa: N802
        assert domain is None
        self.daemon.callbacks.append((number, callback, self))
        return len(self.daemon.callbacks)

    def lookupByName(self, name: str) -> "FakeDomain":  # noqa: N802
        if name not in self.check().domains:
            raise FakeError(42, f"Domain not found: no domain with matching name '{name}'")
        return FakeDomain(self.daemon, name, writes=self.writes)

    def lookupByUUIDString(self, text: str) -> "FakeDomain":  # noqa: N802
        for name in self.check().domains:
            if (domain := FakeDomain(self.daemon, name, writes=self.writes)).UUIDString() == text:
                return domain
        raise FakeError(42, f"Domain not found: no domain with matching uuid '{text}'")

    def listAllDomains(self, flags: int) -> list["FakeDomain"]:  # noqa: N802
        assert flags == 1
        return [FakeDomain(self.daemon, name, writes=self.writes) for name in self.check().domains]

    def getVersion(self) -> int:  # noqa: N802
        return 7002022

    def getLibVersion(self) -> int:  # noqa: N802
        return 9000000

    def close(self) -> int:
        self.daemon.callbacks = [entry for entry in self.daemon.callbacks if entry[2] is not self]
        self.daemon.close_callbacks = [entry for entry in self.daemon.close_callbacks if entry[0] is not self]
        return 0


class FakeDomain:
    """virDomain."""

    def __init__(self, daemon: Daemon, name: str, *, writes: bool) -> None:
        self.daemon, self._name, self.writes = daemon, name, writes

    @property
    def played(self) -> Played:
        if not self.daemon.alive:
            raise FakeError(1, "internal error: client socket is closed", 7)
        if self._name not in self.daemon.domains:
            raise FakeError(42, f"Domain not found: no domain with matching uuid '{self.UUIDString()}' ({self._name})")
        return self.daemon.domains[self._name]

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, self._name))

    def state(self) -> list[int]:
        return [{"running": 1, "paused": 3}[self.played.status], 1]

    def jobStats(self) -> dict[str, int]:  # noqa: N802
        number = {None: 0, "save": 2, "migration": 5, "dump": 8}[self.played.busy]
        return {"type": 2, "operation": number} if number else {"type": 0}

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        memory = "".join(
            f"<memory model='virtio-mem'><target><size unit='KiB'>{d.max_size // KiB}</size><node>{d.node}</node>"
            f"<block unit='KiB'>{d.block_size // KiB}</block><requested unit='KiB'>{self._requested(d, flags) // KiB}"
            f"</requested>{'' if flags else f'''<current unit='KiB'>{d.size // KiB}</current>'''}</target>"
            f"<alias name='ua-{d.id}'/><address type='pci' bus='{d.memaddr >> 30:#x}'/></memory>"
            for d in self.played.devices
        )
        memory += "".join(
            f"<memory model='dimm'><target><size unit='KiB'>{d.size // KiB}</size><node>0</node></target>"
            f"<alias name='ua-{d.id}'/><address type='dimm' slot='0' base='{d.addr:#x}'/></memory>"
            for d in dimms(self.played)
        )
        cells = f"<cell id='0' cpus='0' memory='{BOOT // MiB}' unit='MiB'/>"
        return (
            f"<domain type='qemu'><name>{self._name}</name><memory unit='KiB'>4194304</memory>"
            f"<cpu><numa>{cells}</numa></cpu><devices>{memory}</devices></domain>"
        )

    def _requested(self, device: Any, flags: int) -> int:
        return self.daemon.stored[self._name][device.id] if flags else int(device.requested_size)

    def updateDeviceFlags(self, xml: str, flags: int) -> int:  # noqa: N802
        self._check_change("virDomainUpdateDeviceFlags")
        device = ET.fromstring(xml)  # noqa: S314 - our own
        alias, requested = device.find("./alias"), device.find("./target/requested")
        assert alias is not None
        assert requested is not None
        known = next((d for d in self.played.devices if f"ua-{d.id}" == alias.get("name")), None)
        if known is None:
            raise FakeError(67, f"unsupported configuration: memory '{alias.get('name')}' not found")
        size = int(requested.text or "") * (1 if requested.get("unit") == "bytes" else KiB)
        if size % known.block_size:
            raise FakeError(35, "requested size must be an integer multiple of block size")
        if size > known.max_size:
            raise FakeError(35, f"requested size must be smaller than or equal to @size ({known.max_size // KiB}KiB)")
        if flags & 1:
            self.played.set(known.id, size)
        if flags & 2:
            self.daemon.stored[self._name][known.id] = size
        return 0

    def attachDeviceFlags(self, xml: str, flags: int) -> int:  # noqa: N802
        self._check_change("virDomainAttachDeviceFlags")
        assert flags & 1
        device = ET.fromstring(xml)  # noqa: S314 - our own
        if device.get("model") != "dimm":
            raise FakeError(67, "unsupported configuration: the played guest takes DIMMs only")
        if device.find("./target/node") is None:
            raise FakeError(67, "unsupported configuration: target NUMA node needs to be specified for memory device")
        alias = device.find("./alias")
        assert alias is not None
        name, size = alias.get("name", ""), int(device.findtext("./target/size") or 0)
        try:
            self.played.plug_dimm(name.removeprefix("ua-"), size)
        except DeviceError as error:
            raise FakeError(1, f"internal error: unable to execute QEMU command 'device_add': {error}") from None
        return 0

    def detachDeviceFlags(self, xml: str, flags: int) -> int:  # noqa: N802
        self._check_change("virDomainDetachDeviceFlags")
        assert flags & 1
        device = ET.fromstring(xml)  # noqa: S314 - our own
        if device.get("model") == "virtio-mem":
            raise FakeError(84, "Operation not supported: virtio-mem hot unplug is not supported")
        alias = device.find("./alias")
        assert alias is not None
        self.played.unplug_dimm(alias.get("name", "").removeprefix("ua-"))
        return 0

    def _check_change(self, function: str) -> None:
        if not self.writes:
            raise FakeError(29, f"operation forbidden: read only access prevents {function}")
        self.daemon.hanging.wait(60)
        if self.played.busy is not None:
            raise FakeError(68, "Timed out during operation: cannot acquire state change lock")


def agent_command(domain: FakeDomain, question: str, seconds: int, flags: int) -> str:
    """qemuAgentCommand, of a guest whose agent may show its memory blocks and no files."""
    assert seconds >= 1
    assert flags == 0
    if not domain.writes:
        raise FakeError(29, "operation forbidden: read only access prevents virDomainAgentCommand")
    snapshot = domain.played.guest.snapshot()
    match json.loads(question)["execute"]:
        case "guest-get-memory-block-info":
            return json.dumps({"return": {"size": 128 * MiB}})
        case "guest-get-memory-blocks":
            blocks = [
                {"phys-index": b.block, "online": b.is_online, "can-offline": True} for b in snapshot.memory_blocks
            ]
            return json.dumps({"return": blocks})
        case command:
            raise FakeError(1, f"internal error: unable to execute QEMU agent command '{command}': it is disabled")


def modules(daemon: Daemon) -> dict[str, types.ModuleType]:
    """What stands in sys.modules for the binding."""
    libvirt, qemu = types.ModuleType("libvirt"), types.ModuleType("libvirt_qemu")

    def opening(writes: bool) -> Callable[[str | None], FakeConnection]:
        def connect(uri: str | None) -> FakeConnection:
            if uri not in (URI, None):
                raise FakeError(5, f"no connection driver available for {uri}")
            return FakeConnection(daemon, writes=writes)

        return connect

    vars(libvirt).update(
        libvirtError=FakeError,
        open=opening(writes=True),
        openReadOnly=opening(writes=False),
        registerErrorHandler=lambda _handler, _context: None,
        virEventRegisterDefaultImpl=lambda: None,
        virEventRunDefaultImpl=threading.Event().wait,
        VIR_CONNECT_LIST_DOMAINS_ACTIVE=1,
        VIR_DOMAIN_EVENT_ID_LIFECYCLE=LIFECYCLE,
        VIR_DOMAIN_EVENT_ID_REBOOT=REBOOT,
        VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE=SIZE,
    )
    vars(qemu).update(qemuAgentCommand=agent_command)
    return {"libvirt": libvirt, "libvirt_qemu": qemu}
