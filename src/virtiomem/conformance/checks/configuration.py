"""Configuration, initialization, contents, resets (5.15.4 to 5.15.6.2)."""

from virtiomem.conformance.checks.registry import sees
from virtiomem.conformance.testbench import DRIVER_FEATURES, SPEC, Bench, expect, not_applicable, notified
from virtiomem.errors import ProtocolError
from virtiomem.units import GiB, MiB, Span, format_size, is_power_of_two
from virtiomem.wire.mem import Config, Feature, RequestType, ResponseType, State
from virtiomem.wire.virtio import Isr

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType

INACCESSIBLE = SPEC._replace(unplugged_inaccessible="on")
WITHOUT_INACCESSIBLE = DRIVER_FEATURES & ~int(Feature.UNPLUGGED_INACCESSIBLE)
PATTERN = bytes(range(16))


@sees("CFG-1")
def sizes_change(b: Bench) -> str:
    b.start()
    before = b.config()
    b.set_requested_size(1 * GiB)
    after = b.config()
    expect(after.requested_size == GiB, f"requested_size reads {format_size(after.requested_size)} after 1G was set")
    return (
        f"requested {format_size(before.requested_size)} → {format_size(after.requested_size)}, "
        f"usable {format_size(before.usable_region_size)} → {format_size(after.usable_region_size)}"
    )


@sees("CFG-2")
def what_is_fixed_stays(b: Bench) -> str:
    b.start()
    before = b.config()
    b.request(PLUG, 0, 8)
    b.set_requested_size(1 * GiB)
    b.request(UNPLUG_ALL)
    b.set_requested_size(0)
    b.start()
    for name in ("block_size", "node_id", "addr", "region_size"):
        old, new = getattr(before, name), getattr(b.config(), name)
        expect(old == new, f"{name} went from {old:#x} to {new:#x}")
    return "the same after plugging, resizing, UNPLUG ALL and a device reset"


@sees("CFG-3")
def plugged_size_is_what_is_plugged(b: Bench) -> str:
    b.start()
    sizes = []
    for kind, first, count in ((PLUG, 0, 16), (PLUG, 32, 1), (UNPLUG, 4, 4), (PLUG, 5, 2), (UNPLUG_ALL, 0, 0)):
        b.request(kind, first, count)
        config = b.config()
        plugged = sum(b.request(STATE, block).state is State.PLUGGED for block in range(40))
        expect(
            config.plugged_size == plugged * config.block_size,
            f"plugged_size {format_size(config.plugged_size)}, but STATE reports {plugged} plugged blocks",
        )
        sizes.append(format_size(config.plugged_size))
    return f"{', '.join(sizes)}: as STATE of every block says"


def _usable_reaches(config: Config) -> str:
    expect(
        config.usable_region_size >= config.requested_size,
        f"usable_region_size {format_size(config.usable_region_size)} < "
        f"requested_size {format_size(config.requested_size)}",
    )
    return f"usable {format_size(config.usable_region_size)} of requested {format_size(config.requested_size)}"


@sees("CFG-4")
def usable_follows_requested(b: Bench) -> str:
    b.start()
    seen = [_usable_reaches(b.config())]
    for size in (1 * GiB, 2 * MiB, 0, 1 * GiB):
        b.set_requested_size(size)
        seen.append(_usable_reaches(b.config()))
    return "; ".join(seen)


@sees("CFG-4")
def usable_follows_requested_after_unplug_all(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    b.request(UNPLUG_ALL)
    return f"after UNPLUG ALL: {_usable_reaches(b.config())}"


# More than the region, which QEMU takes at power-on and never later.
@sees("CFG-4", spec=SPEC._replace(requested_size=2 * GiB))
def usable_follows_requested_beyond_the_region(b: Bench) -> str:
    b.note(f"configuration: {_sizes(b.config())}")
    return f"made with more requested than there is: {_usable_reaches(b.config())}"


@sees("CFG-5")
@sees("CFG-5", spec=SPEC._replace(block_size=64 * MiB))
def block_size_is_a_power_of_two(b: Bench) -> str:
    size = b.config().block_size
    expect(is_power_of_two(size), f"block_size is {size:#x}")
    return format_size(size)


@sees("CFG-6")
@sees("CFG-6", spec=SPEC._replace(block_size=64 * MiB))
def sizes_are_whole_blocks(b: Bench) -> str:
    b.start()
    b.request(PLUG, 3, 2)
    # Refused or rounded, either is good: what is read afterwards counts.
    b.set_requested_size(3 * b.config().block_size // 2)
    config = b.config()
    for name in ("addr", "region_size", "usable_region_size", "plugged_size", "requested_size"):
        value = getattr(config, name)
        expect(value % config.block_size == 0, f"{name} {value:#x} is not a multiple of {config.block_size:#x}")
    return f"with blocks of {format_size(config.block_size)}: {_sizes(config)}"


@sees("CFG-8")
def usable_does_not_shrink(b: Bench) -> str:
    b.start()
    b.set_requested_size(1 * GiB)
    high = b.config().usable_region_size
    for size in (512 * MiB, 0):
        b.set_requested_size(size)
        now = b.config().usable_region_size
        expect(now >= high, f"usable_region_size fell from {format_size(high)} to {format_size(now)} by a resize")
    b.start()
    now = b.config().usable_region_size
    expect(now >= high, f"usable_region_size fell from {format_size(high)} to {format_size(now)} by a device reset")
    return f"{format_size(high)} through resizes to 512M and 0, and a device reset"


@sees("CFG-9")
def new_sizes_are_notified(b: Bench) -> str:
    b.start()
    for size in (1 * GiB, 0, 256 * MiB):
        b.set_requested_size(size)
        expect(notified(b.see(Isr.CONFIG)), f"requested_size went to {format_size(size)} without a notification")
    return "one for each of 1G, 0 and 256M"


@sees("CFG-10")
def plugging_is_not_notified(b: Bench) -> str:
    b.start()
    for kind, first, count in ((PLUG, 0, 16), (UNPLUG, 0, 8), (UNPLUG_ALL, 0, 0)):
        b.request(kind, first, count)
    expect(not notified(b.see()), "a configuration notification after PLUG, UNPLUG and UNPLUG ALL")
    return "none after PLUG, UNPLUG and UNPLUG ALL"


@sees("CFG-11")
def the_same_size_may_be_notified(b: Bench) -> str:
    b.start()
    b.see()
    refused = b.set_requested_size(b.config().requested_size)
    if refused is not None:
        return f"setting the same size again is refused: {refused}"
    return "setting the same size again is notified" if notified(b.see()) else "setting the same size again is not"


@sees("INI-1", spec=INACCESSIBLE)
def inaccessible_may_be_required(b: Bench) -> str:
    if not b.transport.offered() & Feature.UNPLUGGED_INACCESSIBLE:
        not_applicable("UNPLUGGED_INACCESSIBLE is not offered")
    try:
        b.start(WITHOUT_INACCESSIBLE)
    except ProtocolError:
        return "it refuses FEATURES_OK without"
    return f"it works without: PLUG is answered {b.request(PLUG, 0, 1).type.name}"


@sees("INI-2")
def a_device_reset_leaves_blocks_alone(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 3)
    b.request(PLUG, 100, 2)
    before = b.config()
    b.start()
    expect(b.config() == before, f"configuration before: {_sizes(before)}; after: {_sizes(b.config())}")
    states = [b.request(STATE, first, count).state for first, count in ((0, 3), (3, 97), (100, 2), (102, 100))]
    expected = [State.PLUGGED, State.UNPLUGGED, State.PLUGGED, State.UNPLUGGED]
    expect(states == expected, f"states {[state.name for state in states]}")
    return "5 plugged blocks and 197 others as before"


@sees("INI-3")
def a_device_reset_leaves_contents_alone(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 2)
    span = Span.sized(b.config().addr + b.config().block_size, 16)
    b.contents(span, PATTERN)
    b.start()
    expect(b.contents(span) == PATTERN, "what was written before the reset reads differently")
    return "a pattern in block 1 reads the same"


@sees("OPS-3")
def contents_stay(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 2)
    span = Span.sized(b.config().addr, 16)
    b.contents(span, PATTERN)
    b.request(PLUG, 2, 2)
    b.request(UNPLUG, 1, 1)
    b.set_requested_size(1 * GiB)
    b.request(STATE, 0, 8)
    expect(b.contents(span) == PATTERN, "a pattern in block 0 reads differently after other blocks changed")
    return "a pattern in block 0 reads the same after its neighbours changed and a resize"


@sees("OPS-4")
def plugged_blocks_are_memory(b: Bench) -> str:
    b.start()
    config = b.config()
    last = config.usable_region_size // config.block_size - 1
    for block in (0, 7, last):
        b.request(PLUG, block, 1)
        for offset in (0, config.block_size - 16):
            span = Span.sized(config.addr + block * config.block_size + offset, 16)
            expect(b.contents(span, PATTERN) == PATTERN, f"block {block} does not read what was written")
    return f"first and last bytes of blocks 0, 7 and {last}"


@sees("OPS-5", spec=SPEC._replace(unplugged_inaccessible="off"))
def unplugged_blocks_can_be_read(b: Bench) -> str:
    try:
        left_in = b.start(WITHOUT_INACCESSIBLE) & Feature.UNPLUGGED_INACCESSIBLE
    except ProtocolError:  # as it may (INI-1)
        left_in = b.transport.offered() & Feature.UNPLUGGED_INACCESSIBLE
    if left_in:
        not_applicable("UNPLUGGED_INACCESSIBLE cannot be left out")
    data = b.contents(Span.sized(b.config().addr, 16))
    return f"block 0 reads {data[:4].hex()}…"


@sees("OPS-6")
def a_system_reset_may_change_blocks(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    b.system_reset()
    return f"4 blocks plugged before, {b.config().plugged_size // b.config().block_size} after"


@sees("OPS-7")
def a_system_reset_unplugs(b: Bench) -> str:
    b.start()
    b.request(PLUG, 0, 4)
    b.system_reset()
    b.start()
    expect(b.config().plugged_size == 0, f"{format_size(b.config().plugged_size)} are still plugged")
    expect(b.request(STATE, 0, 8).state is State.UNPLUGGED, "STATE reports plugged blocks")
    expect(b.request(PLUG, 0, 4).type is ResponseType.ACK, "the blocks cannot be plugged again")
    return "nothing is plugged, and all can be plugged again"


def _sizes(config: Config) -> str:
    return (
        f"region {format_size(config.region_size)}, usable {format_size(config.usable_region_size)}, "
        f"plugged {format_size(config.plugged_size)}, requested {format_size(config.requested_size)}"
    )
