from dataclasses import dataclass
from random import Random

import pytest

from tests.transport.channels import ADDR, REGION, REQUESTED, Connection, EveryChannel
from tests.transport.register_file import BASE, RegisterFile, ScriptedConsole
from virtiomem.device.mem import MemDevice
from virtiomem.errors import ProtocolError
from virtiomem.qemu.qtest import QTest
from virtiomem.transport.channel import RequestChannel
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.late import LateTransport
from virtiomem.transport.loopback import Loopback
from virtiomem.transport.virtio_mmio import VirtioMmioTransport
from virtiomem.transport.virtio_transport import VirtioTransport
from virtiomem.transport.vring import Chain, Ring, VringChannel, initialize
from virtiomem.wire.mem import Feature, Request, RequestType
from virtiomem.wire.mmio import Mmio
from virtiomem.wire.virtio import VirtioFeature


def make() -> MemDevice:
    return MemDevice(addr=ADDR, region_size=REGION, requested_size=REQUESTED)


@dataclass
class LoopbackConnection:
    device: MemDevice
    channel: RequestChannel

    def set_requested_size(self, size: int) -> None:
        self.device.requested_size = size

    def size(self) -> int:
        return self.device.plugged_size


@dataclass
class RingConnection:
    transport: EmbeddedTransport
    channel: RequestChannel

    def set_requested_size(self, size: int) -> None:
        self.transport.set_requested_size(size)
        assert isinstance(self.channel, VringChannel)
        self.channel.poll()

    def size(self) -> int:
        return self.transport.size()


class MmioConnection(RingConnection):
    """A ring whose device shows itself as memory-mapped registers."""


class TestMemoryMappedRegisters(EveryChannel):
    @pytest.fixture(params=[False, True], ids=["direct", "indirect"])
    def connection(self, request: pytest.FixtureRequest) -> Connection:
        registers = RegisterFile(make())
        transport = VirtioMmioTransport(QTest(ScriptedConsole(registers)), BASE, registers.transport.memory)
        return MmioConnection(registers.transport, VringChannel(transport, indirect=request.param))


@pytest.mark.parametrize("identity", [(0, 2, 24), (0x74726976, 1, 24), (0x74726976, 2, 1)])
def test_registers_of_anything_else_are_not_a_device(identity: tuple[int, int, int]) -> None:
    registers = RegisterFile(make(), identity=identity)
    with pytest.raises(ProtocolError, match="virtio-mmio at 0xd0000000: magic, version and device are"):
        VirtioMmioTransport(QTest(ScriptedConsole(registers)), BASE, registers.transport.memory)


class RestlessRegisters(RegisterFile):
    """A device whose configuration seems to change at every look."""

    looks = 0

    def _read(self, register: int) -> int:
        self.looks += register == Mmio.CONFIG_GENERATION
        return self.looks if register == Mmio.CONFIG_GENERATION else super()._read(register)


def test_configuration_that_never_stands_still_is_given_up() -> None:
    registers = RestlessRegisters(make())
    transport = VirtioMmioTransport(QTest(ScriptedConsole(registers)), BASE, registers.transport.memory)
    with pytest.raises(ProtocolError, match="generation changed in each of 100 reads"):
        transport.config()


class TestLoopback(EveryChannel):
    @pytest.fixture
    def connection(self) -> Connection:
        device = make()
        return LoopbackConnection(device, Loopback(device))


class TestRing(EveryChannel):
    @pytest.fixture(params=[False, True], ids=["direct", "indirect"])
    def connection(self, request: pytest.FixtureRequest) -> Connection:
        transport = EmbeddedTransport(make())
        return RingConnection(transport, VringChannel(transport, indirect=request.param))


def test_only_offered_features_are_negotiated() -> None:
    assert Loopback(make()).features == Feature.ACPI_PXM
    assert Loopback(make(), features=0).features == 0
    assert Loopback(make(), features=0xFF).features == Feature.ACPI_PXM


def test_a_ring_negotiates_what_the_driver_wants() -> None:
    assert VringChannel(EmbeddedTransport(make())).features == VirtioFeature.VERSION_1 | Feature.ACPI_PXM
    assert VringChannel(EmbeddedTransport(make()), features=0).features == VirtioFeature.VERSION_1


def test_a_driver_that_the_device_refuses_reads_its_features() -> None:
    device = MemDevice(addr=ADDR, region_size=REGION, features=Feature.UNPLUGGED_INACCESSIBLE)
    with pytest.raises(ProtocolError, match="does not accept features 0x100000000 of 0x10130000002 offered"):
        VringChannel(EmbeddedTransport(device), features=0)


class TestLateRing(EveryChannel):
    @pytest.fixture(params=[None, Random(1)], ids=["late", "late, in any order"])
    def connection(self, request: pytest.FixtureRequest) -> Connection:
        transport = LateTransport(make(), 0.0001, request.param)
        return RingConnection(transport, VringChannel(transport))


STATE = Chain((Request(RequestType.STATE, ADDR, 1).pack(),))


def started(transport: VirtioTransport) -> Ring:
    ring = Ring(transport)
    initialize(transport, ring, int(VirtioFeature.VERSION_1))
    return ring


def test_a_batch_that_comes_back_piece_by_piece_is_whole() -> None:
    result = started(LateTransport(make(), 0.0005)).submit([STATE] * 20)
    assert (result.returned, [used.id for used in result.used]) == (20, list(result.heads))


def test_chains_may_come_back_in_any_order() -> None:
    result = started(LateTransport(make(), 0.0, Random(1))).submit([STATE] * 20)
    assert sorted(used.id for used in result.used) == list(result.heads)
    assert [used.id for used in result.used] != list(result.heads)


@pytest.mark.parametrize(("delay", "returned"), [(0.02, 1), (1e9, 0)])
def test_a_late_answer_is_distinguished_from_one_that_never_comes(delay: float, returned: int) -> None:
    transport = LateTransport(make(), delay)
    transport.patience = 0.1
    assert started(transport).submit([STATE]).returned == returned
