"""Steps that the machine or the kernel refuses, and what is left when a kernel goes."""

from typing import Any

import pytest
from msgspec import structs

from tests.refused import refused
from virtiomem import scenario
from virtiomem.errors import ArgumentError, ArgumentValueError, BackendError, DeviceError
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


STUCK: list[values.Step] = [
    values.Load(),
    values.Resize(device="vm0", requested_size=Size(1024 * MiB)),
    values.SetState(blocks=list(range(32, 40)), state="offline"),
    values.SetState(blocks=list(range(32, 40)), state="online_kernel"),
    values.Use(id="u", kind="unmovable", size=Size(400 * MiB)),
    values.Resize(device="vm0", requested_size=Size(0)),
]


def stuck() -> EmbeddedGuest:
    guest = scenario.embedded_guest(scenario.loads(GUEST.replace("online_movable", "online_kernel")))
    for step in STUCK:
        guest.play(step)
    return guest


@pytest.mark.parametrize("seconds", [0, 49, 50, 649, 650, 651, 5000.5])
def test_retries_that_are_passed_over_leave_what_retries_leave(seconds: float) -> None:
    passed, made = stuck(), stuck()
    record = passed.play(values.Wait(seconds=seconds))
    made.kernel.clock.advance(seconds)
    assert passed.kernel.clock.now == made.kernel.clock.now
    assert passed.kernel.clock.next_due == made.kernel.clock.next_due
    assert record.held_up
    assert passed.play(values.Free(id="u")).snapshot == made.play(values.Free(id="u")).snapshot
    assert passed.play(values.Wait(seconds=300)).settled


def test_waiting_long_for_what_is_stuck_ends_at_once_and_the_driver_still_tries() -> None:
    guest = stuck()
    record = guest.play(values.Wait(seconds=9e8))
    assert record.elapsed == 9e8
    assert not record.settled
    guest.play(values.Free(id="u"))
    assert guest.play(values.Wait(seconds=300)).settled
    guest.check()


def test_retries_that_reach_the_device_are_all_made(guest: EmbeddedGuest) -> None:
    guest.play(values.Load())
    guest.play(values.Inject(at="request", error="BUSY", times=20))
    guest.play(values.Resize(device="vm0", requested_size=Size(128 * MiB)))
    record = guest.play(values.Wait(seconds=20 * 300))
    assert [request.response for request in record.requests] == [*["BUSY"] * 19, "ACK"]
    assert record.settled


def test_step_that_names_no_device_of_the_guest_is_refused(guest: EmbeddedGuest) -> None:
    with pytest.raises(ArgumentValueError, match=r"device must be one of this guest's \(vm0\), not 'vm9'"):
        guest.play(values.Resize(device="vm9", requested_size=Size(0)))


@pytest.mark.parametrize(
    "step",
    [
        None,
        {"do": "load"},
        values.Wait(seconds=float("nan")),
        values.Wait(seconds=2e9),
        values.Resize(device="vm0", requested_size=1.5),  # type: ignore[arg-type]
        values.Resize(device=None, requested_size=Size(0)),  # type: ignore[arg-type]
        values.SetState(blocks=[32, -1], state="online"),
        values.SetState(blocks=[32], state="on"),  # type: ignore[arg-type]
        values.Inject(at="request", error="EBUSY"),
        values.Inject(at="online", error="BUSY"),
        values.Inject(at="online", error="EBUSY", times=10**9),
        values.PlugDimm(id="a\nb", size=Size(128 * MiB)),
        values.AddMemory(kind="xen", size=Size(128 * MiB), node=1 << 70),
    ],
)
def test_step_that_no_file_could_hold_is_refused_and_changes_nothing(guest: EmbeddedGuest, step: Any) -> None:
    guest.play(values.Load())
    guest.play(values.Resize(device="vm0", requested_size=Size(128 * MiB)))
    refused(guest.play, step)
    guest.check()
    assert guest.play(values.Wait(seconds=0)).snapshot == guest.play(values.Wait(seconds=0)).snapshot
    assert guest.devices[0].info.settled


def test_other_memory_is_not_added_where_a_device_has_its_own(guest: EmbeddedGuest) -> None:
    where = guest.devices[0].region.start
    record = guest.play(values.AddMemory(kind="hyperv", memaddr=Size(where), size=Size(128 * MiB)))
    assert record.error == "address range conflicts with memory device id='vm0'"


def test_one_message_of_hyperv_adds_less_than_64_gib(guest: EmbeddedGuest) -> None:
    size, where = Size(64 * 1024 * MiB), Size(1 << 40)
    assert guest.play(values.AddMemory(kind="hyperv", memaddr=where, size=size)).error is not None
    assert guest.play(values.AddMemory(kind="hyperv", memaddr=where, size=Size(size - 128 * MiB))).error is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": None}, "a device must be such as a scenario file can hold"),
        ({"memaddr": None}, "device vm0 must have a memaddr"),
        ({"max_size": "much"}, "a device must be such as a scenario file can hold"),
    ],
)
def test_device_that_cannot_be_is_refused_before_there_is_a_guest(change: dict[str, Any], words: str) -> None:
    loaded = scenario.loads(GUEST)
    device = structs.replace(loaded.devices[0], **change)
    with pytest.raises(ArgumentError, match=words):
        EmbeddedGuest(loaded.guest, loaded.driver, [device], loaded.boot_iomem)


def test_machine_has_slots_for_thirty_devices() -> None:
    """QEMU 7.2.22 says `PCI: no slot/function available` for the 31st, on q35 and on pc."""
    loaded = scenario.loads(GUEST)
    devices = [structs.replace(loaded.devices[0], id=f"vm{number}") for number in range(31)]
    with pytest.raises(ArgumentValueError, match="devices must be at most 30"):
        EmbeddedGuest(loaded.guest, loaded.driver, devices, loaded.boot_iomem)
    with pytest.raises(ArgumentValueError, match="vm0 is there twice"):
        EmbeddedGuest(loaded.guest, loaded.driver, [loaded.devices[0]] * 2, loaded.boot_iomem)


def test_machine_without_slots_says_so() -> None:
    loaded = scenario.loads(GUEST.replace("slots = 2", "slots = 0"))
    guest = EmbeddedGuest(loaded.guest, loaded.driver, loaded.devices, loaded.boot_iomem)
    assert guest.play(dimm("a")).error == "no slots where allocated, please specify the 'slots' option"


def test_dimm_that_the_kernel_cannot_use_is_plugged_all_the_same_and_can_go(guest: EmbeddedGuest) -> None:
    """A real guest reports nothing: the DIMM is there, its memory is not (recording dimm-odd)."""
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
    monkeypatch.setattr(guest.devices[0].owner, "set_requested_size", refuses)
    assert guest.play(resize).error == "1048576 is too much"
    monkeypatch.setattr(guest.devices[0].owner, "set_requested_size", gone)
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
    assert scenario.embedded_guest(scenario.loads("")).info["command-line"] == "memhp_default_state=online"


def test_boot_memory_is_recorded_once(guest: EmbeddedGuest) -> None:
    """It never changes, and it is most of what a snapshot shows."""
    boot, now = guest.boot, guest.play(values.Load()).snapshot
    assert all(one is other for one, other in zip(boot.memory_blocks, now.memory_blocks, strict=True))


def suspended(qemu: str, *, loaded: bool = True) -> EmbeddedGuest:
    """A guest of two devices, the second one with plugged memory, that was asked to sleep to memory."""
    made = scenario.loads(f"""
[guest]
kernel = "6.12"
qemu = "{qemu}"
[[device]]
id = "vm0"
max-size = "1G"
[[device]]
id = "vm1"
max-size = "1G"
requested-size = "256M"
""")
    guest = scenario.embedded_guest(made)
    guest.play(values.Load())
    if not loaded:
        guest.play(values.Unload())
    return guest


def test_device_that_slept_is_awake_again_when_another_refuses_to() -> None:
    guest = suspended("7.2")
    guest.play(values.Resize(device="vm0", requested_size=Size(128 * MiB)))
    guest.play(values.Resize(device="vm1", requested_size=Size(0)))
    refused = guest.play(values.Suspend(to="memory"))
    assert refused.error == "suspend: write error: Operation not permitted"
    assert refused.log == [
        "err: virtio_mem virtio0: suspending with plugged memory is not supported",
        "virtio_mem virtio1: plugged size: 0x0",
        "virtio_mem virtio1: requested size: 0x0",
    ]


@pytest.mark.parametrize(("qemu", "left"), [("7.2", 0), ("10.0", 256 * MiB)])
def test_machine_that_wakes_up_takes_memory_away_where_its_qemu_does(qemu: str, left: int) -> None:
    guest = suspended(qemu, loaded=False)
    assert guest.play(values.Suspend(to="idle")).snapshot.devices[1].size == 256 * MiB
    assert guest.play(values.Suspend(to="memory")).snapshot.devices[1].size == left


def test_guest_without_a_driver_finds_no_disk_to_sleep_to() -> None:
    assert suspended("7.2", loaded=False).play(values.Suspend(to="disk")).error == (
        "suspend: write error: No such device"
    )
