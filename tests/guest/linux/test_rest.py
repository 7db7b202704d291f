from dataclasses import replace
from pathlib import Path

import pytest

from virtiomem.guest.base import DeviceConfig, DriverConfig
from virtiomem.guest.linux.look import parse
from virtiomem.guest.linux.rest import Rest, reasons
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.recording import MemoryBlock, Request, VirtioMemInfo
from virtiomem.units import GiB, MiB, Size

LOOK = parse((Path(__file__).parents[2] / "data/linux/snapshot.txt").read_text())


def test_a_driver_that_gave_up_on_one_device_has_not_on_one_of_a_similar_name() -> None:
    configs = [DeviceConfig(id=f"vm{number}", max_size=Size(GiB), name=f"virtio{number}") for number in (1, 10)]
    devices = [
        VirtioMemInfo(id=one.id, memaddr=0, max_size=GiB, requested_size=GiB, size=0, block_size=1 << 21)
        for one in configs
    ]
    rest = Rest(replace(LOOK, bound=["virtio1", "virtio10"]), list(devices), [])
    log = ["virtio_mem virtio10: unknown error, marking device broken: -5"]
    one, ten = reasons(rest, configs, log)
    assert (one.kind, ten.kind) == (ReasonKind.NOTHING_TO_DO, ReasonKind.GAVE_UP)


def said(offline: int, memory_block_size: int = 128 * MiB, driver: DriverConfig | None = None) -> Reason:
    """What holds up a device of which that much is added, all of it offline."""
    config = DeviceConfig(id="vm0", max_size=Size(16 * GiB), name="virtio0")
    device = VirtioMemInfo(
        id="vm0", memaddr=0, max_size=16 * GiB, requested_size=16 * GiB, size=offline, block_size=1 << 21
    )
    blocks = [
        MemoryBlock(block=number, state="offline", valid_zones="Normal", nodes=[0])
        for number in range(offline // memory_block_size)
    ]
    look = replace(LOOK, bound=["virtio0"], memory_blocks=blocks, memory_block_size=memory_block_size)
    (reason,) = reasons(Rest(look, [device], []), [config], [], driver)
    return reason


def test_a_driver_waits_for_onlining_at_a_gibibyte_or_two_memory_blocks() -> None:
    assert said(GiB).kind is ReasonKind.TOO_MUCH_OFFLINE
    assert said(2 * GiB, 2 * GiB).kind is not ReasonKind.TOO_MUCH_OFFLINE
    assert said(4 * GiB, 2 * GiB).kind is ReasonKind.TOO_MUCH_OFFLINE


def test_a_driver_of_big_blocks_waits_for_onlining_at_two_of_them() -> None:
    driver = DriverConfig(force_bbm=True, bbm_block_size=Size(2 * GiB))
    assert said(2 * GiB, driver=driver).kind is not ReasonKind.TOO_MUCH_OFFLINE
    assert said(4 * GiB, driver=driver).kind is ReasonKind.TOO_MUCH_OFFLINE


def test_a_timer_is_not_said_to_be_that_of_a_device_that_waits_for_onlining() -> None:
    """One timer is in the kernel's list; it does not say about which device it is."""
    configs = [DeviceConfig(id=f"vm{number}", max_size=Size(16 * GiB), name=f"virtio{number}") for number in (0, 1)]
    offline, busy = (
        VirtioMemInfo(
            id=f"vm{n}", memaddr=n * 16 * GiB, max_size=16 * GiB, requested_size=want, size=GiB, block_size=1 << 21
        )
        for n, want in ((0, 2 * GiB), (1, 0))
    )
    blocks = [MemoryBlock(block=number, state="offline", valid_zones="Normal", nodes=[0]) for number in range(8)]
    look = replace(LOOK, bound=["virtio0", "virtio1"], memory_blocks=blocks, memory_block_size=128 * MiB, retry_in=49.0)
    waits, retries = reasons(Rest(look, [offline, busy], []), configs, [])
    assert (waits.kind, retries.kind) == (ReasonKind.TOO_MUCH_OFFLINE, ReasonKind.MEMORY_BUSY)
    assert retries.certainty is Certainty.LIKELY


@pytest.mark.parametrize(
    ("requested", "answer", "kind"),
    [
        (0, "BUSY", ReasonKind.DEVICE_BUSY),
        (2 * GiB, "BUSY", ReasonKind.DEVICE_BUSY),
        (0, "ACK", ReasonKind.MEMORY_BUSY),
        (0, None, ReasonKind.MEMORY_BUSY),
        (2 * GiB, "ACK", ReasonKind.NO_MEMORY),
    ],
)
def test_a_timer_is_explained_by_the_last_answer(requested: int, answer: str | None, kind: ReasonKind) -> None:
    config = DeviceConfig(id="vm0", max_size=Size(16 * GiB), name="virtio0")
    device = VirtioMemInfo(
        id="vm0", memaddr=0, max_size=16 * GiB, requested_size=requested, size=GiB, block_size=1 << 21
    )
    requests = [Request(device="vm0", type="UNPLUG", response=answer)] if answer else []
    requests += [Request(device="vm1", type="PLUG", response="BUSY")]
    look = replace(LOOK, bound=["virtio0"], memory_blocks=[], memory_block_size=128 * MiB, retry_in=49.0)
    (reason,) = reasons(Rest(look, [device], requests), [config], [])
    assert reason.kind is kind
