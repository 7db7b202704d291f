"""Checks of what every virtio device owes its driver (virtio specification 2), within one queue of requests."""

from virtiomem.conformance.checks.registry import sees
from virtiomem.conformance.malformed_chains import indirect_behind_direct, indirect_marked_writable
from virtiomem.conformance.testbench import DRIVER_FEATURES, SPEC, Bench, expect, not_applicable, notified
from virtiomem.errors import ProtocolError
from virtiomem.transport.virtio_transport import Read, Write
from virtiomem.transport.vring import UNTOUCHED, Chain
from virtiomem.wire.mem import Config, Feature, Request, RequestType
from virtiomem.wire.ring import INDEX
from virtiomem.wire.virtio import Isr, Status, VirtioFeature

PLUG, _, _, STATE = RequestType

_PREPARED = Status.ACKNOWLEDGE | Status.DRIVER
_NO_INTERRUPT = INDEX.pack(1)


def _state(b: Bench) -> bytes:
    return Request(STATE, b.config().addr, 1).pack()


@sees("VIRTIO-1", virtio=True)
def the_status_is_cleared(b: Bench) -> str:
    b.start()
    b.transport.set_status(0)
    b.note("write status 0")
    expect(b.transport.status() == 0, f"status reads {b.transport.status():#x}")
    return "after a reset from DRIVER_OK"


@sees("VIRTIO-2", virtio=True)
def nothing_happens_before_driver_ok(b: Bench) -> str:
    b.transport.set_status(0)
    b.transport.set_status(_PREPARED)
    b.transport.accept(b.transport.offered() & DRIVER_FEATURES)
    b.transport.set_status(_PREPARED | Status.FEATURES_OK)
    b.ring.start()
    b.note("reset, set features, FEATURES_OK, enable the queue, but no DRIVER_OK")
    # STATE changes nothing: a device that answers too early is not left in another state by it.
    result = b.submit(Chain((_state(b),)), what="STATE block 0")
    expect(not result.used, "a request was answered before DRIVER_OK")
    expect(not result.seen.isr, "an interrupt before DRIVER_OK")
    return "a request is left alone"


@sees("VIRTIO-3", virtio=True)
def giving_up_is_notified(b: Bench) -> str:
    b.start()
    result = b.submit(Chain((b"\xff\xff" + bytes(22),)), what="a request of type 0xffff")
    if not result.seen.status & Status.NEEDS_RESET:
        not_applicable("it does not set NEEDS_RESET")
    expect(notified(b.see(Isr.CONFIG)), "NEEDS_RESET without a configuration notification")
    return "a request of an unknown type: NEEDS_RESET and a notification"


@sees("VIRTIO-4", virtio=True, spec=SPEC._replace(unplugged_inaccessible="off"))
def any_subset_of_features_is_accepted(b: Bench) -> str:
    offered = b.transport.offered()
    mine = [bit for bit in (Feature.ACPI_PXM, VirtioFeature.INDIRECT_DESC, VirtioFeature.EVENT_IDX) if offered & bit]
    for number in range(1 << len(mine)):
        wanted = VirtioFeature.VERSION_1 | sum(bit for n, bit in enumerate(mine) if number >> n & 1)
        try:
            # A device may insist on this one alone (INI-1).
            b.start(wanted | offered & Feature.UNPLUGGED_INACCESSIBLE)
        except ProtocolError as error:
            expect(False, str(error))
    return f"all {1 << len(mine)} subsets of ACPI_PXM, INDIRECT_DESC, EVENT_IDX that are offered, with VERSION_1"


@sees("VIRTIO-5", virtio=True)
def the_configuration_can_be_read_early(b: Bench) -> str:
    b.transport.set_status(0)
    early = Config.unpack(b.transport.config())
    b.start()
    expect(early == b.config(), f"read early: {early}")
    return "with status 0 it reads as later"


@sees("VIRTIO-6", virtio=True)
def messages_may_be_cut_anywhere(b: Bench) -> str:
    b.start()
    request = _state(b)
    cuts = {
        "2+6+16 and 10": ((request[:2], request[2:8], request[8:]), (10,)),
        "24 and 2+6+2": ((request,), (2, 6, 2)),
        "24 and 8+2": ((request,), (8, 2)),
        "7+17 and 1+9": ((request[:7], request[7:]), (1, 9)),
        "single bytes": (tuple(request[n : n + 1] for n in range(24)), (1,) * 10),
    }
    for indirect in (False, True) if b.transport.offered() & VirtioFeature.INDIRECT_DESC else (False,):
        for name, (readable, writable) in cuts.items():
            what = f"STATE block 0 cut into {name} bytes{', indirect' if indirect else ''}"
            result = b.submit(Chain(readable, writable, indirect=indirect), what=what)
            expect(result.data[0] == b"\0\0\0\0\0\0\0\0\1\0", f"{what}: {result.data[0].hex()}")
    return f"{', '.join(cuts)}: answered alike"


@sees("VIRTIO-7", virtio=True)
def readable_buffers_stay(b: Bench) -> str:
    b.start()
    request = _state(b) + bytes(8)
    result = b.submit(Chain((request,), (16,)), what="STATE block 0 in 32 readable bytes")
    expect(result.used_len(0) is not None, "not answered")
    (found,) = b.transport.exchange([], [Read(b.ring.arena, len(request))], notify=False)
    expect(found == request, f"the readable buffer holds {found.hex()} afterwards")
    return "32 readable bytes are as they were"


@sees("VIRTIO-8", virtio=True)
def the_write_flag_of_a_table_means_nothing(b: Bench) -> str:
    _with_indirect(b)
    result = b.submit(Chain((_state(b),), indirect=True, shape=indirect_marked_writable), what="STATE, table writable")
    expect(result.used_len(0) is not None, "an indirect table whose descriptor has the write flag is not answered")
    return "answered"


@sees("VIRTIO-9", virtio=True)
def a_table_may_follow_direct_descriptors(b: Bench) -> str:
    _with_indirect(b)
    chain = Chain((_state(b),), indirect=True, shape=indirect_behind_direct)
    result = b.submit(chain, what="STATE block 0: request in a direct descriptor, response in the table behind it")
    expect(result.used_len(0) is not None, "a direct descriptor followed by an indirect table is not answered")
    return "answered"


@sees("VIRTIO-10", virtio=True)
def a_driver_that_polls_is_left_alone(b: Bench) -> str:
    b.start()
    b.transport.exchange([Write(b.ring.layout.avail_flags, _NO_INTERRUPT)], [], notify=False)
    b.note("set NO_INTERRUPT in the available ring")
    result = b.submit(Chain((_state(b),)), what="STATE block 0")
    expect(not result.seen.isr & Isr.QUEUE, "an interrupt although NO_INTERRUPT is set")
    return "no interrupt for an answer"


@sees("VIRTIO-11", virtio=True)
def the_entry_that_was_named_is_notified(b: Bench) -> str:
    if not b.start(DRIVER_FEATURES | VirtioFeature.EVENT_IDX) & VirtioFeature.EVENT_IDX:
        not_applicable("EVENT_IDX is not offered")
    b.submit(Chain((_state(b),)), what="STATE block 0")
    b.transport.exchange([Write(b.ring.layout.used_event, INDEX.pack(3))], [], notify=False)
    b.note("set used_event to 3")
    # Entries count from 0: the request above was entry 0, so that number 2 of these is entry 3.
    told = []
    for number in range(4):
        b.submit(Chain((_state(b),)), what="STATE block 0")
        told.append(bool(b.see(Isr.QUEUE if number == 2 else 0).isr & Isr.QUEUE))
    expect(told[2], "no interrupt for used entry 3")
    return f"used_event 3: interrupts for entries {[n + 1 for n, yes in enumerate(told) if yes]} of 1 to 4"


@sees("VIRTIO-12", virtio=True)
def the_used_length_was_written(b: Bench) -> str:
    b.start()
    seen: set[int] = set()
    for writable in ((10,), (4, 6), (16,)):
        result = b.submit(Chain((_state(b),), writable), what=f"STATE block 0 into {writable} bytes")
        length = result.used_len(0)
        expect(length is not None, "not answered")
        assert length is not None
        written = result.data[0][:length]
        # No answer has this byte in it: types and states are 0 to 3.
        expect(
            UNTOUCHED not in written and len(written) == length, f"used length {length}, buffer {result.data[0].hex()}"
        )
        seen.add(length)
    return f"used length {', '.join(map(str, sorted(seen)))}, all of it written"


@sees("VIRTIO-13", virtio=True)
def idle_notifications_are_handled(b: Bench) -> str:
    b.start()
    for _ in range(3):
        b.transport.exchange([], [], notify=True)
    b.note("notify three times with nothing available")
    expect(b.submit(Chain((_state(b),)), what="STATE block 0").used_len(0) is not None, "no answer afterwards")
    return "3 notifications for nothing, then a request is answered"


def _with_indirect(b: Bench) -> None:
    if not b.start() & VirtioFeature.INDIRECT_DESC:
        not_applicable("INDIRECT_DESC is not offered")
