"""Devices that are each wrong in one way, by the rule that they break."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from virtiomem.build import is_compiled
from virtiomem.conformance.targets import EmbeddedTarget, realize
from virtiomem.conformance.testbench import DeviceUnderTest
from virtiomem.device.mem import MemDevice
from virtiomem.device.virtio import VirtioDevice
from virtiomem.device.virtqueue import Element, VirtQueue
from virtiomem.errors import BackendError, DeviceError, ProtocolError
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.virtio_transport import DeviceSpec, Read, Write
from virtiomem.units import MiB, align_down
from virtiomem.wire.mem import Request, RequestType, Response, ResponseType, State
from virtiomem.wire.ring import Descriptor, DescriptorFlag
from virtiomem.wire.virtio import Status

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType

Break = Callable[[EmbeddedTransport], None]


class Mutant(EmbeddedTarget):
    """Our device, broken."""

    name = "mutant"

    def __init__(self, break_: Break, *, has_contents: bool = False) -> None:
        self._break = break_
        self.has_contents = has_contents

    @contextmanager
    def open(self, spec: DeviceSpec) -> Iterator[DeviceUnderTest]:
        transport = EmbeddedTransport(realize(spec))
        self._break(transport)
        yield DeviceUnderTest(transport, transport)


def answers(change: Callable[[MemDevice, Request, Response], Response]) -> Break:
    """A device that changes its answers."""

    def break_(transport: EmbeddedTransport) -> None:
        mem = transport.device.mem
        honest = mem.request

        def request(type: int, addr: int = 0, nb_blocks: int = 0) -> Response:
            return change(mem, Request(RequestType(type), addr, nb_blocks), honest(type, addr, nb_blocks))

        swap(mem, "request", request)

    return break_


def instead(change: Callable[[MemDevice, Request], Request | Response | None]) -> Break:
    """A device that does something else: another request, an answer without doing anything, or (None) as it should."""

    def break_(transport: EmbeddedTransport) -> None:
        mem = transport.device.mem
        honest = mem.request

        def request(type: int, addr: int = 0, nb_blocks: int = 0) -> Response:
            other = change(mem, Request(RequestType(type), addr, nb_blocks))
            if isinstance(other, Response):
                return other
            return honest(type, addr, nb_blocks) if other is None else honest(*other)

        swap(mem, "request", request)

    return break_


def on_wire(change: Callable[[bytes], bytes | None]) -> Break:
    """A device that looks at all bytes of a request."""

    def break_(transport: EmbeddedTransport) -> None:
        mem = transport.device.mem
        honest = mem.handle
        swap(mem, "handle", lambda data: change(data) or honest(data))

    return break_


def shows(**changes: Callable[[MemDevice], int]) -> Break:
    """A device whose configuration says something else."""

    def break_(transport: EmbeddedTransport) -> None:
        skip_a_compiled_one()
        mem = transport.device.mem

        class Liar(type(mem)):  # type: ignore[misc]
            @property
            def config(self) -> Any:
                return replace(super().config, **{name: value(self) for name, value in changes.items()})

        mem.__class__ = Liar

    return break_


def skip_a_compiled_one() -> None:
    """Skip the test on the compiled build, whose devices keep their methods; it is the suite that is tested, not the device."""
    if is_compiled():
        pytest.skip("a compiled device cannot be broken from outside")


def swap(thing: object, name: str, value: Any) -> None:
    """Put something else in the place of an attribute."""
    skip_a_compiled_one()
    setattr(thing, name, value)


def patched(
    target: Callable[[EmbeddedTransport], object], name: str, make: Callable[[EmbeddedTransport], Any]
) -> Break:
    """A device with one method replaced."""
    return lambda transport: swap(target(transport), name, make(transport))


def padding_counts(kind: RequestType) -> Break:
    def change(data: bytes) -> bytes | None:
        padded = any(data[2:8]) or any(data[18:])
        return Response(ERROR).pack() if data[0] == kind and padded else None

    return on_wire(change)


def rounds_down(kind: RequestType) -> Break:
    def change(mem: MemDevice, request: Request) -> Request | None:
        return request._replace(addr=align_down(request.addr, mem.block_size)) if request.type is kind else None

    return instead(change)


def refuses(kind: RequestType, with_: ResponseType, when: Callable[[MemDevice], bool] = lambda _: True) -> Break:
    return instead(lambda mem, request: Response(with_) if request.type is kind and when(mem) else None)


def only_says(kind: RequestType, when: Callable[[MemDevice, Response], bool] = lambda *_: True) -> Break:
    """A device that acknowledges what it does not do."""
    return answers(lambda mem, sent, said: Response(ACK) if sent.type is kind and when(mem, said) else said)


def tells(told: State, of: State) -> Break:
    return answers(
        lambda _, sent, said: Response(ACK, told) if sent.type is STATE and said == Response(ACK, of) else said
    )


def does_not_shrink_back(transport: EmbeddedTransport) -> None:
    mem = transport.device.mem
    swap(mem, "_resize_usable", lambda size, **_: MemDevice._resize_usable(mem, size, can_shrink=True))


def is_deaf(transport: EmbeddedTransport) -> None:
    transport.device.mem._config_listeners.clear()


def notifies_when_plugging(transport: EmbeddedTransport) -> None:
    transport.device.mem.on_size_change(lambda _: transport.device._notify_config())


def unplugs_in_device_reset(transport: EmbeddedTransport) -> None:
    honest = transport.device.reset

    def reset() -> None:
        honest()
        transport.device.mem._unplug_all()

    swap(transport.device, "reset", reset)


def drops_silently(transport: EmbeddedTransport) -> None:
    swap(transport.device, "_give_up", lambda _: None)


def gives_up_without_a_word(transport: EmbeddedTransport) -> None:
    device = transport.device

    def give_up(complaint: str) -> None:
        device.complaint = complaint
        device.status |= Status.NEEDS_RESET

    swap(device, "_give_up", give_up)


def serves_anything(transport: EmbeddedTransport) -> None:
    """Take every request for the last proper one."""
    honest = transport.device.mem.handle

    def handle(data: bytes) -> bytes:
        try:
            return honest(data)
        except ProtocolError:
            return Response(ACK).pack()

    swap(transport.device.mem, "handle", handle)


def queue_that(name: str, method: Callable[..., Any]) -> Break:
    """A device whose queue has one method replaced."""

    def break_(transport: EmbeddedTransport) -> None:
        honest = transport.device.enable_queue

        def enable_queue(layout: Any) -> None:
            honest(layout)
            queue = transport.device._queue
            setattr(queue, name, lambda *args: method(queue, *args))

        swap(transport.device, "enable_queue", enable_queue)

    return break_


def pads_requests(queue: VirtQueue, element: Element, size: int) -> bytes:
    return VirtQueue.gather(queue, element, size).ljust(size, b"\0")


def pushes_lies(queue: VirtQueue, element: Element, data: bytes) -> None:
    VirtQueue.push(queue, element, data + b"\xaa" * (element.room - len(data)))


def pushes_into_the_request(queue: VirtQueue, element: Element, data: bytes) -> None:
    VirtQueue.push(queue, element, data)
    queue._memory.write(element.readable[0][0], b"\xee")


def takes_one_descriptor_each(queue: VirtQueue) -> Element | None:
    element = VirtQueue.pop(queue)
    return element and element._replace(readable=element.readable[:1], writable=element.writable[:1])


def loses_count(queue: VirtQueue) -> Element | None:
    return None if queue._used == 1000 else VirtQueue.pop(queue)


def half_served(mem: MemDevice, request: Request) -> Response | None:
    """Plug what can be plugged of a range, then refuse it."""
    if request.type is PLUG and request.nb_blocks > 1:
        for block in range(request.nb_blocks):
            MemDevice.request(mem, PLUG, request.addr + block * mem.block_size, 1)
        return Response(ERROR)
    return None


def wraps(mem: MemDevice, request: Request) -> Response | None:
    end = (request.addr + request.nb_blocks * mem.block_size) % (1 << 64)
    return Response(ACK) if request.type is STATE and end < mem.addr else None


def scribbles(transport: EmbeddedTransport) -> None:
    """Memory that reads as nothing, wherever."""
    honest = transport.exchange

    def exchange(writes: list[Write], reads: list[Read], *, notify: bool = True) -> list[bytes]:
        if any(addr >= transport.device.mem.addr for addr, _ in [*writes, *reads]):
            return [bytes(size) for _, size in reads]
        return honest(writes, reads, notify=notify)

    swap(transport, "exchange", exchange)


def busy_forever(transport: EmbeddedTransport) -> None:
    swap(transport, "set_busy", lambda _: swap(transport.device.mem, "busy", True))


def forgets_to_refuse(transport: EmbeddedTransport) -> None:
    def set_requested_size(size: int) -> None:
        swap(transport.device.mem, "_requested_size", size)
        raise DeviceError("no")

    swap(transport, "set_requested_size", set_requested_size)


def lets_the_driver_write(transport: EmbeddedTransport) -> None:
    swap(transport, "write_config", lambda *_: swap(transport.device.mem, "_requested_size", 0))


def notifies_when_shrinking(transport: EmbeddedTransport) -> None:
    mem = transport.device.mem

    def unplug_all() -> Response:
        transport.device._notify_config()
        return MemDevice._unplug_all(mem)

    swap(mem, "_unplug_all", unplug_all)


def wants_acpi_pxm(transport: EmbeddedTransport) -> None:
    swap(transport.device, "_features_acceptable", lambda: bool(transport.device.accepted & 1))


def hides_its_configuration(transport: EmbeddedTransport) -> None:
    swap(transport, "config", lambda: transport.device.mem.config.pack() if transport.device.status else bytes(56))


def minds_the_write_flag(queue: VirtQueue, table: int, number: int) -> Descriptor:
    descriptor = VirtQueue._descriptor(queue, table, number)
    if descriptor.flags & DescriptorFlag.INDIRECT and descriptor.flags & DescriptorFlag.WRITE:
        raise ProtocolError("a writable table")
    return descriptor


def wants_a_reason(transport: EmbeddedTransport) -> None:
    def notify() -> None:
        if transport.device._queue is not None and transport.device._queue.empty:
            transport.device._give_up("nothing to do")
        VirtioDevice.notify(transport.device)

    swap(transport.device, "notify", notify)


def serves_before_a_reset(transport: EmbeddedTransport) -> None:
    def reset() -> None:
        transport.device.notify()
        VirtioDevice.reset(transport.device)

    swap(transport.device, "reset", reset)


def has_one_queue_size(transport: EmbeddedTransport) -> None:
    swap(
        transport, "enable_queue", lambda layout: VirtioDevice.enable_queue(transport.device, layout._replace(size=128))
    )


def dies_of_unplugging_all(transport: EmbeddedTransport) -> None:
    honest = transport.device.mem.request

    def request(type: int, addr: int = 0, nb_blocks: int = 0) -> Response:
        if type == RequestType.UNPLUG_ALL and transport.device.mem.plugged_size:
            raise BackendError("QEMU was killed by SIGSEGV")
        return honest(type, addr, nb_blocks)

    swap(transport.device.mem, "request", request)


def over_half_full(mem: MemDevice) -> bool:
    return mem.plugged_size > mem.requested_size // 2


MUTANTS: list[tuple[str, str, Break]] = [
    ("CFG-1", "ignores its owner", patched(lambda p: p, "set_requested_size", lambda _: lambda _: None)),
    ("CFG-2", "node follows plugged size", shows(node_id=lambda m: int(m.requested_size < 512 * MiB))),
    ("CFG-3", "never counts", shows(plugged_size=lambda _: 0)),
    ("CFG-5", "odd blocks", shows(block_size=lambda _: 3 * MiB)),
    ("CFG-6", "crooked size", shows(usable_region_size=lambda _: 600 * MiB + 4096)),
    ("CFG-8", "shrinks at once", does_not_shrink_back),
    ("CFG-9", "keeps new sizes to itself", is_deaf),
    ("CFG-10", "notifies when plugging", notifies_when_plugging),
    ("INI-2", "unplugs in a device reset", unplugs_in_device_reset),
    ("INI-3", "loses contents", scribbles),
    ("OPS-3", "loses contents", scribbles),
    ("OPS-4", "has no contents", scribbles),
    ("OPS-7", "sleeps through a system reset", patched(lambda p: p.device.mem, "system_reset", lambda _: lambda: None)),
    ("PLUG-1", "reads padding", padding_counts(PLUG)),
    ("PLUG-2", "reads padding", padding_counts(PLUG)),
    ("PLUG-3", "rounds down", rounds_down(PLUG)),
    ("PLUG-3", "looks at the size first", refuses(PLUG, NACK)),
    ("PLUG-5", "NACK when busy", refuses(PLUG, NACK, lambda mem: mem.busy)),
    ("PLUG-6", "NACK when half full", refuses(PLUG, NACK, over_half_full)),
    ("PLUG-7", "counts late", shows(plugged_size=lambda m: max(m.plugged_size - m.block_size, 0))),
    ("UNPLUG-1", "reads padding", padding_counts(UNPLUG)),
    ("UNPLUG-2", "reads padding", padding_counts(UNPLUG)),
    ("UNPLUG-3", "rounds down", rounds_down(UNPLUG)),
    ("UNPLUG-4", "unplugs twice", only_says(UNPLUG)),
    ("UNPLUG-5", "ERROR when busy", refuses(UNPLUG, ERROR, lambda mem: mem.busy)),
    ("UNPLUG-6", "acknowledges only", refuses(UNPLUG, ACK)),
    ("UNPLUG-7", "acknowledges only", refuses(UNPLUG, ACK)),
    ("ALL-1", "reads padding", padding_counts(UNPLUG_ALL)),
    ("ALL-2", "reads padding", padding_counts(UNPLUG_ALL)),
    ("ALL-3", "ERROR when busy", refuses(UNPLUG_ALL, ERROR, lambda mem: mem.busy)),
    ("ALL-4", "ERROR when empty", refuses(UNPLUG_ALL, ERROR, lambda mem: not mem.plugged_size)),
    ("ALL-5", "acknowledges only", refuses(UNPLUG_ALL, ACK)),
    ("STATE-1", "reads padding", padding_counts(STATE)),
    ("STATE-2", "reads padding", padding_counts(STATE)),
    ("STATE-3", "rounds down", rounds_down(STATE)),
    ("STATE-4", "ERROR when something is plugged", refuses(STATE, ERROR, lambda mem: bool(mem.plugged_size))),
    ("STATE-5", "plugged is mixed", tells(State.MIXED, State.PLUGGED)),
    ("STATE-6", "unplugged is plugged", tells(State.PLUGGED, State.UNPLUGGED)),
    ("STATE-7", "mixed is plugged", tells(State.PLUGGED, State.MIXED)),
    (
        "UAPI-1",
        "ERROR when too much",
        answers(lambda _mem, _sent, said: Response(ERROR) if said.type is NACK else said),
    ),
    ("UAPI-2", "NACK below requested", refuses(UNPLUG, NACK, lambda mem: mem.plugged_size <= mem.requested_size)),
    ("UAPI-3", "BUSY for STATE", refuses(STATE, BUSY, lambda mem: mem.busy)),
    ("UAPI-4", "ERROR for UNPLUG ALL", refuses(UNPLUG_ALL, ERROR)),
    ("UAPI-5", "notifies when shrinking", notifies_when_shrinking),
    ("UAPI-6", "plugs too much", shows(plugged_size=lambda m: m.plugged_size * 2)),
    ("UAPI-7", "usable beyond the region", shows(usable_region_size=lambda m: m.region_size + m.block_size)),
    ("VIRTIO-1", "keeps its status", patched(lambda p: p, "status", lambda p: lambda: p.device.status | 1)),
    ("VIRTIO-3", "gives up without a word", gives_up_without_a_word),
    ("VIRTIO-4", "wants ACPI_PXM", wants_acpi_pxm),
    ("VIRTIO-5", "hides its configuration", hides_its_configuration),
    ("VIRTIO-6", "one descriptor each", queue_that("pop", takes_one_descriptor_each)),
    ("VIRTIO-7", "writes into requests", queue_that("push", pushes_into_the_request)),
    ("VIRTIO-8", "minds the write flag", queue_that("_descriptor", minds_the_write_flag)),
    ("VIRTIO-10", "always interrupts", queue_that("should_notify", lambda _: True)),
    ("VIRTIO-11", "never interrupts", queue_that("should_notify", lambda _: False)),
    ("VIRTIO-12", "claims more than it wrote", queue_that("push", pushes_lies)),
    ("VIRTIO-13", "wants a reason", wants_a_reason),
    ("SOUND-1", "serves half", instead(half_served)),
    ("SOUND-2", "wraps", instead(wraps)),
    ("SOUND-3", "lets the driver write", lets_the_driver_write),
    ("SOUND-4", "pads short requests", queue_that("gather", pads_requests)),
    ("SOUND-5", "drops silently", drops_silently),
    ("SOUND-6", "serves anything", serves_anything),
    ("SOUND-6", "drops silently", drops_silently),
    ("SOUND-7", "drops silently", drops_silently),
    ("SOUND-8", "drops silently", drops_silently),
    ("SOUND-9", "drops silently", drops_silently),
    ("SOUND-10", "drops silently", drops_silently),
    ("SOUND-11", "drops silently", drops_silently),
    ("SOUND-12", "drops silently", drops_silently),
    ("SOUND-13", "drops silently", drops_silently),
    ("SOUND-14", "never answers", queue_that("push", lambda *_: None)),
    ("SOUND-15", "claims all room", queue_that("push", lambda q, e, d: VirtQueue.push(q, e, d.ljust(e.room, b"\0")))),
    (
        "SOUND-16",
        "returns heads of its own",
        queue_that("push", lambda q, e, d: VirtQueue.push(q, e._replace(head=0), d)),
    ),
    ("SOUND-17", "loses count", queue_that("pop", loses_count)),
    ("SOUND-18", "has one queue size", has_one_queue_size),
    ("SOUND-19", "serves before a reset", serves_before_a_reset),
    ("SOUND-20", "busy forever", busy_forever),
    ("SOUND-21", "takes what it refuses", forgets_to_refuse),
]
