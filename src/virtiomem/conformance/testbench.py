"""A testbench for one device: what a check does to it, in a few words each, and a note of all it did.

The notes are the reproducer of whatever a check finds. Adding a VMM means one `Target`.
"""

import time
from contextlib import AbstractContextManager
from itertools import groupby
from typing import NamedTuple, NoReturn, Protocol, runtime_checkable

from virtiomem.device.board import MachineKind
from virtiomem.errors import DeviceError, ProtocolError
from virtiomem.releases.qemu import QemuRelease
from virtiomem.transport.virtio_transport import DeviceSpec, Observation, Owner, Read, VirtioTransport, Write
from virtiomem.transport.vring import BatchResult, Chain, Ring, initialize
from virtiomem.units import GiB, MiB, Span, format_size
from virtiomem.wire.mem import Config, Feature, Request, RequestType, Response, ResponseType
from virtiomem.wire.virtio import Isr, Status, VirtioFeature

# 256 blocks may be plugged, and QEMU's usable region has 384: checks count on both.
SPEC = DeviceSpec("vm0", 1 * GiB, block_size=2 * MiB, requested_size=512 * MiB)
"""The device most checks run on."""

DRIVER_FEATURES = int(
    Feature.ACPI_PXM | Feature.UNPLUGGED_INACCESSIBLE | VirtioFeature.VERSION_1 | VirtioFeature.INDIRECT_DESC
)
"""What the bench's driver accepts of what is offered."""


_PAUSE = 0.001
"""Seconds between two looks for an interrupt."""


class Violation(Exception):  # noqa: N818 - a finding about the device, no error of ours
    """The device breaks the rule; the text says what was seen."""


class NotApplicable(Exception):  # noqa: N818
    """The rule cannot be seen on this device; the text says why."""


class DeviceUnderTest(NamedTuple):
    """A device from both sides."""

    transport: VirtioTransport
    owner: Owner


class Target(Protocol):
    """Something to test: a VMM, or our own device."""

    name: str
    """Such as ``QEMU 7.2.22``."""
    release: QemuRelease
    """The QEMU whose answers are expected of the device."""
    has_virtio: bool
    """The virtio device around it is its own, registers and ring; else the device is given messages
    (`conformance.messages`)."""
    machine: MachineKind | None
    """Its machine if that is not a q35."""
    has_contents: bool
    """Device memory can be read and written through the transport's `exchange`."""

    def open(self, spec: DeviceSpec) -> AbstractContextManager[DeviceUnderTest]:
        """A device of this make, as after a power-on: nothing plugged, status 0, not busy.

        Raises DeviceError when the VMM refuses to make it.
        """

    def close(self) -> None:
        """Let go of everything, so that what is opened next is made again."""


@runtime_checkable
class HasShape(Protocol):
    """A target that does not make every device; its owner is the user who runs the VMM."""

    def nearest(self, spec: DeviceSpec) -> DeviceSpec:
        """A device that it makes, as much as possible like the one that is asked for."""


def same_words(target: Target) -> bool:
    """Return whether refusals come in QEMU's words: not where the owner is asked in another way."""
    return target.has_virtio and not isinstance(target, HasShape)


class Bench:
    """One device, its driver's ring, and the notes."""

    def __init__(self, device: DeviceUnderTest, spec: DeviceSpec, *, has_contents: bool) -> None:
        self.transport = device.transport
        self.owner = device.owner
        self.spec = spec
        self.has_contents = has_contents
        self.notes: list[str] = [f"device {described(spec)}"]
        self.doing = "use it"
        """What is under way: no note names it yet."""
        self.ring = Ring(device.transport)
        self._isr = 0

    # --- bringing it up ---

    def start(self, features: int = DRIVER_FEATURES) -> int:
        """Reset the device and bring it up with those of `features` that are offered; returns them."""
        self.doing = f"initialise, features {features:#x} if offered"
        accepted = self.transport.offered() & features
        initialize(self.transport, self.ring, accepted)
        self.note(f"initialise, features {accepted:#x}")
        self.see()
        return accepted

    def note(self, text: str) -> None:
        """Write down what was done or seen."""
        self.notes.append(text)

    # --- the driver's side ---

    def config(self) -> Config:
        """The configuration."""
        return Config.unpack(self.transport.config())

    def see(self, awaited: int = 0) -> Observation:
        """All registers; the interrupt status is all that came since the last look.

        Looks again until one of the `awaited` interrupt bits shows, or the transport's patience is at an end.
        """
        until = time.monotonic() + self.transport.patience
        # Each look clears the interrupt status, so that bits of earlier looks are kept in `_isr`.
        seen = self.transport.observe()
        while awaited and not (self._isr | seen.isr) & awaited and time.monotonic() < until:
            time.sleep(_PAUSE)
            self._isr |= seen.isr
            seen = self.transport.observe()
        isr, self._isr = self._isr | seen.isr, 0
        return seen._replace(isr=isr)

    def submit(self, *chains: Chain, what: str) -> BatchResult:
        """Make chains available with one notification."""
        self.doing = what
        result = self.ring.submit(chains)
        self._isr |= result.seen.isr
        answers = groupby(answer(result, number) for number in range(len(chains)))
        self.note(f"{what} → {', '.join(_times(word, len(list(run))) for word, run in answers)}")
        return result

    def request_at(self, kind: RequestType, addr: int = 0, nb_blocks: int = 0) -> Response:
        """Send one request for an address; raises Violation when it is not answered."""
        request = Request(kind, addr, nb_blocks)
        what = kind.name if kind is RequestType.UNPLUG_ALL else f"{kind.name} {addr:#x}, {nb_blocks} blocks"
        return self._answered(self.submit(Chain((request.pack(),)), what=what), what)

    def request(self, kind: RequestType, first: int = 0, count: int = 1) -> Response:
        """Send one request for blocks, by number."""
        config = self.config()
        request = Request(kind, config.addr + first * config.block_size, count)
        what = kind.name if kind is RequestType.UNPLUG_ALL else f"{kind.name} blocks {first}..{first + count - 1}"
        return self._answered(self.submit(Chain((request.pack(),)), what=what), what)

    def _answered(self, result: BatchResult, what: str) -> Response:
        if result.used_len(0) is None:
            raise Violation(f"{what} was not answered")
        try:
            return Response.unpack(result.data[0])
        except ProtocolError as error:
            raise Violation(f"{what} was answered with no response: {error}") from None

    def contents(self, span: Span, data: bytes | None = None) -> bytes:
        """Write `data` at the start of a range of device memory, if given, and read there what it holds."""
        if not self.has_contents:
            raise NotApplicable("no memory lies behind the blocks of this device")
        size = len(data) if data is not None else 16
        writes = [Write(span.start, data)] if data is not None else []
        (got,) = self.transport.exchange(writes, [Read(span.start, size)], notify=False)
        self.note(f"{'write and ' if writes else ''}read {span.start:#x} → {got.hex()}")
        return got

    # --- the owner's side ---

    def set_requested_size(self, size: int) -> str | None:
        """Set requested-size; returns the VMM's words when it refuses."""
        self.doing = f"requested-size = {format_size(size)}"
        try:
            self.owner.set_requested_size(size)
        except NotImplementedError:
            raise NotApplicable("the requested size cannot be set from here") from None
        except DeviceError as refusal:
            self.note(f"{self.doing} → refused: {refusal}")
            return str(refusal)
        self.note(self.doing)
        return None

    def system_reset(self) -> None:
        """Reset the machine."""
        self.doing = "system reset"
        try:
            self.owner.system_reset()
        except NotImplementedError:
            raise NotApplicable("the machine cannot be reset from here") from None
        self.note(self.doing)

    def set_busy(self, busy: bool) -> None:
        """Make the device busy, or let it be."""
        self.doing = "start a migration" if busy else "cancel the migration"
        try:
            self.owner.set_busy(busy)
        except NotImplementedError:
            raise NotApplicable("this device cannot be made busy from here") from None
        self.note(self.doing)


def expect(held: bool, otherwise: str) -> None:
    """Raise Violation unless something held."""
    if not held:
        raise Violation(otherwise)


def not_applicable(why: str) -> NoReturn:
    """The rule cannot be seen here."""
    raise NotApplicable(why)


def answer(result: BatchResult, number: int) -> str:
    """Describe the result of a chain in a word or two."""
    if result.used_len(number) is None:
        return "not returned, device needs reset" if result.seen.status & Status.NEEDS_RESET else "not returned"
    try:
        response = Response.unpack(result.data[number][:10])
    except ProtocolError:
        return f"{result.data[number].hex()} (used length {result.used_len(number)})"
    return (
        response.type.name
        if response.type is not ResponseType.ACK
        else f"ACK {response.state.name}".removesuffix(" PLUGGED")
    )


def _times(word: str, count: int) -> str:
    return word if count == 1 else f"{count} x {word}"


def notified(seen: Observation) -> bool:
    """True when a configuration change was notified."""
    return bool(seen.isr & Isr.CONFIG)


def described(spec: DeviceSpec) -> str:
    """A device's shape, as options have it."""
    parts = [f"size={format_size(spec.size)}"]
    if spec.block_size is not None:
        parts.append(f"block-size={format_size(spec.block_size)}")
    parts.append(f"requested-size={format_size(spec.requested_size)}")
    if spec.unplugged_inaccessible is not None:
        parts.append(f"unplugged-inaccessible={spec.unplugged_inaccessible}")
    return ",".join(parts)
