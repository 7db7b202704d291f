"""Drivers that are clumsy or mean harm: the device may refuse or give up, but not lie, lose count, or hang."""

from collections.abc import Sequence

from virtiomem.conformance.checks.registry import sees
from virtiomem.conformance.malformed_chains import shaped
from virtiomem.conformance.testbench import Bench, answer, expect, not_applicable
from virtiomem.transport.vring import UNTOUCHED, Chain, Ring
from virtiomem.units import MiB, format_size
from virtiomem.wire.mem import CONFIG_SIZE, Request, RequestType, Response, ResponseType, State
from virtiomem.wire.virtio import Status, VirtioFeature

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType


def _plug(b: Bench, first: int) -> bytes:
    config = b.config()
    return Request(PLUG, config.addr + first * config.block_size, 1).pack()


def _does_no_harm(b: Bench, chain: Chain, what: str) -> str:
    """Send a chain that cannot be served; it is refused or the device says that it gave up, and all else is as before."""
    b.start()
    # From a known state each time: one bench serves several chains.
    b.request(UNPLUG_ALL)
    b.request(PLUG, 0, 4)
    result = b.submit(chain, what=what)
    outcome = answer(result, 0)
    # What the device does is its own affair; only to acknowledge what it cannot have done is a lie.
    expect(not outcome.startswith("ACK"), f"{what}: acknowledged")
    gave_up = bool(result.seen.status & Status.NEEDS_RESET)
    expect(result.used_len(0) is not None or gave_up, f"{what}: neither answered nor NEEDS_RESET; its driver hangs")
    # A device that gave up needs a reset before its blocks can be asked for.
    b.start()
    states = [b.request(STATE, first, count).state for first, count in ((0, 4), (4, 200))]
    expect(states == [State.PLUGGED, State.UNPLUGGED], f"{what}: blocks changed")
    expect(b.request(PLUG, 100, 1).type is ACK, f"{what}: a proper request is refused afterwards")
    return f"{what}: {outcome}"


def _none_does_harm(b: Bench, chains: dict[str, Chain]) -> str:
    seen = [_does_no_harm(b, chain, what) for what, chain in chains.items()]
    outcomes = {text.rpartition(": ")[2] for text in seen}
    return f"{', '.join(chains)}: {'; '.join(sorted(outcomes))}"


@sees("SOUND-1")
def refusals_change_nothing(b: Bench) -> str:
    b.start()
    b.request(PLUG, 4, 2)
    before = b.config()
    for kind, first, count in ((PLUG, 0, 8), (PLUG, 5, 4), (UNPLUG, 0, 8), (UNPLUG, 3, 3), (PLUG, 100, 255)):
        answered, what = b.request(kind, first, count).type, f"{kind.name} {first}..{first + count - 1}"
        expect(answered is not ACK, f"{what}, which has to be refused, was answered ACK")
        expect(b.config() == before, f"{what} was answered {answered.name}, but sizes changed")
        states = [b.request(STATE, *blocks).state for blocks in ((0, 4), (4, 2), (6, 378))]
        expected = [State.UNPLUGGED, State.PLUGGED, State.UNPLUGGED]
        expect(states == expected, f"{what} was answered {answered.name}, but blocks changed")
    return "5 refused PLUGs and UNPLUGs that overlap plugged and unplugged blocks"


@sees("SOUND-2")
def wrapping_ranges_are_errors(b: Bench) -> str:
    b.start()
    block = b.config().block_size
    for addr, count in (((1 << 64) - block, 1), ((1 << 64) - block, 2), ((1 << 64) - block, 0xFFFF), (1 << 63, 0xFFFF)):
        for kind in (PLUG, UNPLUG, STATE):
            seen = b.request_at(kind, addr, count).type
            expect(seen is ERROR, f"{kind.name} {addr:#x}, {count} blocks: answered {seen.name}")
    return "4 ranges at the end of addresses, for PLUG, UNPLUG and STATE: ERROR"


@sees("SOUND-3", virtio=True)
def the_configuration_is_read_only(b: Bench) -> str:
    b.start()
    before = b.config()
    b.transport.write_config(0, b"\xff" * CONFIG_SIZE)
    b.note("fill the configuration with ff")
    expect(b.config() == before, f"it reads {b.config()}")
    expect(b.request(PLUG, 0, 1).type is ACK, "a proper request is refused afterwards")
    return "filled with ff, every field reads as before"


@sees("SOUND-4", virtio=True)
def short_requests_do_no_harm(b: Bench) -> str:
    return _none_does_harm(b, {f"{size} bytes": Chain((_plug(b, 50)[:size],)) for size in (1, 2, 8, 16, 23)})


@sees("SOUND-5", virtio=True)
def short_responses_do_no_harm(b: Bench) -> str:
    rooms: Sequence[tuple[int, ...]] = ((1,), (2,), (9,), (4, 5))
    return _none_does_harm(b, {f"room {'+'.join(map(str, room))}": Chain((_plug(b, 50),), room) for room in rooms})


@sees("SOUND-6")
def unknown_types_do_no_harm(b: Bench) -> str:
    return _none_does_harm(
        b,
        {f"type {kind:#x}": Chain((kind.to_bytes(2, "little") + _plug(b, 50)[2:],)) for kind in (4, 5, 0x100, 0xFFFF)},
    )


@sees("SOUND-7", virtio=True)
def one_sided_chains_do_no_harm(b: Bench) -> str:
    return _none_does_harm(b, {"nothing readable": Chain(()), "nothing writable": Chain((_plug(b, 50),), ())})


@sees("SOUND-8", virtio=True)
def empty_descriptors_do_no_harm(b: Bench) -> str:
    request = _plug(b, 50)
    b.start()
    seen = []
    for what, chain in (
        ("an empty one first", Chain((b"", request))),
        ("an empty one last", Chain((request,), (10, 0))),
    ):
        b.start()
        b.request(UNPLUG_ALL)
        result = b.submit(chain, what=what)
        gave_up = bool(result.seen.status & Status.NEEDS_RESET)
        answered = result.used_len(0) is not None
        expect(answered or gave_up, f"{what}: neither answered nor NEEDS_RESET; its driver hangs")
        plugged = result.seen.config.plugged_size
        # Served or refused, as the specification does not say which; but then what it did and what it said must agree.
        expect(plugged == (b.config().block_size if answered else 0), f"{what}: {format_size(plugged)} are plugged")
        seen.append(f"{what}: {answer(result, 0)}")
    return "; ".join(seen)


@sees("SOUND-9", virtio=True)
def wrong_order_does_no_harm(b: Bench) -> str:
    return _none_does_harm(b, {"response before request": shaped((_plug(b, 50),), (10,), "in_before_out")})


@sees("SOUND-10", virtio=True)
def loops_end(b: Bench) -> str:
    request = _plug(b, 50)
    names = {"back to the first": "loop", "onto itself": "readable_loop"}
    return _none_does_harm(b, {what: shaped((request,), (10,), name) for what, name in names.items()})


@sees("SOUND-11", virtio=True)
def heads_out_of_range_do_no_harm(b: Bench) -> str:
    return _none_does_harm(b, {"a head behind the queue": shaped((_plug(b, 50),), (10,), "head_out_of_range")})


@sees("SOUND-12", virtio=True)
def nexts_out_of_range_do_no_harm(b: Bench) -> str:
    return _none_does_harm(b, {"a next behind the queue": shaped((_plug(b, 50),), (10,), "next_out_of_range")})


@sees("SOUND-13", virtio=True)
def broken_tables_do_no_harm(b: Bench) -> str:
    if not b.transport.offered() & VirtioFeature.INDIRECT_DESC:
        not_applicable("INDIRECT_DESC is not offered")
    names = {
        "an empty table": "indirect_empty",
        "half a descriptor": "indirect_badlen",
        "a next behind the table": "indirect_next_out_of_range",
        "a loop in the table": "indirect_loop",
    }
    return _none_does_harm(b, {what: shaped((_plug(b, 50),), (10,), name) for what, name in names.items()})


@sees("SOUND-14", virtio=True)
def earlier_requests_are_answered(b: Bench) -> str:
    b.start()
    chains = (Chain((_plug(b, 0),)), Chain((_plug(b, 1),)), Chain((b"\xff" * 24,)))
    result = b.submit(*chains, what="PLUG 0, PLUG 1 and an unknown request in one notification")
    answered = sum(result.used_len(number) is not None for number in range(2))
    plugged = result.seen.config.plugged_size
    expect(plugged == answered * 2 * MiB, f"{format_size(plugged)} are plugged, {answered} of 2 PLUGs answered")
    if answered == 2:
        return "two PLUGs before an unknown request: ACK"
    expect(not _keeps_order(b), "requests before it were not answered")
    return f"two PLUGs before an unknown request: {answered} answered by a device that does not keep the order"


def _keeps_order(b: Bench) -> bool:
    """True when the device returns a batch in the order in which it was made available, which no rule demands."""
    b.start()
    state = Chain((Request(STATE, b.config().addr, 1).pack(),))
    result = b.submit(*[state] * 16, what="16 STATEs in one notification")
    return [used.id for used in result.used] == list(result.heads)


@sees("SOUND-15", virtio=True)
def room_behind_the_response_is_left_alone(b: Bench) -> str:
    b.start()
    result = b.submit(Chain((_plug(b, 0),), (64,)), what="PLUG block 0 with room for 64 bytes")
    expect(result.used_len(0) is not None, "not answered")
    expect(result.data[0][10:] == bytes([UNTOUCHED]) * 54, f"the buffer holds {result.data[0].hex()}")
    return "54 bytes behind a response are as they were"


@sees("SOUND-16", virtio=True)
def a_full_queue_is_answered(b: Bench) -> str:
    b.start()
    size = b.transport.queue_size()
    # Two descriptors for a request. Beyond requested_size a PLUG would be refused, and the answer no proof of anything.
    plugs = min(size // 2, b.spec.requested_size // b.config().block_size)
    chains = [Chain((_plug(b, number),)) for number in range(plugs)]
    chains += [Chain((Request(STATE, b.config().addr, 1).pack(),))] * (size // 2 - plugs)
    result = b.submit(*chains, what=f"{len(chains)} requests, {plugs} of them PLUGs, in {size} descriptors")
    expect(sorted(used.id for used in result.used) == sorted(result.heads), "not each was returned once")
    plugged = result.seen.config.plugged_size // result.seen.config.block_size
    expect(plugged == plugs, f"{plugged} blocks are plugged")
    return f"{len(chains)} requests in {size} descriptors"


@sees("SOUND-17", virtio=True)
def the_ring_wraps(b: Bench) -> str:
    b.start()
    config = b.config()
    batch = b.transport.queue_size() // 2
    state = Chain((Request(STATE, config.addr, 1).pack(),))
    # Once around the indices, which run to 65536 whatever the size of the queue, and a little more.
    rounds = (1 << 16) // batch + 2
    for number in range(rounds):
        result = b.ring.submit([state] * batch)
        expect(len(result.used) == batch, f"{len(result.used)} of {batch} answers after {number * batch} requests")
    b.note(f"{rounds * batch} STATE requests, {batch} in each notification")
    last = b.request(STATE, 0, 1)
    expect(last == Response(ACK, State.UNPLUGGED), f"answered {last}")
    return f"{rounds * batch} requests, so that both indices wrap at 65536"


@sees("SOUND-18", virtio=True)
def a_smaller_queue_works(b: Bench) -> str:
    most = b.transport.queue_size()
    # In one descriptor a request fits only by an indirect table: it has a readable and a writable part.
    sizes = [1, 2, 4, most // 2] if b.transport.offered() & VirtioFeature.INDIRECT_DESC else [2, 4, most // 2]
    for size in sizes:
        b.ring = Ring(b.transport, size)
        b.note(f"a queue of {size}")
        b.start()
        state = Chain((Request(STATE, b.config().addr, 1).pack(),), indirect=size == 1)
        for number in range(2 * size + 1):
            expect(len(b.ring.submit([state]).used) == 1, f"queue of {size}: no answer to request {number + 1}")
    return f"{', '.join(map(str, sizes))} descriptors, each more than twice around"


@sees("SOUND-19", virtio=True)
def a_reset_drops_what_is_under_way(b: Bench) -> str:
    b.start()
    plug = _plug(b, 0)
    # Without a notification, so that the device cannot have begun with it.
    b.ring.make_available([Chain((plug,))])
    b.note("PLUG block 0 made available, no notification")
    b.start()
    expect(b.config().plugged_size == 0, "a request from before the reset was served")
    seen = b.request(PLUG, 0, 1).type
    expect(seen is ACK, f"the same request after the reset: {seen.name}")
    return "a request that was available is forgotten, the next one is answered"


@sees("SOUND-20")
def a_busy_device_recovers(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    b.set_busy(True)
    seen = [b.request(PLUG, 8, 1).type, b.request(UNPLUG, 0, 1).type, b.request(UNPLUG_ALL).type]
    busy = b.config()
    b.set_busy(False)
    # A device that goes on during a migration keeps every rule: BUSY is a MAY.
    if BUSY not in seen:
        not_applicable("it is never busy")
    expect(busy.plugged_size == 8 * MiB, f"{format_size(busy.plugged_size)} are plugged while all is BUSY")
    after = [b.request(PLUG, 8, 1).type, b.request(UNPLUG, 0, 1).type, b.request(UNPLUG_ALL).type]
    expect(after == [ACK] * 3, f"after the migration was cancelled: {', '.join(kind.name for kind in after)}")
    return "PLUG, UNPLUG, UNPLUG ALL are BUSY while migrating and ACK afterwards"


@sees("SOUND-21")
def refused_sizes_change_nothing(b: Bench) -> str:
    b.start()
    before = b.see()
    words = [b.set_requested_size(size) for size in (b.spec.size + 2 * MiB, 3 * MiB + 1, 1)]
    if None in words:
        not_applicable("sizes beyond the region or of half a block are accepted")
    after = b.see()
    expect(after._replace(isr=0) == before._replace(isr=0), "the configuration changed")
    return "beyond the region, half a block, one byte: refused, and nothing changes"
