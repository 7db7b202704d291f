"""Other drivers that add memory, each in its own way."""

from collections.abc import Callable

import pytest

from virtiomem.architecture import X86_64
from virtiomem.errors import Errno, KernelError
from virtiomem.guest.embedded.hardware import Dimm
from virtiomem.guest.embedded.other_drivers import AcpiMemory, OtherDrivers
from virtiomem.memory import (
    FaultPoint,
    Memory,
    MemoryEvent,
    MemoryNotify,
    OnlineType,
    Policy,
    add_memory_driver_managed,
)
from virtiomem.resource import iomem
from virtiomem.resource.flags import flag_names
from virtiomem.units import GiB, MiB, Span

MB = 128 * MiB
HERE = 8 * GiB
BOOT = """100000000-17fffffff : System RAM
200000000-2ffffffff : Soft Reserved
"""

Boot = Callable[..., Memory]


@pytest.fixture
def boot() -> Boot:
    def make(state: OnlineType = OnlineType.ONLINE_MOVABLE, block_size: int = MB) -> Memory:
        return Memory(iomem.loads(BOOT), block_size=block_size, policy=Policy(default_state=state))

    return make


def listing(memory: Memory) -> list[str]:
    return iomem.dumps(memory.iomem).splitlines()


def flags_at(memory: Memory, *names: str) -> list[list[str]]:
    """The flags of the resources of these names, in the order of the listing."""
    return [flag_names(node.flags) for _, node in memory.iomem.walk() if node.name in names]


# -- ACPI ------------------------------------------------------------------------------------------------------------------


def test_dimm_is_plain_memory_that_never_merges_and_that_kexec_knows(boot: Boot) -> None:
    memory = boot()
    acpi = AcpiMemory(memory)
    dimms = [Dimm(f"dimm{n}", 16 * GiB + n * GiB, GiB, 0) for n in range(2)]
    assert [acpi.add(dimm) for dimm in dimms] == [Errno.OK] * 2
    assert listing(memory)[2:] == ["400000000-43fffffff : System RAM", "440000000-47fffffff : System RAM"]
    assert flags_at(memory, "System RAM")[1:] == [["MEM", "SYSRAM", "BUSY"]] * 2
    assert memory.firmware_map == [Span.sized(dimm.addr, GiB) for dimm in dimms]
    assert [group.max_pages * 4096 for group in memory.groups] == [GiB, GiB]
    assert acpi.remove(dimms[0]) is Errno.OK
    assert listing(memory)[2:] == ["440000000-47fffffff : System RAM"]
    assert memory.firmware_map == [Span.sized(17 * GiB, GiB)]
    assert len(list(memory.groups)) == 1
    memory.check()


def test_dimm_that_is_not_whole_memory_blocks_is_not_taken(boot: Boot) -> None:
    memory = boot()
    acpi = AcpiMemory(memory)
    dimm = Dimm("dimm0", 16 * GiB, 192 * MiB, 0)
    assert acpi.add(dimm) is Errno.EINVAL
    assert len(listing(memory)) == 2
    assert list(memory.groups) == []
    assert acpi.remove(dimm) is Errno.OK


def test_dimm_whose_memory_is_there_already_counts_as_taken(boot: Boot) -> None:
    """ACPI takes EEXIST for memory that the kernel has found by other means."""
    memory = boot()
    assert not add_memory_driver_managed(memory, 0, 16 * GiB, GiB, "System RAM (kmem)")
    acpi = AcpiMemory(memory)
    dimm = Dimm("dimm0", 16 * GiB, GiB, 0)
    assert acpi.add(dimm) is Errno.OK
    assert listing(memory)[2:] == ["400000000-43fffffff : System RAM (kmem)"]
    assert acpi.remove(dimm) is Errno.OK
    assert len(listing(memory)) == 2


def test_dimm_that_is_not_whole_memory_blocks_and_was_there_already_stays(boot: Boot) -> None:
    memory = boot()
    OtherDrivers(memory).add("hyperv", HERE + 4 * GiB, MB, 0)
    acpi = AcpiMemory(memory)
    dimm = Dimm("d0", HERE + 4 * GiB, MB + 64 * MiB, 0)
    assert acpi.add(dimm) is Errno.OK
    before = listing(memory)
    assert acpi.remove(dimm) is Errno.EINVAL
    assert listing(memory) == before
    memory.check()


def test_dimm_with_a_block_that_stays_is_put_back_whole(boot: Boot) -> None:
    memory = boot(OnlineType.ONLINE_KERNEL)
    acpi = AcpiMemory(memory)
    dimm = Dimm("dimm0", 16 * GiB, 4 * MB, 0)
    assert not acpi.add(dimm)
    tried: list[int] = []

    def note(event: MemoryEvent, notify: MemoryNotify) -> Errno:
        if event is MemoryEvent.GOING_OFFLINE:
            tried.append(notify.start // MB - 128)
        return Errno.OK

    memory.notifiers.register(note)
    # The first pass: block 0 stays, 1 goes, 2 stays, 3 goes; the second: 0 goes, 2 stays.
    for veto in (Errno.EBUSY, Errno.OK, Errno.EBUSY, Errno.OK, Errno.OK, Errno.EBUSY):
        memory.faults.inject(FaultPoint.MIGRATE, veto)
    assert acpi.remove(dimm) is Errno.EBUSY
    assert tried == [0, 1, 2, 3, 0, 2]
    assert all(memory.blocks[128 + at].zone is not None for at in range(4))
    memory.check()


def test_second_pass_over_a_dimm_ends_at_the_first_block_that_stays(boot: Boot) -> None:
    memory = boot()
    acpi = AcpiMemory(memory)
    dimm = Dimm("dimm0", 16 * GiB, 3 * MB, 0)
    assert not acpi.add(dimm)
    for veto in (Errno.EBUSY, Errno.OK, Errno.EBUSY, Errno.EBUSY, Errno.EPERM):
        memory.faults.inject(FaultPoint.GOING_OFFLINE, veto)
    assert acpi.remove(dimm) is Errno.EBUSY
    assert memory.faults.take(FaultPoint.GOING_OFFLINE) is Errno.EPERM


def test_block_put_back_goes_where_plain_online_puts_it(boot: Boot) -> None:
    memory = boot(OnlineType.ONLINE_MOVABLE)
    acpi = AcpiMemory(memory)
    dimm = Dimm("dimm0", 16 * GiB, 2 * MB, 0)
    assert not acpi.add(dimm)
    memory.faults.inject(FaultPoint.GOING_OFFLINE, Errno.OK)
    memory.faults.inject(FaultPoint.GOING_OFFLINE, Errno.EBUSY, times=2)
    assert acpi.remove(dimm) is Errno.EBUSY
    zones = [memory.blocks[128 + at].zone for at in range(2)]
    assert [zone and str(zone.type) for zone in zones] == ["Normal", "Movable"]


# -- dax/kmem --------------------------------------------------------------------------------------------------------------


def test_kmem_takes_the_whole_blocks_inside_its_range_under_a_parent_that_is_not_busy(boot: Boot) -> None:
    memory = boot()
    OtherDrivers(memory).add("kmem", HERE + MiB, GiB, 0)
    assert listing(memory)[1:] == [
        "200000000-2ffffffff : Soft Reserved",
        "  208000000-23fffffff : dax0.0",
        "    208000000-23fffffff : System RAM (kmem)",
    ]
    assert flags_at(memory, "dax0.0", "System RAM (kmem)") == [
        ["MEM", "SYSRAM"],
        ["MEM", "SYSRAM", "DRIVER_MANAGED", "BUSY"],
    ]
    assert [group.max_pages * 4096 for group in memory.groups] == [7 * MB]
    assert memory.firmware_map == []


def test_kmem_ranges_side_by_side_do_not_merge(boot: Boot) -> None:
    memory = boot()
    drivers = OtherDrivers(memory)
    drivers.add("kmem", HERE, MB, 0)
    drivers.add("kmem", HERE + MB, MB, 0)
    names = [line.split(" : ")[1] for line in listing(memory)[2:]]
    assert names == ["dax0.0", "System RAM (kmem)", "dax1.0", "System RAM (kmem)"]


@pytest.mark.parametrize(
    ("start", "size", "node", "errno"),
    [(HERE + MiB, MB, 0, "EINVAL"), (HERE, MB, 3, "EINVAL"), (5 * GiB, MB, 0, "EBUSY"), (1 << 52, MB, 0, "E2BIG")],
    ids=["no whole block", "no such node", "taken", "beyond physical memory"],
)
def test_kmem_that_is_refused_leaves_nothing(boot: Boot, start: int, size: int, node: int, errno: str) -> None:
    memory = boot()
    with pytest.raises(KernelError, match=errno):
        OtherDrivers(memory).add("kmem", start, size, node)
    assert listing(memory) == BOOT.splitlines()
    assert list(memory.groups) == []


# -- Xen and Hyper-V -------------------------------------------------------------------------------------------------------


def test_xen_takes_whole_sections_in_the_lowest_gap_that_holds_them_and_merges(boot: Boot) -> None:
    memory = boot()
    drivers = OtherDrivers(memory)
    drivers.add("xen", None, MiB, 0)
    drivers.add("xen", None, 2 * X86_64.section_size, 0)
    assert listing(memory)[0] == "00000000-17ffffff : System RAM"
    mergeable = ["MEM", "SYSRAM", "MERGEABLE", "BUSY"]
    assert flags_at(memory, "System RAM")[0] == mergeable


def test_xen_memory_does_not_merge_with_adjacent_boot_memory(boot: Boot) -> None:
    memory = boot()
    OtherDrivers(memory).add("xen", 6 * GiB, MB, 0)
    assert listing(memory)[:2] == ["100000000-17fffffff : System RAM", "180000000-187ffffff : System RAM"]


def test_xen_memory_is_refused_where_a_section_is_not_a_memory_block(boot: Boot) -> None:
    memory = boot(block_size=256 * MiB)
    drivers = OtherDrivers(memory)
    with pytest.raises(KernelError, match="EINVAL"):
        drivers.add("xen", None, MB, 0)
    assert listing(memory) == BOOT.splitlines()


def test_hyperv_adds_piece_by_piece_and_merges_until_one_is_refused(boot: Boot) -> None:
    memory = boot()
    drivers = OtherDrivers(memory)
    drivers.add("hyperv", 16 * GiB, 3 * MB, 0)
    assert listing(memory)[2:] == ["400000000-417ffffff : System RAM"]
    assert memory.firmware_map == [Span.sized(16 * GiB + at * MB, MB) for at in range(3)]
    drivers.add("hyperv", 17 * GiB, MB, 0)
    with pytest.raises(KernelError, match="EEXIST"):
        drivers.add("hyperv", 17 * GiB - 2 * MB, 4 * MB, 0)
    assert listing(memory)[2:] == [
        "400000000-417ffffff : System RAM",
        "430000000-447ffffff : System RAM",
    ]
