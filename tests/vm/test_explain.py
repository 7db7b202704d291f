from typing import Any

from virtiomem.driver.parameters import Parameters
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.units import GiB, MiB
from virtiomem.vm.explain import explain
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.inside import Block, GuestMemoryInfo
from virtiomem.vm.model import Device, Driver, HypervisorInfo, Machine, VirtioMemDevice
from virtiomem.vm.tables import finding_lines

BLOCK = 128 * MiB


def device(size: int, requested: int, *, memaddr: int = 4 * GiB, block_size: int = 2 * MiB) -> VirtioMemDevice:
    return VirtioMemDevice(
        id="vm0",
        memaddr=memaddr,
        size=size,
        requested_size=requested,
        max_size=8 * GiB,
        block_size=block_size,
        node=0,
    )


def findings(
    of: Device,
    *,
    status: str = "running",
    driver: Driver = Driver.READY,
    inside: GuestMemoryInfo | None = None,
    **more: Any,
) -> tuple[Reason, ...]:
    machine = Machine(status=status, boot_memory=4 * GiB, devices=(of,))
    hypervisor_info = HypervisorInfo(hypervisor="QEMU", drivers={"vm0": driver}, **more)
    return explain(MachineFacts(machine=machine, hypervisor_info=hypervisor_info, inside=inside))


def texts(found: tuple[Reason, ...], kind: Certainty) -> str:
    return "\n".join(finding.text for finding in found if finding.certainty is kind)


def guest(*, online: int = 0, offline: int = 0, zone: str | None = "Movable", **more: Any) -> GuestMemoryInfo:
    first = 4 * GiB // BLOCK
    blocks = [Block(block=first + i, online=True, zone=zone) for i in range(online)]
    blocks += [Block(block=first + online + i, online=False) for i in range(offline)]
    return GuestMemoryInfo(source="test", block_size=BLOCK, blocks=tuple(blocks), **more)


def test_settled_device_that_is_online_or_empty_misses_nothing() -> None:
    for size, inside in ((GiB, guest(online=8)), (0, guest(online=8)), (0, None)):
        (only,) = findings(device(size, size), inside=inside)
        assert only.certainty is Certainty.FACT
        assert only.text.endswith(": nothing is missing")


def test_blocks_that_a_shrink_left_parts_of_are_named_with_what_they_cost() -> None:
    found = texts(findings(device(GiB, GiB), inside=guest(online=16)), Certainty.FACT)
    assert "1G plugged are spread over memory blocks of 2G: 16M of struct pages are for the rest" in found
    assert "spread" not in texts(findings(device(GiB, GiB), inside=guest(online=9)), Certainty.FACT), (
        "one part is usual"
    )


def test_settled_device_is_not_called_complete_without_a_look_inside() -> None:
    for inside in (None, guest()):
        found = findings(device(GiB, GiB), inside=inside)
        assert texts(found, Certainty.FACT) == "the device has plugged 1G, all that is requested"
        assert "what the guest has online and in use" in texts(found, Certainty.UNKNOWN)
    assert "give --agent" in texts(findings(device(GiB, GiB)), Certainty.ADVICE)
    assert "its agent did not show it" in texts(findings(device(GiB, GiB), inside=guest()), Certainty.UNKNOWN)


def test_plugged_memory_that_linux_does_not_have_is_missed() -> None:
    found = findings(device(GiB, GiB), driver=Driver.ABSENT, inside=guest(online=6))
    assert texts(found, Certainty.FACT) == "1G plugged, but Linux has memory blocks for 768M of it only"
    assert "no driver has added the rest" in texts(found, Certainty.ADVICE)


def test_settled_device_with_offline_blocks_is_not_fine() -> None:
    assert "2 of its memory blocks (256M) are in Linux but offline" in texts(
        findings(device(GiB, GiB), inside=guest(online=6, offline=2)), Certainty.FACT
    )


def test_offline_blocks_are_to_be_onlined_whatever_becomes_of_new_ones() -> None:
    for policy in ("online", "online_movable", "offline", None):
        found = findings(device(GiB, GiB), inside=guest(online=6, offline=2, auto_online_blocks=policy))
        assert "online them (chmem -e" in texts(found, Certainty.ADVICE), policy
    online = findings(device(GiB, GiB), inside=guest(offline=2, auto_online_blocks="online"))
    assert "auto_online_blocks is online, which applies to blocks that are added from now on" in texts(
        online, Certainty.FACT
    )
    assert "memhp_default_state" not in texts(online, Certainty.ADVICE)


def test_paused_machine_and_migration_are_facts() -> None:
    found = texts(findings(device(0, GiB), status="paused", migration="active"), Certainty.FACT)
    assert "the machine is paused: its CPUs do not run" in found
    assert "the machine is migrating: the device answers every request with BUSY" in found


def test_no_driver_ends_the_search() -> None:
    found = findings(device(0, GiB), driver=Driver.ABSENT)
    assert "no driver in the guest is bound to the device" in texts(found, Certainty.FACT)
    assert "modprobe virtio_mem" in texts(found, Certainty.ADVICE)
    assert texts(found, Certainty.LIKELY) == ""


def test_growth_stopped_at_a_gibibyte_is_only_likely_offline_from_outside() -> None:
    found = findings(device(GiB, 4 * GiB))
    assert "waits until it is onlined" in texts(found, Certainty.LIKELY)
    assert "onlined" not in texts(found, Certainty.FACT)


def test_growth_stopped_elsewhere_is_not_blamed_on_offline_memory() -> None:
    assert texts(findings(device(GiB + 2 * MiB, 4 * GiB)), Certainty.LIKELY) == ""


def test_offline_blocks_seen_inside_are_the_fact() -> None:
    found = findings(device(GiB, 4 * GiB), inside=guest(offline=8, auto_online_blocks="offline", driver=Parameters()))
    assert "8 of its memory blocks (1G) are in Linux but offline" in texts(found, Certainty.FACT)
    assert "the driver adds more once this drops to 512M" in texts(found, Certainty.FACT)
    assert "memhp_default_state=online_movable" in texts(found, Certainty.ADVICE)


def test_region_that_is_not_a_whole_number_of_blocks_is_a_fact() -> None:
    odd = device(8 * GiB - BLOCK, 8 * GiB, memaddr=4 * GiB + 2 * MiB)
    found = findings(odd, inside=guest(online=1))
    assert "only 8064M of its region are whole memory blocks of 128M" in texts(found, Certainty.FACT)


def test_memory_for_struct_pages_is_reckoned() -> None:
    found = findings(device(0, 4 * GiB), inside=guest(mem_free=16 * MiB))
    assert "4G more need 64M for struct pages, and the guest has 16M free: 896M fit" in texts(found, Certainty.FACT)


def test_rest_below_the_drivers_unit_is_likely_the_reason() -> None:
    found = findings(device(0, MiB, block_size=MiB))
    assert "the missing 1M is less than the 2M that the driver moves at a time" in texts(found, Certainty.LIKELY)


def test_driver_that_may_not_unplug_online_memory_is_the_reason_and_has_no_timer() -> None:
    found = findings(device(GiB, 0), inside=guest(online=8, driver=Parameters(unplug_online=False)))
    assert "unplug_online is off: the driver unplugs offline memory only" in texts(found, Certainty.FACT)
    assert "tries again" not in " ".join(finding.text for finding in found)
    assert "unplug_online" not in texts(findings(device(GiB, 0), inside=guest(online=8)), Certainty.LIKELY)


def test_shrink_seen_from_outside_is_not_guessed_at() -> None:
    found = findings(device(4 * GiB, 0))
    assert "only the guest knows" in texts(found, Certainty.UNKNOWN)
    assert "after 50 s, then after twice as long each time, up to 300 s" in texts(found, Certainty.FACT)
    assert "zone" not in texts(found, Certainty.FACT)


def test_shrink_of_kernel_zones_names_them() -> None:
    found = findings(device(4 * GiB, 0), inside=guest(online=3, zone="Normal"))
    assert "its memory blocks are online: 3 in Normal; outside Movable" in texts(found, Certainty.FACT)


def test_shrink_without_room_to_move_says_how_much_is_missing() -> None:
    found = findings(device(4 * GiB, 0), inside=guest(online=32, mem_available=GiB))
    assert "4G are still to be freed, and MemAvailable is 1G" in texts(found, Certainty.LIKELY)


def test_shrink_that_the_pages_were_not_read_for_names_the_command_that_reads_them() -> None:
    found = findings(device(GiB, 0), inside=guest(online=8, mem_available=GiB // 2))
    assert "what the pages of its memory blocks are used for: not read" in texts(found, Certainty.UNKNOWN)
    assert "virtiomem vm explain with --agent" in texts(found, Certainty.ADVICE)


def test_lack_of_time_for_pages_is_not_laid_to_the_guest() -> None:
    found = findings(device(GiB, 0), inside=guest(online=8, pages_left=7, pages_seconds=10.0))
    assert "the pages of 7 of 7 memory blocks: not read in the 10 s there are for it" in texts(found, Certainty.UNKNOWN)
    assert "give more time: --pages-for" in texts(found, Certainty.ADVICE)


def test_machine_that_moves_is_said_to() -> None:
    facts = MachineFacts(
        machine=Machine(status="running", boot_memory=GiB, devices=(device(2 * GiB, 0),)),
        later=Machine(status="running", boot_memory=GiB, devices=(device(0, 0),)),
        hypervisor_info=HypervisorInfo(hypervisor="QEMU", drivers={}),
    )
    assert "it is moving: 2G plugged at first, 0 a moment later" in texts(explain(facts), Certainty.FACT)


def test_many_reasons_of_one_kind_hide_none_of_another() -> None:
    many = [Reason(ReasonKind.NO_ROOM, {"unit": number * MiB}, "vm0") for number in range(1, 61)]
    lines = finding_lines([*many, Reason(ReasonKind.GAVE_UP, device="vm0")])
    assert lines[9:] == [
        "fact    … and 51 more like these (--json has all)",
        f"fact    vm0: {ReasonKind.GAVE_UP.value.sentence}",
    ]


def test_shrink_of_movable_memory_with_room_is_likely_pinned() -> None:
    found = findings(device(GiB, 0), inside=guest(online=8, mem_available=8 * GiB))
    assert "pages in Movable that cannot move right now" in texts(found, Certainty.LIKELY)


def test_what_the_backend_knows_comes_as_it_is() -> None:
    assert "the device answered BUSY" in texts(
        findings(device(GiB, 0), reasons=(Reason(ReasonKind.DEVICE_BUSY, device="vm0"),)), Certainty.FACT
    )


def test_what_the_guest_did_not_tell_is_said() -> None:
    found = findings(device(GiB, 0), inside=guest(unreadable=("/proc/meminfo (disabled)",)))
    assert "the guest did not show /proc/meminfo (disabled)" in texts(found, Certainty.UNKNOWN)


def test_what_another_device_or_a_dimm_has_offline_keeps_no_driver_from_adding() -> None:
    """The driver counts what it added for its own device, and nothing else."""
    elsewhere = 16 * GiB // BLOCK
    blocks = [Block(block=elsewhere + i, online=False) for i in range(16)] + list(guest(offline=2).blocks)
    inside = GuestMemoryInfo(source="test", block_size=BLOCK, blocks=tuple(blocks), driver=Parameters())
    found = findings(device(256 * MiB, 4 * GiB), inside=inside)
    assert "2 of its memory blocks (256M) are in Linux but offline" in texts(found, Certainty.FACT)
    assert not any("the driver adds more once" in finding.text for finding in found)


def test_a_driver_of_big_blocks_may_leave_two_of_them_offline() -> None:
    inside = guest(offline=16, driver=Parameters(force_bbm=True, bbm_block_size=2 * GiB))
    assert "the driver adds more once" not in texts(findings(device(2 * GiB, 6 * GiB), inside=inside), Certainty.FACT)
    inside = guest(offline=32, driver=Parameters(force_bbm=True, bbm_block_size=2 * GiB))
    assert "the driver adds more once this drops to 2G" in texts(
        findings(device(4 * GiB, 6 * GiB), inside=inside), Certainty.FACT
    )


def test_how_much_may_be_offline_is_only_likely_where_the_driver_may_use_big_blocks() -> None:
    found = findings(device(GiB, 4 * GiB), inside=guest(offline=8))
    assert "the driver adds more once" in texts(found, Certainty.LIKELY)
    assert "the driver adds more once" not in texts(found, Certainty.FACT)


def test_the_rest_is_measured_by_what_this_driver_moves_at_a_time() -> None:
    inside = guest(online=8, driver=Parameters(force_bbm=True))
    found = findings(device(GiB, GiB + 64 * MiB), inside=inside)
    assert "the missing 64M is less than the 128M that the driver moves at a time" in texts(found, Certainty.FACT)
