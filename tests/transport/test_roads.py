from dataclasses import dataclass

import pytest

from tests.transport.roads import ADDR, REGION, REQUESTED, EveryRoad, Road
from virtiomem.device.mem import MemDevice
from virtiomem.errors import ProtocolError
from virtiomem.transport.base import Transport
from virtiomem.transport.embedded import EmbeddedPort
from virtiomem.transport.loopback import Loopback
from virtiomem.transport.vring import VringTransport
from virtiomem.wire.mem import Feature
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
