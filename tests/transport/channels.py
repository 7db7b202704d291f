"""One suite for every channel to a device: each subclass says how one is made."""

from collections.abc import Iterator
from typing import Protocol

import pytest

from virtiomem.errors import DeviceError
from virtiomem.transport.channel import RequestChannel
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Config, Request, RequestType, Response, ResponseType, State

ADDR, REGION, REQUESTED, BLOCK = 4 * GiB, 1 * GiB, 512 * MiB, 2 * MiB

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType


class Connection(Protocol):
    """A device of REGION bytes at ADDR, from its driver's and from its owner's side."""

    channel: RequestChannel

    def set_requested_size(self, size: int) -> None: ...
    def size(self) -> int: ...


class EveryChannel:
    """What a driver may rely on, whatever lies between it and the device."""

    @pytest.fixture
    def connection(self) -> Connection | Iterator[Connection]:
        raise NotImplementedError

    @pytest.fixture
    def channel(self, connection: Connection) -> RequestChannel:
        return connection.channel

    def request(self, channel: RequestChannel, kind: RequestType, first: int = 0, count: int = 0) -> Response:
        return Response.unpack(channel.send(Request(kind, ADDR + first * BLOCK, count).pack()))

    def test_the_configuration_is_the_devices(self, channel: RequestChannel) -> None:
        config = Config.unpack(channel.config())
        assert config == Config(BLOCK, 0, ADDR, REGION, REQUESTED + 256 * MiB, 0, REQUESTED)

    def test_requests_are_answered_and_counted(self, connection: Connection, channel: RequestChannel) -> None:
        assert self.request(channel, PLUG, 3, 4) == Response(ACK)
        assert self.request(channel, UNPLUG, 3, 1) == Response(ACK)
        assert self.request(channel, STATE, 3, 4) == Response(ACK, State.MIXED)
        assert Config.unpack(channel.config()).plugged_size == connection.size() == 3 * BLOCK

    def test_every_answer_there_is_comes_through(self, channel: RequestChannel) -> None:
        assert self.request(channel, PLUG, 0, 256).type is ACK
        assert self.request(channel, PLUG, 300, 1).type is NACK
        assert self.request(channel, UNPLUG, 300, 1).type is ERROR
        assert self.request(channel, UNPLUG_ALL).type is ACK

    def test_more_requests_than_the_queue_is_long_are_answered(self, channel: RequestChannel) -> None:
        answers = [self.request(channel, STATE, number % 384, 1) for number in range(300)]
        assert answers == [Response(ACK, State.UNPLUGGED)] * 300

    def test_a_resize_is_heard_and_read(self, connection: Connection, channel: RequestChannel) -> None:
        heard: list[int] = []
        channel.on_config_change(lambda: heard.append(Config.unpack(channel.config()).requested_size))
        connection.set_requested_size(GiB)
        connection.set_requested_size(GiB)
        channel.on_config_change(None)
        connection.set_requested_size(0)
        assert heard == [GiB, GiB]

    def test_a_refused_resize_is_not_heard(self, connection: Connection, channel: RequestChannel) -> None:
        heard: list[str] = []
        channel.on_config_change(lambda: heard.append("config"))
        with pytest.raises(DeviceError, match=r"^'requested-size' has to be multiples of 'block-size' \(0x200000\)$"):
            connection.set_requested_size(3 * MiB)
        assert not heard

    def test_a_broken_request_silences_the_device_until_it_is_reset(self, channel: RequestChannel) -> None:
        heard: list[str] = []
        channel.on_config_change(lambda: heard.append("config"))
        self.request(channel, PLUG, 0, 1)
        assert channel.send(b"\x04" + bytes(23)) == b""
        assert heard == ["config"]
        assert channel.send(Request(STATE, ADDR, 1).pack()) == b""
        channel.reset()
        assert self.request(channel, STATE, 0, 1) == Response(ACK, State.PLUGGED)

    def test_a_reset_leaves_memory_plugged(self, connection: Connection, channel: RequestChannel) -> None:
        self.request(channel, PLUG, 0, 7)
        channel.reset()
        assert connection.size() == 7 * BLOCK
        assert self.request(channel, UNPLUG, 0, 7).type is ACK
