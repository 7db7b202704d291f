"""PLUG, UNPLUG, UNPLUG ALL, STATE (5.15.6.3 to 5.15.6.6), and what only the uapi header says about them."""

from collections.abc import Callable, Iterable

from virtiomem.conformance.checks.registry import sees
from virtiomem.conformance.testbench import Bench, expect
from virtiomem.transport.vring import Chain
from virtiomem.units import GiB, MiB, format_size
from virtiomem.wire.mem import Request, RequestType, Response, ResponseType, State

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType

JUNK = bytes.fromhex("deadbeef5a5a")


def _ready(b: Bench, kind: RequestType) -> None:
    """Bring the device up; blocks 0..7 are in the state that a request of this kind wants."""
    b.start()
    if kind in (UNPLUG, UNPLUG_ALL):
        b.request(PLUG, 0, 8)


def _each(
    b: Bench, kind: RequestType, ranges: Iterable[tuple[int, int]], wanted: ResponseType | State, given: str = ""
) -> None:
    """Ask for each of `ranges` (first block, number of blocks): every answer is of the type, or tells the state, `wanted`."""
    for first, count in ranges:
        answered = b.request(kind, first, count)
        seen = answered.state if isinstance(wanted, State) else answered.type
        expect(seen is wanted, f"blocks {first}..{first + count - 1}{given}: answered {seen.name}")


def _raw(b: Bench, kind: RequestType, data: bytes, what: str) -> Response:
    result = b.submit(Chain((data,)), what=f"{kind.name} blocks 0..3, {what}")
    expect(result.used_len(0) is not None, f"{kind.name}, {what}: not answered")
    return Response.unpack(result.data[0])


def _padded(b: Bench, kind: RequestType) -> bytes:
    return Request(kind, b.config().addr, 4).pack()


def _ignores_the_rest(kind: RequestType) -> Callable[[Bench], str]:
    def check(b: Bench) -> str:
        _ready(b, kind)
        data = _padded(b, kind)
        seen = _raw(b, kind, data[:2] + JUNK + data[8:] + JUNK * 3, "padding and 18 more bytes filled with junk")
        expect(seen.type is ACK, f"answered {seen.type.name}")
        return "junk in the padding behind the type, and behind the 24 bytes: ACK"

    return check


def _ignores_padding(kind: RequestType) -> Callable[[Bench], str]:
    def check(b: Bench) -> str:
        _ready(b, kind)
        seen = _raw(b, kind, _padded(b, kind)[:18] + JUNK, "padding behind nb_blocks filled with junk")
        expect(seen.type is ACK, f"answered {seen.type.name}")
        return "junk behind nb_blocks: ACK"

    return check


def _refuses_bad_ranges(kind: RequestType) -> Callable[[Bench], str]:
    def check(b: Bench) -> str:
        _ready(b, kind)
        config = b.config()
        block, end = config.block_size, config.addr + config.usable_region_size
        ranges = {
            "addr one byte off": (config.addr + 1, 1),
            "addr half a block off": (config.addr + block // 2, 1),
            "no blocks": (config.addr, 0),
            "before the region": (config.addr - block, 1),
            "into the region": (config.addr - block, 2),
            "address 0": (0, 1),
            "behind the usable region": (end, 1),
            "out of the usable region": (end - block, 2),
            "behind the region": (config.addr + config.region_size, 1),
            "65535 blocks": (config.addr, 0xFFFF),
        }
        for name, (addr, count) in ranges.items():
            seen = b.request_at(kind, addr, count).type
            expect(seen is ERROR, f"{name}: answered {seen.name}")
        return f"{len(ranges)} ranges: {', '.join(ranges)}"

    return check


def _may_be_busy(kind: RequestType) -> Callable[[Bench], str]:
    def check(b: Bench) -> str:
        _ready(b, kind)
        b.set_busy(True)
        seen = b.request(kind).type
        expect(seen in (ACK, BUSY), f"answered {seen.name} while migrating")
        return f"{seen.name} while migrating"

    return check


for _kind, _group in ((PLUG, "PLUG"), (UNPLUG, "UNPLUG"), (STATE, "STATE")):
    sees(f"{_group}-1")(_ignores_the_rest(_kind))
    sees(f"{_group}-2")(_ignores_padding(_kind))
    sees(f"{_group}-3")(_refuses_bad_ranges(_kind))

for _kind, _rule in ((PLUG, "PLUG-5"), (UNPLUG, "UNPLUG-5"), (UNPLUG_ALL, "ALL-3")):
    sees(_rule)(_may_be_busy(_kind))


@sees("PLUG-4")
def plugging_plugged_blocks_is_an_error(b: Bench) -> str:
    b.start()
    b.request(PLUG, 4, 2)
    _each(b, PLUG, [(4, 2), (5, 1), (3, 2), (0, 8)], ERROR, " with 4..5 plugged")
    return "the same blocks, one of them, one more, all around: ERROR"


@sees("PLUG-4")
def plugging_plugged_blocks_is_an_error_when_full(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 256)
    seen = b.request(PLUG, 0, 1).type
    expect(seen is ERROR, f"block 0, plugged already, with requested_size reached: answered {seen.name}")
    return "also with requested_size reached"


@sees("PLUG-6")
def plugging_is_acknowledged(b: Bench) -> str:
    b.start()
    _each(b, PLUG, [(0, 1), (100, 100), (383, 1), (1, 99), (200, 55)], ACK)
    expect(b.request(STATE, 0, 255).state is State.PLUGGED, "not all of them are plugged")
    return "256 blocks in 5 requests, up to requested_size, the last usable one among them"


@sees("PLUG-7")
def plugging_shows(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 3)
    b.request(PLUG, 8, 5)
    size = b.config().plugged_size
    expect(size == 16 * MiB, f"plugged_size {format_size(size)} after 8 blocks of 2M")
    return f"{format_size(size)} after 3 and 5 blocks of 2M"


@sees("UNPLUG-4")
def unplugging_unplugged_blocks_is_an_error(b: Bench) -> str:
    b.start()
    b.request(PLUG, 4, 2)
    _each(b, UNPLUG, [(0, 1), (6, 1), (3, 2), (5, 2), (0, 8)], ERROR, " with 4..5 plugged")
    return "others, one too many at either end, all around: ERROR"


@sees("UNPLUG-6")
def unplugging_is_acknowledged(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 16)
    _each(b, UNPLUG, [(0, 1), (15, 1), (4, 8), (1, 3), (12, 3)], ACK)
    expect(b.request(STATE, 0, 16).state is State.UNPLUGGED, "some of them are still plugged")
    return "16 blocks in 5 requests, from both ends and the middle"


@sees("UNPLUG-7")
def unplugging_shows(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 8)
    b.request(UNPLUG, 2, 3)
    size = b.config().plugged_size
    expect(size == 10 * MiB, f"plugged_size {format_size(size)} after 8 blocks of 2M, 3 unplugged")
    return f"{format_size(size)} after 8 blocks of 2M, 3 unplugged"


@sees("ALL-1")
def unplugging_all_looks_at_the_type_only(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    data = Request(UNPLUG_ALL).pack()[:2] + JUNK + b"\xff" * 10 + JUNK + JUNK
    seen = _raw(b, UNPLUG_ALL, data, "everything behind the type filled with junk")
    expect(seen.type is ACK, f"answered {seen.type.name}")
    expect(b.config().plugged_size == 0, "blocks are still plugged")
    return "junk behind the type: ACK"


@sees("ALL-2")
def unplugging_all_ignores_padding(b: Bench) -> str:
    b.start()
    seen = _raw(b, UNPLUG_ALL, Request(UNPLUG_ALL).pack()[:18] + JUNK, "padding filled with junk")
    expect(seen.type is ACK, f"answered {seen.type.name}")
    return "junk in the last 6 bytes: ACK"


@sees("ALL-4")
def unplugging_all_is_acknowledged(b: Bench) -> str:
    b.start()
    for first, count in ((0, 0), (0, 4), (5, 250)):
        if count:
            b.request(PLUG, first, count)
        seen = b.request(UNPLUG_ALL).type
        expect(seen is ACK, f"with {count} blocks plugged: answered {seen.name}")
    return "with 0, 4 and 250 blocks plugged"


@sees("ALL-5")
def unplugging_all_leaves_nothing(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    b.request(PLUG, 300, 20)
    b.request(UNPLUG_ALL)
    expect(b.config().plugged_size == 0, f"plugged_size {format_size(b.config().plugged_size)}")
    expect(b.request(STATE, 0, 384).state is State.UNPLUGGED, "STATE reports plugged blocks")
    return "0, and no block is plugged"


@sees("ALL-6")
def unplugging_all_may_change_the_usable_region(b: Bench) -> str:
    b.start()
    b.set_requested_size(1 * GiB)
    before = b.config().usable_region_size
    b.set_requested_size(256 * MiB)
    b.request(UNPLUG_ALL)
    return f"{format_size(before)} → {format_size(b.config().usable_region_size)} with 256M requested"


@sees("STATE-4")
def state_is_always_acknowledged(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    _each(b, STATE, [(0, 1), (0, 4), (2, 4), (4, 380), (0, 384)], ACK)
    return "5 ranges up to all of the usable region"


@sees("STATE-5")
def plugged_blocks_are_plugged(b: Bench) -> str:
    b.start()
    b.request(PLUG, 10, 6)
    _each(b, STATE, [(10, 6), (10, 1), (15, 1), (12, 2)], State.PLUGGED, " with 10..15 plugged")
    return "all of 10..15, and parts of them"


@sees("STATE-6")
def unplugged_blocks_are_unplugged(b: Bench) -> str:
    b.start()
    b.request(PLUG, 10, 6)
    _each(b, STATE, [(0, 10), (9, 1), (16, 1), (16, 368)], State.UNPLUGGED, " with 10..15 plugged")
    return "what lies before and behind 10..15"


@sees("STATE-7")
def mixed_blocks_are_mixed(b: Bench) -> str:
    b.start()
    b.request(PLUG, 10, 6)
    _each(b, STATE, [(9, 2), (15, 2), (0, 384), (9, 8)], State.MIXED, " with 10..15 plugged")
    return "over either end of 10..15, and all around"


@sees("UAPI-1")
def too_much_is_refused_for_now(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 255)
    for first, count in ((300, 2), (300, 84)):
        seen = b.request(PLUG, first, count).type
        expect(seen is NACK, f"{count} blocks more where 1 is left: answered {seen.name}")
    b.request(PLUG, 300, 1)
    b.set_requested_size(0)
    seen = b.request(PLUG, 301, 1).type
    expect(seen is NACK, f"1 block more after requested-size went to 0: answered {seen.name}")
    return "one block too many, many too many, and after a resize to 0: NACK"


@sees("UAPI-2")
def unplugging_below_the_requested_size_works(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 16)
    seen = [b.request(UNPLUG, 0, 8).type]
    b.set_requested_size(0)
    seen += [b.request(UNPLUG, 8, 4).type, b.request(STATE, 12, 4).type, b.request(UNPLUG_ALL).type]
    expect(seen == [ACK] * 4, f"answered {', '.join(kind.name for kind in seen)}")
    return "UNPLUG below and above requested_size, STATE, UNPLUG ALL: ACK"


@sees("UAPI-3")
def state_is_never_busy(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    b.set_busy(True)
    seen = b.request(STATE, 0, 8)
    expect(seen == Response(ACK, State.MIXED), f"answered {seen.type.name} while migrating")
    return "ACK MIXED while migrating"


@sees("UAPI-4")
def unplugging_all_is_never_an_error(b: Bench) -> str:
    b.start()
    seen = {b.request_at(UNPLUG_ALL, addr, count).type for addr, count in ((0, 0), (1, 0xFFFF), ((1 << 64) - 1, 1))}
    expect(not seen & {ERROR, NACK}, f"answered {', '.join(kind.name for kind in seen)}")
    return "with ranges that would be errors elsewhere: ACK"


@sees("UAPI-5")
def a_usable_region_that_shrank_is_not_notified(b: Bench) -> str:
    b.start()
    b.set_requested_size(1 * GiB)
    b.set_requested_size(0)
    b.see()
    before = b.config().usable_region_size
    b.request(UNPLUG_ALL)
    seen = b.see()
    expect(not seen.isr & 2, "a configuration notification after UNPLUG ALL")
    return f"usable {format_size(before)} → {format_size(seen.config.usable_region_size)}, no notification"


@sees("UAPI-6")
def no_more_than_requested_is_plugged(b: Bench) -> str:
    b.start()
    for first in range(0, 384, 16):
        b.request(PLUG, first, 16)
    config = b.config()
    expect(config.plugged_size <= config.requested_size, f"{format_size(config.plugged_size)} are plugged")
    return f"24 requests for 32M each: {format_size(config.plugged_size)} of {format_size(config.requested_size)}"


@sees("UAPI-7")
def the_usable_region_stays_inside(b: Bench) -> str:
    b.start()
    b.set_requested_size(1 * GiB)
    config = b.config()
    expect(config.usable_region_size <= config.region_size, f"{format_size(config.usable_region_size)} are usable")
    seen = b.request_at(PLUG, config.addr + config.region_size, 1).type
    expect(seen is ERROR, f"a block behind the region: answered {seen.name}")
    return f"{format_size(config.usable_region_size)} of {format_size(config.region_size)} with all of it requested"
