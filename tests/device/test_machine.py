"""The device against the plainest model there is: a set of plugged block numbers."""

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.refused import REFUSALS, refused
from virtiomem.device.mem import MemDevice
from virtiomem.errors import DeviceError
from virtiomem.units import MiB
from virtiomem.wire.mem import RequestType, Response, ResponseType, State

BLOCK = 64 * MiB
BLOCKS = 12
EXTENT = 4
ADDR = 32 * BLOCK

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType


class DeviceMachine(RuleBasedStateMachine):
    @initialize(requested=st.integers(0, BLOCKS + 2))
    def realize(self, requested: int) -> None:
        self.device = MemDevice(
            addr=ADDR, region_size=BLOCKS * BLOCK, block_size=BLOCK, requested_size=requested * BLOCK
        )
        self.requested, self.plugged, self.sizes = requested, set[int](), list[int]()
        self.usable = self.wanted_usable()
        self.device.on_size_change(self.sizes.append)

    def wanted_usable(self) -> int:
        return min(BLOCKS, self.requested + EXTENT) if self.requested else 0

    def expected(self, kind: RequestType, first: int, count: int, odd: int) -> Response:
        blocks = set(range(first, first + count))
        if odd or not blocks or not blocks <= set(range(self.usable)):
            return Response(ERROR)
        if kind is STATE:
            inside = blocks & self.plugged
            mixed = bool(inside) and inside != blocks
            return Response(ACK, State.MIXED if mixed else State.PLUGGED if inside else State.UNPLUGGED)
        if kind is PLUG and len(self.plugged) + count > self.requested:
            return Response(NACK)
        if (blocks & self.plugged) if kind is PLUG else (blocks - self.plugged):
            return Response(ERROR)
        return Response(BUSY if self.device.busy else ACK)

    @rule(
        kind=st.sampled_from([PLUG, PLUG, UNPLUG, STATE]),
        first=st.integers(-2, BLOCKS + 1),
        count=st.integers(0, BLOCKS),
        odd=st.sampled_from([0, 0, 0, 0, 1, BLOCK // 2]),
    )
    def request(self, kind: RequestType, first: int, count: int, odd: int) -> None:
        expected = self.expected(kind, first, count, odd)
        assert self.device.request(kind, ADDR + first * BLOCK + odd, count) == expected
        if expected.type is ACK and kind is PLUG:
            self.plugged |= set(range(first, first + count))
        if expected.type is ACK and kind is UNPLUG:
            self.plugged -= set(range(first, first + count))

    @rule()
    def unplug_all(self) -> None:
        assert self.device.request(UNPLUG_ALL) == Response(BUSY if self.device.busy else ACK)
        self.forget_all()

    @rule()
    def system_reset(self) -> None:
        self.device.system_reset()
        self.forget_all()

    def forget_all(self) -> None:
        if not self.device.busy:
            self.plugged = set()
            self.usable = self.wanted_usable()

    @rule(requested=st.integers(-1, BLOCKS + 2), odd=st.sampled_from([0, 0, 0, 4096]))
    def resize(self, requested: int, odd: int) -> None:
        try:
            self.device.requested_size = requested * BLOCK + odd
        except DeviceError:
            assert odd or not 0 <= requested <= BLOCKS
            return
        assert not odd
        self.requested = requested
        self.usable = max(self.usable, self.wanted_usable())

    @rule(bad=st.sampled_from([1.5, float("nan"), None, "1"]))
    def refuse_what_is_no_number(self, bad: Any) -> None:
        refused(setattr, self.device, "requested_size", bad)
        refused(setattr, self.device, "requested_size", True)
        refused(self.device.request, PLUG, bad, 1)
        refused(self.device.request, bad, ADDR, 1)
        refused(self.device.handle, None)
        with suppress(*REFUSALS):
            assert self.device.request(PLUG, ADDR, bad) == Response(ERROR)

    @rule(busy=st.booleans())
    def migrate(self, busy: bool) -> None:
        self.device.busy = busy

    @invariant()
    def device_is_the_set(self) -> None:
        self.device.check()
        config = self.device.config
        assert config.requested_size == self.requested * BLOCK
        assert config.usable_region_size == self.usable * BLOCK
        assert config.plugged_size == len(self.plugged) * BLOCK
        assert not self.sizes or self.sizes[-1] == config.plugged_size
        in_ranges = {
            block
            for span in self.device.plugged_ranges()
            for block in range((span.start - ADDR) // BLOCK, (span.stop - ADDR) // BLOCK)
        }
        assert in_ranges == self.plugged


TestDeviceMachine = DeviceMachine.TestCase
TestDeviceMachine.settings = settings(stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow])
