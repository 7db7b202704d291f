"""``libvirt:URI/DOMAIN``: where domains of libvirt are. Connections are read-only except for what changes a machine,
and for the agent.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote

from virtiomem.errors import BackendError, ProtocolError, UsageError
from virtiomem.text import quoted
from virtiomem.vm.doors import libvirt_xml
from virtiomem.vm.doors.base import Ability, Connection, Door, MachineTarget
from virtiomem.vm.doors.guest_agent import socket_agent
from virtiomem.vm.doors.libvirt_agent import TAINT, THROUGH_LIBVIRT, LibvirtAgent
from virtiomem.vm.doors.libvirt_domain import LibvirtBackend
from virtiomem.vm.doors.libvirt_host import LibvirtRefused, acquire, release
from virtiomem.vm.doors.libvirt_xml import DomainXml, WrongXml
from virtiomem.vm.model import Machine, Vm

# The domain is what stands behind the last slash of the path, as libvirt forbids slashes in names; a query belongs to
# the URI and stays behind it.
_URI = re.compile(r"(?P<uri>[\w+.-]+://[^/?]*/[^?]+)/(?P<domain>[^/?]*)(?P<query>\?.*)?")


@dataclass(frozen=True, slots=True)
class LibvirtTarget(MachineTarget):
    """A domain, by its name or UUID, of a URI; None is the user's default URI."""

    uri: str | None
    domain: str

    @property
    def name(self) -> str:
        """The domain's name, as it is given."""
        return self.domain

    def __str__(self) -> str:
        return f"libvirt:{_written(self.uri, self.domain)}"

    async def open(self, connection: Connection) -> Vm:
        """Connect to libvirt and find the domain."""
        access, through, label = connection.access, connection.agent == THROUGH_LIBVIRT, connection.label
        try:
            # libvirt passes questions to the agent on through a connection that may write, though nothing is changed.
            host = await acquire(self.uri, writes=access.writes or through, label=label)
            try:
                domain = await host.domain(self.domain)
                backend = LibvirtBackend(host, domain, label, persist=access.persist)
                agent = LibvirtAgent(host, domain, label) if through else socket_agent(connection)
            # An interrupt counts as well: the connection is closed by its last user, and this one would never let go of
            # it.
            except BaseException:
                await release(host)
                raise
        except LibvirtRefused as error:
            raise BackendError(error.words, connection=label) from None
        except (BackendError, ProtocolError) as error:  # others use the connection as well, under their own names
            raise type(error)(error.message, connection=label) from None
        return Vm(connection.name, backend, agent, (TAINT,) if through else ())


@dataclass(frozen=True, slots=True)
class LibvirtHostTarget(MachineTarget):
    """Every running domain of a URI that has a virtio-mem device."""

    uri: str | None

    @property
    def name(self) -> str:
        """Nothing: each machine has a name of its own."""
        return ""

    def __str__(self) -> str:
        return f"libvirt:{_written(self.uri, '')}"

    async def machines(self, connection: Connection) -> list[Connection]:
        """Return a connection for each such domain, by name; one connection to libvirt stays open for those that open them."""
        host = await acquire(self.uri, writes=connection.access.writes, label=connection.label)
        names: list[str] = []
        try:
            for domain in await host.running():
                with suppress(LibvirtRefused, WrongXml):  # gone meanwhile, or none of ours
                    xml = await host.call("virDomainGetXMLDesc", domain.XMLDesc, 0)
                    # A host may have hundreds of domains without such a device: looking for the word is cheaper than
                    # parsing.
                    if "virtio-mem" in xml and _has_virtio_mem(libvirt_xml.read_domain(xml)):
                        names.append(domain.name())
        except LibvirtRefused as error:
            raise BackendError(error.words, connection=connection.label) from None
        finally:
            # Kept for the machines that are opened next; without any it would stay open for nothing.
            await release(host, keep=bool(names))
        # A name that the user gave to the whole host tells its domains apart from those of another.
        prefix = f"{connection.name}." if connection.name != str(self).partition(":")[2] else ""
        return [connection.of(prefix + name, LibvirtTarget(self.uri, name)) for name in sorted(names)]

    async def open(self, connection: Connection) -> Vm:
        """Say why no machine was found: `machines` has found none, or has failed."""
        await self.machines(connection)
        raise BackendError(
            "no running domain has a virtio-mem device (vm attach adds one)", connection=connection.label
        )


def _has_virtio_mem(found: DomainXml) -> bool:
    return bool(Machine(status="", boot_memory=0, devices=found.devices).virtio_mem)


def _parse(text: str, source: str) -> MachineTarget:
    """``URI/DOMAIN``, ``URI/`` or ``DOMAIN``; a query of the URI stays behind the domain."""
    if "://" not in text:
        if text == "/":
            return LibvirtHostTarget(None)
        return LibvirtTarget(None, _domain(text, text, source))
    match = _URI.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{source}: {quoted(text)} names no domain (write libvirt:{text}/DOMAIN, or libvirt:{text}/ for all that have a virtio-mem device)"
        )
    uri = match["uri"] + (match["query"] or "")
    return LibvirtTarget(uri, _domain(match["domain"], text, source)) if match["domain"] else LibvirtHostTarget(uri)


def _domain(text: str, whole: str, source: str) -> str:
    name = unquote(text)
    if not name.isprintable() or "/" in name:
        raise UsageError(f"{source}: {quoted(whole)}: {quoted(name)} cannot be a domain's name")
    return name


def _written(uri: str | None, domain: str) -> str:
    if uri is None:
        return domain or "/"
    path, mark, query = uri.partition("?")
    return f"{path}/{quote(domain, safe=' :@,')}{mark}{query}"


DOOR = Door(
    "libvirt",
    "a domain of libvirt; DOMAIN alone is of the default URI, URI/ means every running domain with a virtio-mem device",
    ("libvirt:URI/DOMAIN", "libvirt:DOMAIN", "libvirt:URI/"),
    _parse,
    {
        "list": Ability(
            "plugged sizes up to a second late, as libvirt has heard of them; addresses only from newer releases of libvirt"
        ),
        "status": Ability("drivers: by `--agent`"),
        "resize": Ability("refused at once during a migration, a save or a dump"),
        "explain": Ability("drivers and inside: by `--agent` or `--capture`"),
        "detach": Ability("virtio-mem: needs libvirt 10 and QEMU 8.2"),
    },
)
