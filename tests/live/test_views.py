import pytest

from virtiomem.errors import UsageError
from virtiomem.guest.base import DriverConfig
from virtiomem.live.block_lines import block_lines
from virtiomem.live.capture import Capture, Section
from virtiomem.live.views import PARAMETERS, PLUGGED, crash_state_of, driver_config_of, memory_of, zones_of
from virtiomem.recording.values import MemoryBlock, ZonePages
from virtiomem.units import GiB, Size

MEMORY = "sys/devices/system/memory"


def of(heading: str, *lines: str, remark: str = "") -> Capture:
    return Capture({heading: Section.of(lines, remark)}, source="x")


def test_blocks_read_back_as_they_were_written() -> None:
    blocks = [
        MemoryBlock(block=0, state="online", valid_zones="none", nodes=[0]),
        MemoryBlock(block=1, state="online", valid_zones="Normal", removable=0, nodes=[0, 1]),
        MemoryBlock(block=2, state="online", valid_zones="Normal", removable=0, nodes=[0, 1]),
        MemoryBlock(block=9, state="offline", valid_zones="Normal Movable", nodes=[]),
        MemoryBlock(block=10, state="unknown", valid_zones="", nodes=[]),
    ]
    written = list(block_lines(blocks))
    assert written[1] == "1-2 online 0 0,1 Normal"
    memory = memory_of(of(MEMORY, "block_size_bytes 40000000", "auto_online_blocks offline", *written))
    assert memory.blocks == blocks
    assert (memory.block_size, memory.auto_online_blocks, memory.crash_hotplug) == (1 << 30, "offline", None)
    memory.check()


def test_what_is_plugged_in_a_block_is_read_where_it_is_reported() -> None:
    capture = Capture(
        {
            MEMORY: Section.of(["block_size_bytes 8000000", "1-2 online 1 0 Movable"]),
            PLUGGED: Section.of(["2 2097152"]),
        }
    )
    assert [block.plugged for block in memory_of(capture).blocks][1] == 2 << 20


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], r"no memory blocks in it \(denied\)"),
        (["0 online 1 0 Normal"], "no memory blocks in it"),
        (["block_size_bytes 3"], "'3' is not a block size"),
        (["block_size_bytes 8000000", "0 online"], "not a line of memory blocks: '0 online'"),
        (["block_size_bytes 8000000", "5-3 online 1 0 Normal"], "not a line of memory blocks"),
        (["block_size_bytes 8000000", "0-999999999 online 1 0 Normal"], "more than 1048576 memory blocks"),
        (
            ["block_size_bytes 8000000", "0 online 1 0 Normal", "1-1048576 online 1 0 Normal"],
            "more than 1048576 memory blocks, with '1-1048576 online 1 0 Normal'",
        ),
        (["block_size_bytes 8000000", "0-3 online 1 0 Normal", "2 online 1 0 Normal"], "memory block 2 is there twice"),
    ],
)
def test_damaged_blocks_are_named(lines: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=f"x: {reason}"):
        memory_of(of(MEMORY, *lines, remark="denied"))


def test_zones_are_counted_by_node() -> None:
    lines = []
    for node in (0, 1):
        lines += [f"Node {node}, zone   Normal", "  spanned  9", f"  present  {node}", "  managed  7"]
    lines += ["Node 1, zone  Movable", "  spanned  1"]
    assert zones_of(of("proc/zoneinfo", *lines)) == {
        "node0": {"Normal": ZonePages(9, 0, 7)},
        "node1": {"Normal": ZonePages(9, 1, 7)},
    }
    assert zones_of(Capture({})) == {}


@pytest.mark.parametrize("digits", [20, 5000])
def test_number_that_nothing_has_is_named(digits: int) -> None:
    with pytest.raises(UsageError, match=r"^x: '9+' is not an address or a size$"):
        zones_of(of("proc/zoneinfo", "Node 0, zone   Normal", f"  spanned {'9' * digits}"))
    with pytest.raises(UsageError, match=r"^x: '10+.* is not a block size"):
        memory_of(of(MEMORY, f"block_size_bytes 1{'0' * digits}", "0 online 1 0 Movable"))


def test_crash_state_is_what_the_kernel_tells() -> None:
    capture = Capture(
        {
            "sys/kernel": Section.of(["vmcoreinfo 0x17bd54000 1024"]),
            "sys/devices/system/cpu": Section.of(
                [
                    "possible 0-3,8",
                    "present 0-1",
                    "cpu0/crash_notes 17bc39600",
                    "cpu0/crash_notes_size 368",
                    "cpu1/crash_notes 0",
                ]
            ),
        }
    )
    state = crash_state_of(capture)
    assert state.notes == [(0x17BC39600, 368)]
    assert (state.vmcoreinfo, state.possible_cpus, state.present_cpus) == ((0x17BD54000, 0x1024), 5, 2)
    nothing = crash_state_of(Capture({}))
    assert (nothing.notes, nothing.vmcoreinfo, nothing.possible_cpus, nothing.present_cpus) == ([], None, 0, 0)


def test_an_address_that_is_invalid_is_named() -> None:
    with pytest.raises(UsageError, match="'zz' is not an address or a size"):
        crash_state_of(of("sys/kernel", "vmcoreinfo zz 10"))


def test_the_driver_was_loaded_as_its_parameters_say() -> None:
    said = ["bbm_block_size 1073741824", "bbm_safe_unplug N", "force_bbm Y", "unplug_online N"]
    assert driver_config_of(of(PARAMETERS, *said)) == DriverConfig(
        force_bbm=True, bbm_block_size=Size(GiB), bbm_safe_unplug=False, unplug_online=False
    )
    assert driver_config_of(of(PARAMETERS, remark="absent")) == DriverConfig()
    with pytest.raises(UsageError, match="x: 'much' is not an address or a size"):
        driver_config_of(of(PARAMETERS, "bbm_block_size much"))


@pytest.mark.parametrize("address", ["-1", "1" + "0" * 16, "f" * 5000])
def test_notes_that_lie_nowhere_are_named(address: str) -> None:
    lines = [f"cpu0/crash_notes {address}", "cpu0/crash_notes_size 536"]
    with pytest.raises(UsageError, match=r"x: '.{1,40}' is not an address or a size"):
        crash_state_of(of("sys/devices/system/cpu", *lines))
