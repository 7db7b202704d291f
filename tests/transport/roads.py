"""One suite for every road to a device: each subclass says how a road is laid."""

from collections.abc import Iterator
from typing import Protocol

import pytest

from virtiomem.errors import DeviceError
from virtiomem.transport.base import Transport
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Config, Request, RequestType, Response, ResponseType, State

ADDR, REGION, REQUESTED, BLOCK = 4 * GiB, 1 * GiB, 512 * MiB, 2 * MiB

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType


class Road(Protocol):
    """A device of REGION bytes at ADDR, from its driver's and from its owner's side."""

    transport: Transport

    def set_requested_size(self, size: int) -> None: ...
    def size(self) -> int: ...


class EveryRoad:
    """What a driver may rely on, whatever lies between it and the device."""

    @pytest.fixture
    def road(self) -> Road | Iterator[Road]:
        raise NotImplementedError

    @pytest.fixture
    def transport(self, road: Road) -> Transport:
        return road.transport

    def ask(self, transport: Transport, kind: RequestType, first: int = 0, count: int = 0) -> Response:
        return Response.unpack(transport.send(Request(kind, ADDR + first * BLOCK, count).pack()))

    def test_the_configuration_is_the_devices(self, transport: Transport) -> None:
        config = Config.unpack(transport.config())
        assert config == Config(BLOCK, 0, ADDR, REGION, REQUESTED + 256 * MiB, 0, REQUESTED)

    def test_requests_are_answered_and_counted(self, road: Road, transport: Transport) -> None:
        assert self.ask(transport, PLUG, 3, 4) == Response(ACK)
        assert self.ask(transport, UNPLUG, 3, 1) == Response(ACK)
        assert self.ask(transport, STATE, 3, 4) == Response(ACK, State.MIXED)
        assert Config.unpack(transport.config()).plugged_size == road.size() == 3 * BLOCK

    def test_every_answer_there_is_comes_through(self, transport: Transport) -> None:
        assert self.ask(transport, PLUG, 0, 256).type is ACK
        assert self.ask(transport, PLUG, 300, 1).type is NACK
        assert self.ask(transport, UNPLUG, 300, 1).type is ERROR
        assert self.ask(transport, UNPLUG_ALL).type is ACK

    def test_more_requests_than_the_queue_is_long_are_answered(self, transport: Transport) -> None:
        answers = [self.ask(transport, STATE, number % 384, 1) for number in range(300)]
        assert answers == [Response(ACK, State.UNPLUGGED)] * 300

    def test_a_resize_is_heard_and_read(self, road: Road, transport: Transport) -> None:
        heard: list[int] = []
        transport.on_config_change(lambda: heard.append(Config.unpack(transport.config()).requested_size))
        road.set_requested_size(GiB)
        road.set_requested_size(GiB)
        transport.on_config_change(None)
        road.set_requested_size(0)
        assert heard == [GiB, GiB]

    def test_a_refused_resize_is_not_heard(self, road: Road, transport: Transport) -> None:
        heard: list[str] = []
        transport.on_config_change(lambda: heard.append("config"))
        with pytest.raises(DeviceError, match=r"^'requested-size' has to be multiples of 'block-size' \(0x200000\)$"):
            road.set_requested_size(3 * MiB)
        assert not heard

    def test_a_broken_request_silences_the_device_until_it_is_reset(self, transport: Transport) -> None:
        heard: list[str] = []
        transport.on_config_change(lambda: heard.append("config"))
        self.ask(transport, PLUG, 0, 1)
        assert transport.send(b"\x04" + bytes(23)) == b""
        assert heard == ["config"]
        assert transport.send(Request(STATE, ADDR, 1).pack()) == b""
        transport.reset()
        assert self.ask(transport, STATE, 0, 1) == Response(ACK, State.PLUGGED)

    def test_a_reset_leaves_memory_plugged(self, road: Road, transport: Transport) -> None:
        self.ask(transport, PLUG, 0, 7)
        transport.reset()
        assert road.size() == 7 * BLOCK
        assert self.ask(transport, UNPLUG, 0, 7).type is ACK
