"""Whether a driver is there, as the guest's own files tell it, and what is said when they do not."""

import pytest

from virtiomem.reasons import Certainty, ReasonKind
from virtiomem.units import GiB, MiB
from virtiomem.vm.drivers import placed, seen_of, seen_to_act, with_inside
from virtiomem.vm.explain import explain
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.inside import Block, Claim, GuestMemoryInfo, Seen, parse_claims
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice
from virtiomem.vm.plan import DeviceTarget, Plan
from virtiomem.vm.preflight import preflight
from virtiomem.vm.progress import Track

IOMEM = """\
00000000-00000fff : Reserved
00001000-0009fbff : System RAM
c0000000-febfffff : PCI Bus 0000:00
100000000-17fffffff : virtio0
  100000000-107ffffff : System RAM (virtio_mem)
200000000-27fffffff : virtio12
"""
SIZE = 2 * GiB
READY, FAILED, GIVEN_UP = 0xF, 0x80, 0x4F


def device(name: str = "vm0", memaddr: int | None = 4 * GiB, size: int = 0) -> VirtioMemDevice:
    sizes = {"size": size, "requested_size": GiB, "max_size": 2 * GiB, "block_size": 2 * MiB}
    return VirtioMemDevice(id=name, memaddr=memaddr, node=0, **sizes)


def machine(*devices: VirtioMemDevice) -> Machine:
    return Machine(status="running", boot_memory=GiB, devices=devices)


def hypervisor_info(driver: Driver = Driver.UNKNOWN, held_back: str | None = None) -> HypervisorInfo:
    return HypervisorInfo(hypervisor="QEMU", drivers={"vm0": driver}, held_back=held_back)


def facts(of: VirtioMemDevice, held_back: str | None = None) -> MachineFacts:
    return MachineFacts(machine=machine(of), hypervisor_info=hypervisor_info(held_back=held_back))


def test_claims_are_the_regions_of_virtio_devices() -> None:
    assert parse_claims(IOMEM) == (
        Claim(memaddr=4 * GiB, name="virtio0", size=SIZE),
        Claim(memaddr=8 * GiB, name="virtio12", size=SIZE),
    )


@pytest.mark.parametrize("text", ["", "00000000-00000000 : System RAM\n00000000-00000000 : virtio0\n", "0" * 300_000])
def test_hidden_addresses_show_no_driver(text: str) -> None:
    assert parse_claims(text) is None


@pytest.mark.parametrize(
    ("claims", "driver"),
    [
        (None, Driver.UNKNOWN),
        ((), Driver.ABSENT),
        ((Claim(memaddr=8 * GiB, name="virtio1", size=SIZE, status=READY),), Driver.ABSENT),
        ((Claim(memaddr=4 * GiB, name="virtio0", size=SIZE, status=READY),), Driver.READY),
        ((Claim(memaddr=4 * GiB, name="virtio0", size=SIZE, status=GIVEN_UP),), Driver.BROKEN),
        (
            (Claim(memaddr=4 * GiB, name="virtio0", size=SIZE, status=1),),
            Driver.ABSENT,
        ),  # unloaded, its memory left behind
        ((Claim(memaddr=4 * GiB, name="virtio0", size=SIZE, status=FAILED),), Driver.ABSENT),
        ((Claim(memaddr=4 * GiB, name="virtio0", size=SIZE),), Driver.UNKNOWN),
    ],
)
def test_driver_is_there_when_it_has_claimed_the_region_and_set_driver_ok(
    claims: tuple[Claim, ...] | None, driver: Driver
) -> None:
    inside = GuestMemoryInfo(source="test", claims=claims)
    assert with_inside(hypervisor_info(), machine(device()), inside).drivers == {"vm0": driver}


def test_what_the_hypervisor_tells_goes_before_what_the_guest_tells() -> None:
    inside = GuestMemoryInfo(source="test", claims=())
    assert with_inside(hypervisor_info(Driver.BROKEN), machine(device()), inside).drivers == {"vm0": Driver.BROKEN}


def test_driver_of_a_size_that_moves_is_there() -> None:
    known = HypervisorInfo(hypervisor="QEMU", drivers={"vm0": Driver.UNKNOWN, "vm1": Driver.UNKNOWN})
    assert seen_to_act(known, ["vm0"]).drivers == {"vm0": Driver.READY, "vm1": Driver.UNKNOWN}
    assert seen_to_act(hypervisor_info(Driver.BROKEN), ["vm0"]).drivers == {"vm0": Driver.BROKEN}


def test_size_that_a_reset_moved_is_no_sign_of_a_driver() -> None:
    track = Track("vm0", GiB, 0, 0.0)
    track.feed(1.0, 512 * MiB)
    assert track.acted
    track.reset(2.0, 0)
    assert not track.acted


def test_unknown_driver_is_said_to_be_with_the_way_to_find_out() -> None:
    found = explain(facts(device()))
    said = " ".join(finding.text for finding in found if finding.certainty is Certainty.ADVICE)
    assert ReasonKind.DRIVER_NOT_SHOWN in {finding.kind for finding in found if finding.certainty is Certainty.UNKNOWN}
    assert "look in the guest: ls /sys/bus/virtio/drivers/virtio_mem" in said
    assert "give --agent" in said
    assert "no driver" not in " ".join(finding.text for finding in found)


def test_what_was_held_back_is_named_as_the_reason() -> None:
    found = explain(facts(device(), held_back="x is not sent"))
    assert "whether a driver is bound to the device: x is not sent" in {finding.text for finding in found}


def test_plugged_memory_makes_an_unknown_driver_likely() -> None:
    found = explain(facts(device(size=512 * MiB)))
    assert any(f.certainty is Certainty.LIKELY and f.kind is ReasonKind.DRIVER_LIKELY for f in found)


def test_unknown_driver_speaks_neither_for_nor_against_a_resize() -> None:
    plan = Plan((DeviceTarget(device(), GiB),))
    (only,) = preflight(facts(device()), plan)
    assert only.text == "1G more need 16M of free guest memory for struct pages"
    held_back, _ = preflight(facts(device(), held_back="x is not sent"), plan)
    assert held_back.text == "whether a driver is bound to the device: x is not sent"


ONE, OTHER = (Claim(memaddr=at * GiB, name="virtio3", size=SIZE, status=READY) for at in (4, 8))
SMALL = Claim(memaddr=16 * GiB, name="virtio4", size=GiB, status=1)


@pytest.mark.parametrize(
    ("names", "claims", "places", "drivers"),
    [
        (["vm0"], (ONE, SMALL), [4 * GiB], [Driver.READY]),
        (["vm0", "vm1"], (ONE, OTHER), [None, None], [Driver.READY, Driver.READY]),
        (["vm0"], (SMALL,), [None], [Driver.ABSENT]),
        (["vm0"], (), [None], [Driver.ABSENT]),
    ],
)
def test_address_that_is_not_reported_is_the_only_claim_of_its_size(
    names: list[str], claims: tuple[Claim, ...], places: list[int | None], drivers: list[Driver]
) -> None:
    inside = GuestMemoryInfo(source="test", claims=claims)
    unplaced = machine(*(device(name, None) for name in names))
    assert [found.memaddr for found in placed(unplaced, inside).virtio_mem] == places
    assert list(with_inside(HypervisorInfo(hypervisor="x", drivers={}), unplaced, inside).drivers.values()) == drivers


@pytest.mark.parametrize(
    ("online", "offline", "seen"), [(24, 0, Seen.ONLINE), (23, 1, Seen.OFFLINE), (23, 0, Seen.OFFLINE)]
)
def test_device_at_an_unknown_place_is_judged_by_all_blocks(online: int, offline: int, seen: Seen) -> None:
    blocks = tuple(Block(block=number, online=number < online) for number in range(online + offline))
    inside = GuestMemoryInfo(source="test", block_size=128 * MiB, blocks=blocks)
    of = device(memaddr=None, size=2 * GiB)
    assert seen_of(of, machine(of), inside) is seen
