from typing import Any

import pytest

from virtiomem.device.mem import MemDevice
from virtiomem.device.virtio import VirtioDevice
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.vring import Chain, Ring, initialize
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Feature, Request, RequestType, Response, ResponseType
from virtiomem.wire.virtio import Isr, Status, VirtioFeature

ADDR = 4 * GiB
READY = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.DRIVER_OK
PLUG = Request(RequestType.PLUG, ADDR, 1).pack()
ACK = Response(ResponseType.ACK).pack()
VERSION_1 = int(VirtioFeature.VERSION_1)


def make(**kwargs: Any) -> EmbeddedTransport:
    return EmbeddedTransport(MemDevice(**{"addr": ADDR, "region_size": GiB, "requested_size": 512 * MiB, **kwargs}))


@pytest.fixture
def transport() -> EmbeddedTransport:
    return make()


@pytest.fixture
def device(transport: EmbeddedTransport) -> VirtioDevice:
    return transport.device


@pytest.fixture
def ring(transport: EmbeddedTransport) -> Ring:
    ring = Ring(transport)
    initialize(transport, ring, VERSION_1)
    return ring


def test_the_features_of_qemu_are_offered(device: VirtioDevice) -> None:
    assert device.offered == 0x10130000001


def test_a_driver_that_is_ready_has_no_interrupts_pending(device: VirtioDevice, ring: Ring) -> None:
    assert ring
    assert (device.status, device.read_isr(), device.generation) == (READY, 0, 0)


def test_an_answer_interrupts_for_the_queue(ring: Ring) -> None:
    result = ring.submit([Chain((PLUG,))])
    assert result.data == (ACK,)
    assert (result.seen.isr, result.seen.generation) == (Isr.QUEUE, 0)


def test_looking_at_the_interrupt_clears_it(device: VirtioDevice, ring: Ring) -> None:
    device.mem.requested_size = GiB
    assert ring
    assert (device.read_isr(), device.read_isr()) == (Isr.QUEUE | Isr.CONFIG, 0)


@pytest.mark.parametrize("size", [GiB, 512 * MiB])
def test_every_accepted_size_is_a_configuration_change(device: VirtioDevice, ring: Ring, size: int) -> None:
    device.mem.requested_size = size
    assert ring
    assert (device.generation, device.read_isr()) == (1, Isr.QUEUE | Isr.CONFIG)


def test_a_driver_that_is_not_ready_is_not_notified(device: VirtioDevice) -> None:
    device.mem.requested_size = GiB
    assert (device.generation, device.read_isr()) == (0, 0)


def test_the_generation_is_a_byte(device: VirtioDevice, ring: Ring) -> None:
    assert ring
    for _ in range(257):
        device.mem.requested_size = GiB
    assert device.generation == 1


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        (Chain((PLUG[:23],)), "virtio-mem protocol violation: invalid request size: 24"),
        (Chain(()), "virtio-mem protocol violation: invalid request size: 24"),
        (Chain((PLUG,), ()), "virtio-mem protocol violation: not enough space for response: 0"),
        (Chain((PLUG,), (4, 5)), "virtio-mem protocol violation: not enough space for response: 9"),
        (Chain((b"\x04" + bytes(23),)), "virtio-mem protocol violation: unknown request type: 4"),
        (Chain((b"\x04" + bytes(22),), (1,)), "virtio-mem protocol violation: invalid request size: 24"),
    ],
)
def test_a_broken_request_costs_the_device_its_life(
    transport: EmbeddedTransport, ring: Ring, chain: Chain, said: str
) -> None:
    result = ring.submit([Chain((PLUG,)), chain, Chain((PLUG,))])
    assert (result.used_len(0), result.used_len(1), result.used_len(2)) == (10, None, None)
    assert transport.device.complaint == said
    assert (result.seen.status, result.seen.isr, result.seen.generation) == (READY | Status.NEEDS_RESET, 3, 1)
    assert ring.submit([Chain((PLUG,))]).used == ()


def test_only_a_reset_revives_the_device_and_memory_stays_plugged(transport: EmbeddedTransport, ring: Ring) -> None:
    ring.submit([Chain((PLUG,)), Chain(())])
    transport.set_status(READY)
    assert ring.submit([Chain((PLUG,))]).used == ()
    initialize(transport, ring, VERSION_1)
    result = ring.submit([Chain((Request(RequestType.STATE, ADDR, 1).pack(),))])
    assert result.data == (ACK,)
    assert (result.seen.config.plugged_size, result.seen.generation) == (2 * MiB, 1)


def test_a_legacy_driver_is_not_notified_that_the_device_gave_up(transport: EmbeddedTransport) -> None:
    ring = Ring(transport)
    initialize(transport, ring, 0)
    result = ring.submit([Chain(())])
    assert (result.used, result.seen.status, result.seen.isr) == ((), READY, 0)
    assert ring.submit([Chain((PLUG,))]).used == ()


def test_a_system_reset_unplugs_and_keeps_the_generation(transport: EmbeddedTransport, ring: Ring) -> None:
    ring.submit([Chain((PLUG,)), Chain(())])
    transport.system_reset()
    seen = transport.observe()
    assert (seen.status, seen.isr, seen.generation, seen.config.plugged_size) == (0, 0, 1, 0)


@pytest.mark.parametrize("wanted", [0, VERSION_1, VERSION_1 | 1, VERSION_1 | 2, VERSION_1 | 3, 2, 3])
def test_inaccessible_memory_must_be_accepted_by_a_modern_driver(wanted: int) -> None:
    transport = make(features=Feature.ACPI_PXM | Feature.UNPLUGGED_INACCESSIBLE)
    transport.set_status(3)
    transport.accept(wanted)
    transport.set_status(11)
    refused = wanted & VERSION_1 and not wanted & Feature.UNPLUGGED_INACCESSIBLE
    assert transport.status() == (3 if refused else 11)


def test_features_are_settled_once_they_are_accepted(transport: EmbeddedTransport) -> None:
    transport.set_status(3)
    transport.accept(VERSION_1 | 0xFE)
    transport.set_status(11)
    transport.accept(0)
    assert transport.device.accepted == VERSION_1


def test_without_a_queue_a_notification_does_nothing(transport: EmbeddedTransport) -> None:
    transport.device.notify()
    assert transport.observe().isr == 0


def test_a_driver_that_polls_is_left_alone(transport: EmbeddedTransport, ring: Ring) -> None:
    transport.exchange([], [], notify=False)
    transport._ram.write(ring.layout.avail_flags, b"\x01\x00")
    result = ring.submit([Chain((PLUG,))])
    assert (result.data, result.seen.isr) == ((ACK,), 0)
