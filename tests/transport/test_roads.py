from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.transport.roads import ADDR, REGION, REQUESTED, EveryRoad, Road
from virtiomem.device.mem import MemDevice
from virtiomem.errors import ProtocolError
from virtiomem.transport.base import Transport
from virtiomem.transport.embedded import EmbeddedPort
from virtiomem.transport.loopback import Loopback
from virtiomem.transport.port import Read, Write
from virtiomem.transport.vring import VringTransport
from virtiomem.wire.mem import Feature, Request, RequestType
from virtiomem.wire.virtio import VirtioFeature


def make() -> MemDevice:
    return MemDevice(addr=ADDR, region_size=REGION, requested_size=REQUESTED)


@dataclass
class LoopbackRoad:
    device: MemDevice
    transport: Transport

    def set_requested_size(self, size: int) -> None:
        self.device.requested_size = size

    def size(self) -> int:
        return self.device.plugged_size


@dataclass
class RingRoad:
    port: EmbeddedPort
    transport: Transport

    def set_requested_size(self, size: int) -> None:
        self.port.set_requested_size(size)
        assert isinstance(self.transport, VringTransport)
        self.transport.poll()

    def size(self) -> int:
        return self.port.size()


class TestLoopback(EveryRoad):
    @pytest.fixture
    def road(self) -> Road:
        device = make()
        return LoopbackRoad(device, Loopback(device))


class TestRing(EveryRoad):
    @pytest.fixture(params=[False, True], ids=["direct", "indirect"])
    def road(self, request: pytest.FixtureRequest) -> Road:
        port = EmbeddedPort(make())
        return RingRoad(port, VringTransport(port, indirect=request.param))


def test_only_offered_features_are_negotiated() -> None:
    assert Loopback(make()).features == Feature.ACPI_PXM
    assert Loopback(make(), features=0).features == 0
    assert Loopback(make(), features=0xFF).features == Feature.ACPI_PXM


def test_a_ring_negotiates_what_the_driver_wants() -> None:
    assert VringTransport(EmbeddedPort(make())).features == VirtioFeature.VERSION_1 | Feature.ACPI_PXM
    assert VringTransport(EmbeddedPort(make()), features=0).features == VirtioFeature.VERSION_1


def test_a_driver_that_the_device_refuses_is_told_its_features() -> None:
    device = MemDevice(addr=ADDR, region_size=REGION, features=Feature.UNPLUGGED_INACCESSIBLE)
    with pytest.raises(ProtocolError, match="does not accept features 0x100000000 of 0x10130000002 offered"):
        VringTransport(EmbeddedPort(device), features=0)


class Slow(EmbeddedPort):
    """A device that answers when it has been looked at a few times."""

    def __init__(self, device: MemDevice, patience: int) -> None:
        super().__init__(device)
        self._patience = patience
        self._waiting = 0

    def exchange(self, writes: Sequence[Write], reads: Sequence[Read], *, bell: bool = True) -> list[bytes]:
        self._waiting = self._patience if bell else max(self._waiting - 1, 0)
        if self._waiting == 1:
            self.device.notify()
        return super().exchange(writes, reads, bell=False)


@pytest.mark.parametrize(("patience", "answered"), [(2, True), (90, True), (1000, False)])
def test_a_device_may_take_its_time(patience: int, answered: bool) -> None:
    transport = VringTransport(Slow(make(), patience))
    assert bool(transport.send(Request(RequestType.STATE, ADDR, 1).pack())) == answered
