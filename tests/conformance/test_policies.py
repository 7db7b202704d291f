"""A device that does one thing in its own way parts from the model, unless that is accepted; a fault next to it is found."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from virtiomem.conformance import log
from virtiomem.conformance.fuzz import Pair, fuzz
from virtiomem.conformance.messages import MessageTarget
from virtiomem.conformance.moves import Case
from virtiomem.conformance.policies import ALL, NAMES, accepted
from virtiomem.conformance.record import Migrate, Move, Recorder, ResetSystem, SetSize, Submit, SweepStates
from virtiomem.conformance.replay import replay
from virtiomem.conformance.retrace import retrace
from virtiomem.conformance.scripted_driver import ChainRequest, ScriptedDriver
from virtiomem.conformance.targets import EmbeddedTarget, realize
from virtiomem.conformance.testbench import DRIVER_FEATURES, SPEC
from virtiomem.errors import ArgumentValueError, DeviceError, ProtocolError, UsageError
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.wire.mem import Config, Request, RequestType, Response, ResponseType, State

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType


class Other:
    """Our device, with one policy of its own, and perhaps a fault."""

    def __init__(self, spec: DeviceSpec, policy: str, fault: str = "") -> None:
        self._mem = realize(spec)
        self.features = int(self._mem.features)
        self._policy = policy
        self._fault = fault
        self._notified = False
        self._take_all()

    def _take_all(self) -> None:
        if self._policy == "usable-region":
            self._mem.set_usable_region_size(self._mem.region_size)

    def config(self) -> Config:
        return self._mem.config

    def request(self, data: bytes) -> bytes:
        try:
            request = Request.unpack(data)
        except ProtocolError:
            if self._policy == "unknown-type":
                return Response(ERROR).pack()
            raise
        idle = request.type is UNPLUG_ALL and self._policy == "busy-unplug-all" and not self._mem.plugged_size
        busy, self._mem.busy = self._mem.busy, self._mem.busy and not idle
        answer = self._refused(request) or self._mem.handle(data)
        self._mem.busy = busy
        if request.type is UNPLUG_ALL and answer == Response(ACK).pack():
            self._take_all()
        return answer

    def _refused(self, request: Request) -> bytes | None:
        """Refuse plugged blocks before too many of them; of the faults one that refuses 13 blocks."""
        if self._fault == "superstitious" and request.type is PLUG and request.nb_blocks == 13:
            return Response(NACK).pack()
        if self._policy != "refusal-order" or request.type is not PLUG:
            return None
        told = self._mem.request(STATE, request.addr, request.nb_blocks)
        return Response(ERROR).pack() if told.type is ACK and told.state is not State.UNPLUGGED else None

    def set_requested_size(self, size: int) -> None:
        before = self._mem.requested_size, self._mem.usable_region_size
        self._mem.requested_size = size
        self._notified |= self._policy != "same-size" or size != before[0]
        if before[1] > self._mem.usable_region_size or self._policy == "usable-region":
            self._take_all()

    def set_busy(self, busy: bool) -> None:
        self._mem.busy = busy

    def reset(self) -> None:
        pass

    def system_reset(self) -> None:
        busy, self._mem.busy = self._mem.busy, self._mem.busy and self._policy != "busy-reset"
        self._mem.system_reset()
        self._mem.busy = busy
        self._take_all()

    def take_notification(self) -> bool:
        notified, self._notified = self._notified, False
        return notified

    def close(self) -> None:
        pass


def target(policy: str, fault: str = "") -> MessageTarget:
    return MessageTarget("other", lambda spec: Other(spec, policy, fault))


def send(*requests: Request | bytes) -> Submit:
    return Submit(tuple(ChainRequest(bytes(data), (24,), (10,)) for data in map(packed, requests)))


def packed(request: Request | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.pack()


BASE, BLOCK = 4 << 30, 2 << 20
PLUGS = send(Request(PLUG, BASE, 200))
SHOWN: dict[str, tuple[Move, ...]] = {
    "usable-region": (
        SetSize(0),
        send(Request(UNPLUG_ALL), Request(STATE, BASE + (1 << 30) - BLOCK, 1)),
        ResetSystem(),
    ),
    "unknown-type": (send(Request(PLUG, BASE, 1), b"\x07" + bytes(23), Request(PLUG, BASE + BLOCK, 1)),),
    "refusal-order": (PLUGS, send(Request(PLUG, BASE + 199 * BLOCK, 100))),
    "busy-unplug-all": (Migrate(start=True), send(Request(UNPLUG_ALL))),
    "busy-reset": (PLUGS, Migrate(start=True), ResetSystem()),
    "same-size": (SetSize(SPEC.requested_size),),
}
"""Moves that show each policy."""


def played(policy: str, *accept: str) -> Pair:
    case = Case(SPEC, DRIVER_FEATURES, None, accepted(accept))
    with Pair.open(target(policy), case) as pair:
        for move in (*SHOWN[policy], PLUGS, SweepStates()):
            pair.play(move)
    return pair


@pytest.mark.parametrize("policy", NAMES)
def test_a_policy_is_a_difference_that_names_it_until_it_is_accepted(policy: str) -> None:
    assert played(policy).finding(0).policies == (policy,)
    for accept in (policy, ALL):
        pair = played(policy, accept)
        assert pair.difference is None
        assert pair.model.followed[policy] > 0
    others = set(NAMES) - {policy}
    assert played(policy, *others).finding(0).policies == (policy,)


def test_a_fault_is_found_next_to_what_is_accepted() -> None:
    figures = fuzz(target("usable-region", "superstitious"), seed=1, requests=4000, accept=accepted([ALL]))
    (finding,) = figures.findings
    assert figures.accepted["usable-region"] > 0
    assert finding.policies == ()
    assert "NACK" in finding.difference.recorded
    assert len(finding.lines) <= 3 < finding.found_after


def test_a_log_of_such_a_device_is_replayed_with_the_same_policies(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(log.dumps(played("refusal-order", "refusal-order").lines))
    assert replay(tmp_path / "log").differing
    assert not replay(tmp_path / "log", accept=accepted(["refusal-order"])).differing


def kept(path: Path, moves: tuple[Move, ...]) -> Path:
    """The log of these moves on our device."""
    with EmbeddedTarget().open(SPEC) as device:
        recorder = Recorder(ScriptedDriver(device.transport, device.owner), DRIVER_FEATURES)
        path.write_bytes(log.dumps([recorder.start(), *map(recorder.play, moves)]))
    return path


def test_a_log_of_qemu_is_replayed_on_such_a_device_and_goes_on_after_its_policies(tmp_path: Path) -> None:
    moves = (*SHOWN["refusal-order"], send(Request(UNPLUG_ALL)), PLUGS, send(Request(UNPLUG, BASE, 200)))
    path = kept(tmp_path / "log", moves)
    assert replay(path, target("refusal-order")).differing == 1
    assert not retrace(path, target("refusal-order"), accepted(["refusal-order"])).differing

    path = kept(tmp_path / "log", (*moves, send(Request(PLUG, BASE, 13)), SweepStates()))
    outcome = retrace(path, target("refusal-order", "superstitious"), accepted([ALL]))
    assert (outcome.operations, outcome.differing) == (len(moves) + 3, 1)
    assert outcome.first is not None
    assert (outcome.first.line, outcome.first.what) == (len(moves) + 2, "request 1, answer")
    assert (outcome.first.recorded, outcome.first.ours) == ("00000000000000000000 (ACK)", "01000000000000000000 (NACK)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"desc":null', '"desc":"no_such_layout"'), "log:2: cannot be replayed: "),
        (lambda text: text.replace('"block_size":2097152', '"block_size":3145728'), "log:1: no such device: "),
        (lambda _: "", "log: no request log (empty)"),
    ],
    ids=["layout", "shape", "empty"],
)
def test_a_log_whose_moves_cannot_be_made_is_refused(tmp_path: Path, change: Callable[[str], str], said: str) -> None:
    path = kept(tmp_path / "log", (PLUGS,))
    path.write_text(change(gzip.decompress(path.read_bytes()).decode()))
    with pytest.raises(UsageError) as caught:
        retrace(path, target(""), accepted([ALL]))
    assert said in str(caught.value)


def test_a_usable_region_outside_the_rules_is_not_followed() -> None:
    mem = realize(SPEC)
    mem.request(PLUG, BASE + 10 * BLOCK, 1)
    for size in (SPEC.size + BLOCK, BLOCK + 1, 10 * BLOCK):
        with pytest.raises(
            ArgumentValueError, match="size must be whole blocks of 0x200000 from 0x1600000 to 0x40000000"
        ):
            mem.set_usable_region_size(size)
    mem.set_usable_region_size(11 * BLOCK)
    assert mem.request(STATE, BASE, 12).type is ERROR

    class Shrinks(Other):
        def set_requested_size(self, size: int) -> None:
            super().set_requested_size(size)
            self._mem.set_usable_region_size(size)

    with Pair.open(
        MessageTarget("shrinks", lambda spec: Shrinks(spec, "")), Case(SPEC, DRIVER_FEATURES, None, accepted([ALL]))
    ) as pair:
        pair.play(SetSize(4 * BLOCK))
    assert pair.difference is not None
    assert pair.difference.what == "config usable_region_size"


def test_shapes_that_a_device_refuses_are_left_out_and_said() -> None:
    def of_two_megabytes(spec: DeviceSpec) -> Other:
        if spec.block_size != BLOCK:
            raise DeviceError("blocks of 2M only")
        return Other(spec, "")

    figures = fuzz(MessageTarget("choosy", of_two_megabytes), seed=1, requests=300)
    assert figures.requests >= 300
    assert set(figures.refused.values()) == {"blocks of 2M only"}
    assert all("block-size=2M" not in shape for shape in figures.refused)

    def none(_: DeviceSpec) -> Other:
        raise DeviceError("not today")

    with pytest.raises(DeviceError, match=r"none: 100 shapes refused, the last size=.*: not today"):
        fuzz(MessageTarget("none", none), seed=1, requests=1)


def test_a_policy_that_there_is_not_is_a_usage_error() -> None:
    with pytest.raises(
        UsageError, match=r"no policy 'usable', did you mean 'usable-region'\? \(policies: usable-region,"
    ):
        accepted(["usable"])
