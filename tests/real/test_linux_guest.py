"""A stock Linux in QEMU: every kind of step, what it refuses, and the scenarios that were recorded before."""

import time
from pathlib import Path

import pytest

from virtiomem import recording, scenario
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.recording import StepRecord
from virtiomem.recording.compare import compare
from virtiomem.recording.values import (
    Free,
    Kexec,
    Load,
    PlugDimm,
    Reboot,
    Resize,
    SetState,
    Unload,
    UnplugDimm,
    Use,
    Wait,
)
from virtiomem.releases.linux import LINUX
from virtiomem.units import GiB, KiB, MiB, Size

pytestmark = pytest.mark.real

RECORDINGS = Path(__file__).parents[1] / "data/recordings"
EXAMPLES = Path(__file__).parents[2] / "examples"

RECORDED = [
    "a-movable",
    "a-offline",
    "b-uneven-offline",
    "c-bs256m-offline",
    "d-two-devices",
    "e-manual-movable",
    "g-rmmod-partial",
    "h-reset",
    "j-odd-region",
    "k-bbm-unsafe",
    "l-auto-movable",
    "m-dimm",
]
PLAYED = [path for path in sorted(EXAMPLES.glob("**/*.toml")) if "embedded-only" not in path.parts]


def guest(setup: Setup, *, kexec: bool = False, **config: object) -> LinuxGuest:
    """A small guest with one 2G device."""
    device = DeviceConfig(id="vm0", max_size=Size(2 * GiB))
    values = {"memory": Size(512 * MiB), "slots": 2, "max_memory": Size(8 * GiB), **config}
    return LinuxGuest(GuestConfig(**values), [device], setup=setup, kexec=kexec)  # type: ignore[arg-type]


def resize(size: int) -> Resize:
    return Resize(device="vm0", requested_size=Size(size))


def plugged(record: StepRecord) -> int:
    return sum(device.size for device in record.snapshot.devices)


@pytest.mark.on(linux=LINUX.oldest.name, qemu="every")
@pytest.mark.proves("recordings")
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_scenario_comes_out_the_same_and_so_does_the_embedded_guest(name: str, setup: Setup) -> None:
    played = scenario.load(RECORDINGS / name / "scenario.toml")
    with LinuxGuest(played.guest, played.devices, played.driver, setup=setup) as real:
        made = scenario.play(played, real)
    assert (difference := compare(made, recording.load(RECORDINGS / name / "recording.json"))) is None, difference
    embedded = scenario.embedded_guest(scenario.like(played, made.guest), made.boot)
    assert (difference := compare(made, scenario.play(played, embedded))) is None, difference


def test_any_kernel_does_what_the_recorded_one_did_apart_from_its_own_lines(setup: Setup) -> None:
    played = scenario.load(RECORDINGS / "a-movable/scenario.toml")
    with LinuxGuest(played.guest, played.devices, played.driver, setup=setup) as real:
        made = scenario.play(played, real)
    assert (difference := compare(made, recording.load(RECORDINGS / "a-movable/recording.json"))) is None, difference


@pytest.mark.on(linux="every", qemu="every")
@pytest.mark.proves("examples")
@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_an_example_comes_out_the_same_on_both_guests(path: Path, setup: Setup) -> None:
    played = scenario.load(path)
    if not played.driver.merge_resources:
        pytest.skip("a stock kernel merges")
    with LinuxGuest(played.guest, played.devices, played.driver, setup=setup) as real:
        made = scenario.play(played, real)
    embedded = scenario.embedded_guest(scenario.like(played, made.guest), made.boot)
    assert (difference := compare(made, scenario.play(played, embedded))) is None, difference


def test_every_kind_of_step(setup: Setup) -> None:
    with guest(setup, default_state="online_movable") as linux:
        assert linux.boot.memory_blocks[-1].block == 3
        assert linux.play(Load()).error is None
        assert "File exists" in (linux.play(Load()).error or "")
        grown = linux.play(resize(GiB))
        assert (grown.settled, len(grown.requests)) == (True, 8)
        assert any("plugged size: 0x" in line for line in grown.log or [])

        dimm = linux.play(PlugDimm(id="dimm0", size=Size(256 * MiB)))
        assert dimm.error is None
        assert dimm.snapshot.iomem.count("System RAM\n") > linux.boot.iomem.count("System RAM\n")
        assert linux.play(UnplugDimm(id="dimm0")).snapshot.devices == grown.snapshot.devices
        clash = PlugDimm(id="dimm1", size=Size(GiB), memaddr=Size(4 * GiB))
        assert linux.play(clash).error == "address range conflicts with memory device id='vm0'"

        used = linux.play(Use(id="cache", size=Size(64 * MiB)))
        assert used.error is None
        assert linux.shell("wc -c </use/cache/memory").text.strip() in ("", str(64 * MiB))
        assert linux.play(Free(id="cache")).error is None
        assert "cache" in (linux.play(Free(id="cache")).error or "")

        assert linux.play(SetState(blocks=[32, 99], state="offline")).error == "memory99: nonexistent directory"
        assert linux.play(Wait(seconds=0.1)).settled
        assert linux.play(Unload()).error is None
        again = linux.play(Reboot())
        assert [device.size for device in again.snapshot.devices] == [0]
        assert again.held_up == ["vm0: no driver in the guest is bound to the device"]


@pytest.mark.on(linux="every", qemu="every")
def test_a_guest_sleeps_and_wakes_up_as_the_embedded_one_does(setup: Setup) -> None:
    played = scenario.load(RECORDINGS / "n-suspend/scenario.toml")
    with LinuxGuest(played.guest, played.devices, setup=setup) as real:
        made = scenario.play(played, real)
    embedded = scenario.embedded_guest(scenario.like(played, made.guest), made.boot)
    assert (difference := compare(made, scenario.play(played, embedded))) is None, difference


def test_unmovable_memory_holds_a_block_up_and_the_driver_retries(setup: Setup) -> None:
    with guest(setup, default_state="online_kernel") as linux:
        linux.play(Load())
        linux.play(resize(GiB))
        assert linux.play(Use(id="slab", size=Size(600 * MiB), kind="unmovable")).error is None
        stuck = linux.play(resize(0))
        assert not stuck.settled
        assert isinstance(stuck.retry_in, float)
        assert 0 < stuck.retry_in <= 50
        assert stuck.held_up == ["vm0: the memory to unplug was in use at the last attempt"]
        linux.play(Free(id="slab"))
        assert plugged(linux.play(resize(0))) < plugged(stuck)


def test_unmovable_memory_is_filled_many_times_faster_than_by_the_kilobyte(setup: Setup) -> None:
    with guest(setup, default_state="online_kernel") as linux:
        linux.play(Load())
        linux.play(resize(GiB))
        began = time.monotonic()
        linux.shell("mount -t ramfs ramfs /use && head -c 25165824 /dev/zero >/use/slow; umount /use")
        by_the_kilobyte = time.monotonic() - began
        fast = linux.play(Use(id="slab", size=Size(96 * MiB + 5000), kind="unmovable"))
        assert fast.error is None
        taken = int(linux.shell("cat $traces/slab/buffer_size_kb").text) << 10
        assert 96 * MiB + 5000 <= taken < 96 * MiB + 5000 + 8 * KiB
        assert isinstance(fast.elapsed, float)
        assert fast.elapsed < by_the_kilobyte, "four times as much memory in less time"


def test_a_new_kernel_without_a_reset_finds_the_memory_plugged(setup: Setup) -> None:
    with guest(setup, kexec=True, default_state="online_movable") as linux:
        linux.play(Load())
        linux.play(resize(256 * MiB))
        fresh = linux.play(Kexec())
        assert fresh.error is None
        assert [device.size for device in fresh.snapshot.devices] == [256 * MiB]
        assert "virtio0" not in fresh.snapshot.iomem
        loaded = linux.play(Load())
        assert [request.type for request in loaded.requests] == ["UNPLUG_ALL", "PLUG", "PLUG"]


def test_a_driver_that_was_there_from_the_start_is_bound_and_unbound(setup: Setup) -> None:
    """As with a kernel that has it built in: "load" binds, "unload" unbinds."""
    with guest(setup, default_state="online_movable") as linux:
        linux.shell("insmod /virtio_mem.ko; rm /virtio_mem.ko; release_devices")
        assert "virtio0" not in linux.play(Wait(seconds=0)).snapshot.iomem
        assert linux.play(resize(256 * MiB)).requests == []
        assert len(linux.play(Load()).requests) == 2
        assert linux.play(Unload()).error is None
