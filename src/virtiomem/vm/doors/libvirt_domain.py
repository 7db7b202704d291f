"""A domain of libvirt behind `Backend`.

Sizes are what libvirt's XML says about them: what is requested at once, what is plugged up to a second late, for libvirt takes
it from QEMU's event. A size is set with virDomainUpdateDeviceFlags() and never through the monitor, behind libvirt's back:
libvirt would go on showing the old one.
"""

import asyncio
from contextlib import suppress
from typing import Any

from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError
from virtiomem.text import one_line, shown
from virtiomem.vm.doors import libvirt_xml
from virtiomem.vm.doors.libvirt_host import MAX_WORDS, LibvirtHost, LibvirtRefused, release
from virtiomem.vm.doors.libvirt_xml import DomainXml, WrongXml
from virtiomem.vm.model import Driver, Event, HypervisorInfo, Machine, NewDevice

OWN_ALIAS = "ua-"
"""How an alias begins that is not libvirt's own."""
AFFECT_LIVE, AFFECT_CONFIG = 1, 2
INACTIVE = 2
"""The XML of the stored configuration (VIR_DOMAIN_XML_INACTIVE)."""
_STATES = {1: "running", 2: "running", 3: "paused", 4: "shutting down", 5: "shut off", 6: "crashed", 7: "suspended"}
"""virDomainState; a blocked domain waits for its CPUs' next instruction, as a running one does."""
_OFF = {5, 6}
_JOBS = {2: "saved", 4: "migrated", 5: "migrated", 6: "copied to a snapshot", 8: "dumped"}
"""virDomainJobOperation: jobs during which libvirt takes no change."""
_MIGRATIONS = {4, 5}


class LibvirtBackend:
    """A domain of libvirt; it belongs to a connection that others may use as well."""

    def __init__(self, host: LibvirtHost, domain: Any, label: str, *, persist: bool = False) -> None:
        """`persist`: a size that is set goes into the stored configuration, too."""
        self._host = host
        self._domain = domain
        self._label = label
        self._persist = persist
        self._uuid: str = domain.UUIDString()
        self._events: set[Event] = set()
        self._woken = asyncio.Event()
        self._ending: str | None = None
        self._seen = DomainXml(0, (), (), {})
        self._closed = False
        host.listen(self._uuid, self._on_event)

    def now(self) -> float:
        """Seconds of the event loop's clock."""
        return asyncio.get_running_loop().time()

    async def look(self) -> Machine:
        """Return the present sizes, as libvirt last saw them."""
        try:
            # In this order: of a domain that has ended meanwhile the XML is the stored one, which has no plugged sizes.
            xml = await self._call("virDomainGetXMLDesc", self._domain.XMLDesc, 0)
            state, _ = await self._call("virDomainGetState", self._domain.state)
        except LibvirtRefused as error:
            raise BackendError(self._gone() or error.words, connection=self._label) from None
        # A stopped persistent domain still has XML, with sizes that are not plugged anywhere.
        if state in _OFF:
            raise BackendError(self._gone() or f"the domain is {_STATES[state]}", connection=self._label)
        try:
            self._seen = libvirt_xml.read_domain(xml)
        except WrongXml as error:
            raise ProtocolError(f"bad XML: {one_line(str(error), MAX_WORDS)}", connection=self._label) from None
        status = _STATES.get(state, f"state {state}")
        return Machine(status=status, boot_memory=self._seen.boot_memory, devices=self._seen.devices)

    async def hypervisor_info(self, machine: Machine) -> HypervisorInfo:
        """The job that runs, and passed-through devices; libvirt does not report drivers."""
        hypervisor = "libvirt"
        with suppress(LibvirtRefused, BackendTimeout):  # an old daemon starts QEMU to ask it
            qemu, libvirt = await self._host.versions()
            hypervisor = f"QEMU {_version(qemu)} through libvirt {_version(libvirt)}"
        return HypervisorInfo(
            hypervisor=hypervisor,
            drivers={device.id: Driver.UNKNOWN for device in machine.virtio_mem},
            migration="active" if await self._job() in _MIGRATIONS else None,
            vfio=self._seen.vfio,
        )

    async def set_requested_size(self, device: str, size: int) -> None:
        """Set a requested size in the running domain, and in the stored configuration where that is wanted."""
        # libvirt would wait 30 s for its lock and then fail with OPERATION_TIMEOUT.
        await self._not_during_a_job(device)
        # libvirt finds the device by alias and address and refuses any other change, so it gets its own XML with one
        # number replaced.
        element = await self._element(device)
        stored = await self._stored(device, element)
        change = ("virDomainUpdateDeviceFlags", self._domain.updateDeviceFlags)
        # The stored one first: it can be put back without the guest noticing, a size that the guest follows cannot.
        if stored is not None:
            await self._change(*change, libvirt_xml.with_requested(stored, size), device, AFFECT_CONFIG)
        try:
            await self._change(*change, libvirt_xml.with_requested(element, size), device)
        except DeviceError:
            if stored is not None:  # as it was
                await self._change(*change, stored, device, AFFECT_CONFIG)
            raise

    async def attach(self, new: NewDevice) -> str:
        """Add a memory device to the running domain, and to the stored configuration where that is wanted."""
        # An alias of the user's begins so; any other is libvirt's own (virtiomem0 …).
        name = new.name if new.name.startswith(OWN_ALIAS) else OWN_ALIAS + new.name
        await self._not_during_a_job(name)
        xml = libvirt_xml.new_device(
            new.kind, new.size, name=name, node=new.node, block_size=new.block_size, requested=new.requested_size
        )
        flags = AFFECT_LIVE | (AFFECT_CONFIG if self._persist else 0)
        await self._change("virDomainAttachDeviceFlags", self._domain.attachDeviceFlags, xml, name, flags)
        return name

    async def detach(self, device: str) -> None:
        """Ask the guest to give a memory device back."""
        await self._not_during_a_job(device)
        element = await self._element(device)
        change = ("virDomainDetachDeviceFlags", self._domain.detachDeviceFlags)
        stored = await self._stored(device, element)
        # The running device first, the other way round than for a size: a guest that keeps it must find it again after
        # a restart.
        await self._change(*change, element, device)
        if stored is not None:
            await self._change(*change, stored, device, AFFECT_CONFIG)

    async def wait(self, seconds: float) -> frozenset[Event]:
        """Wait for an event of libvirt's."""
        with suppress(TimeoutError):
            # Not wait_for(), which loses a cancellation that comes with the event in one turn (Python below 3.12).
            async with asyncio.timeout(max(seconds, 0)):
                await self._woken.wait()
        # No await between these lines: an event that arrives now is left for the next call.
        events = frozenset(self._events)
        self._events.clear()
        self._woken.clear()
        return events

    async def close(self) -> None:
        """Let go of the domain; the connection goes with its last user."""
        if not self._closed:
            self._closed = True
            self._host.ignore(self._uuid, self._on_event)
            # Counted once even if closed twice: a second release would close the connection under another machine.
            await release(self._host)

    async def _call(self, name: str, function: Any, *args: Any) -> Any:
        """`LibvirtHost.call`, with errors that name this domain: others use the connection as well."""
        try:
            return await self._host.call(name, function, *args)
        except (BackendError, ProtocolError) as error:
            raise type(error)(error.message, connection=self._label) from None

    async def _change(self, name: str, function: Any, xml: str, device: str, flags: int = AFFECT_LIVE) -> None:
        try:
            await self._call(name, function, xml, flags)
        except LibvirtRefused as error:
            raise DeviceError(f"{shown(device)}: libvirt refuses: {error.words}", connection=self._label) from None

    async def _element(self, device: str) -> str:
        # The XML as it is now, since libvirt compares what it is given with what it has.
        await self.look()
        try:
            return self._seen.elements[device]
        except KeyError:
            raise DeviceError(f"{shown(device)} is gone", connection=self._label) from None

    async def _stored(self, device: str, element: str) -> str | None:
        """Return a device's XML in the stored configuration; None unless `persist`, DeviceError when it is not there."""
        if not self._persist:
            return None
        try:
            # Found by its address: the stored configuration has no alias but the user's own.
            stored = libvirt_xml.stored_element(
                await self._call("virDomainGetXMLDesc", self._domain.XMLDesc, INACTIVE), element
            )
        except (LibvirtRefused, WrongXml) as error:
            raise DeviceError(f"{shown(device)}: its stored configuration: {error}", connection=self._label) from None
        # Refused before anything is set: a size that holds until the next start only is not what was asked for.
        if stored is None:
            raise DeviceError(f"{shown(device)}: the stored configuration has no such device", connection=self._label)
        return stored

    async def _job(self) -> int:
        """The kind of job that runs on the domain; 0 when none does."""
        with suppress(LibvirtRefused):
            job = await self._call("virDomainGetJobStats", self._domain.jobStats)
            # `type` 0 means that no job runs; there is no operation then.
            return int(job.get("operation", 0)) if job.get("type") else 0
        return 0

    async def _not_during_a_job(self, device: str) -> None:
        """Refuse at once what libvirt would refuse after half a minute."""
        doing = _JOBS.get(await self._job())
        if doing is not None:
            raise DeviceError(
                f"{shown(device)}: libvirt takes no change while the domain is being {doing}: try again when that has ended",
                connection=self._label,
            )

    def _gone(self) -> str | None:
        return None if self._ending is None else f"the domain {self._ending}"

    def _on_event(self, event: Event, ending: str | None) -> None:
        # Kept: a domain that is gone fails every later call with words that do not say how it ended.
        self._ending = ending or self._ending
        self._events.add(event)
        self._woken.set()


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
