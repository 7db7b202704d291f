import pytest

from virtiomem.device.mem import MemDevice
from virtiomem.transport.base import Transport
from virtiomem.transport.loopback import Loopback
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Config, Feature, Request, RequestType, Response, ResponseType


@pytest.fixture
def device() -> MemDevice:
    return MemDevice(addr=4 * GiB, region_size=GiB, requested_size=512 * MiB)


def test_requests_reach_the_device(device: MemDevice) -> None:
    transport: Transport = Loopback(device)
    answer = transport.send(Request(RequestType.PLUG, 4 * GiB, 8).pack())
    assert Response.unpack(answer).type is ResponseType.ACK
    assert Config.unpack(transport.config()).plugged_size == device.plugged_size == 16 * MiB


def test_a_broken_request_silences_the_device_until_it_is_reset(device: MemDevice) -> None:
    transport = Loopback(device)
    told: list[str] = []
    transport.on_config_change(lambda: told.append("config"))
    plug = Request(RequestType.PLUG, 4 * GiB, 8).pack()
    assert transport.send(b"\x04" + bytes(23)) == b""
    assert told == ["config"]
    assert transport.send(plug) == b""
    transport.reset()
    assert transport.send(plug) == Response(ResponseType.ACK).pack()


def test_a_resize_notifies_until_nobody_listens(device: MemDevice) -> None:
    transport = Loopback(device)
    told: list[str] = []
    transport.on_config_change(lambda: told.append("config"))
    device.requested_size = GiB
    transport.on_config_change(None)
    device.requested_size = 0
    assert told == ["config"]


def test_only_offered_features_are_negotiated(device: MemDevice) -> None:
    assert Loopback(device).features == Feature.ACPI_PXM
    assert Loopback(device, features=0).features == 0
    assert Loopback(device, features=0xFF).features == Feature.ACPI_PXM
