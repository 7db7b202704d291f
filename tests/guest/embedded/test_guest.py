"""Steps that the machine or the kernel refuses, and what is left when a kernel goes."""

import pytest

from virtiomem import scenario
from virtiomem.errors import BackendError, DeviceError
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording import values
from virtiomem.units import MiB, Size

GUEST = """
[guest]
memory = "4G"
max-memory = "20G"
slots = 2
default-state = "online_movable"
[[device]]
id = "vm0"
max-size = "4G"
"""


@pytest.fixture
def guest() -> EmbeddedGuest:
    return scenario.embedded_guest(scenario.loads(GUEST))


def dimm(name: str, size: int = 256, node: int = 0) -> values.PlugDimm:
    return values.PlugDimm(id=name, size=Size(size * MiB), node=node)


def test_machine_refuses_a_dimm_in_the_words_of_qemu(guest: EmbeddedGuest) -> None:
    """Asked of QEMU 7.2.22 through its monitor."""
    assert guest.play(dimm("a", node=1)).error == (
        "'DIMM property node has value 1' which exceeds the number of numa nodes: 1"
    )
    assert guest.play(dimm("a")).error is None
    assert guest.play(dimm("a")).error == "Duplicate device ID 'a'"
    assert guest.play(dimm("b")).error is None
    assert guest.play(dimm("c")).error == "no free slots available"
    assert guest.play(values.UnplugDimm(id="x")).error == "Device 'x' not found"


def test_machine_without_slots_says_so() -> None:
    loaded = scenario.loads(GUEST.replace("slots = 2", "slots = 0"))
    guest = EmbeddedGuest(loaded.guest, loaded.driver, loaded.devices, loaded.boot_iomem)
    assert guest.play(dimm("a")).error == "no slots where allocated, please specify the 'slots' option"


def test_dimm_that_the_kernel_cannot_use_is_plugged_all_the_same_and_can_go(guest: EmbeddedGuest) -> None:
    """A real guest tells nobody: the DIMM is there, its memory is not (recording dimm-odd)."""
    record = guest.play(dimm("odd", size=192))
    assert record.error is None
    assert record.log == ["err: odd: add_memory failed: -22"]
    assert record.snapshot.iomem == guest.boot.iomem
    assert [device.id for device in record.snapshot.devices] == ["vm0", "odd"]
    record = guest.play(values.UnplugDimm(id="odd"))
    assert record.error is None
    assert [device.id for device in record.snapshot.devices] == ["vm0"]


def test_a_lost_backend_is_no_refusal(guest: EmbeddedGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU that is gone ends the guest; what QEMU refuses is an outcome."""

    def gone(requested_size: int) -> None:
        raise BackendError(f"QEMU was killed by SIGKILL while setting {requested_size}")

    def refuses(requested_size: int) -> None:
        raise DeviceError(f"{requested_size} is too much")

    resize = values.Resize(device="vm0", requested_size=Size(MiB))
    monkeypatch.setattr(guest.slots[0].handle, "resize", refuses)
    assert guest.play(resize).error == "1048576 is too much"
    monkeypatch.setattr(guest.slots[0].handle, "resize", gone)
    with pytest.raises(BackendError, match="SIGKILL"):
        guest.play(resize)


def test_the_command_line_says_all_of_the_hotplug_policy_that_is_not_the_default() -> None:
    policy = """
[guest]
default-state = "online"
online-policy = "auto-movable"
auto-movable-ratio = 100
auto-movable-numa-aware = false
"""
    assert scenario.embedded_guest(scenario.loads(policy)).info["command-line"].split() == [
        "memhp_default_state=online",
        "memory_hotplug.online_policy=auto-movable",
        "memory_hotplug.auto_movable_ratio=100",
        "memory_hotplug.auto_movable_numa_aware=N",
    ]
    assert scenario.embedded_guest(scenario.loads("")).info["command-line"] == "memhp_default_state=offline"


def test_boot_memory_is_recorded_once(guest: EmbeddedGuest) -> None:
    """It never changes, and it is most of what a snapshot shows."""
    boot, now = guest.boot, guest.play(values.Load()).snapshot
    assert all(one is other for one, other in zip(boot.memory_blocks, now.memory_blocks, strict=True))
