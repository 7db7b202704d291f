"""Feed a recorded request log to our device and compare every answer and every register with what was recorded."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import assert_never, cast

from virtiomem.conformance import log
from virtiomem.conformance.policies import FollowingModel
from virtiomem.conformance.scripted_driver import ScriptedDriver
from virtiomem.conformance.testbench import DeviceUnderTest, Target, same_words
from virtiomem.device.board import BOARDS, Q35
from virtiomem.device.mem import MemDevice
from virtiomem.errors import DeviceError, ProtocolError, UsageError
from virtiomem.qemu.shapes import MIGRATION_IDLE
from virtiomem.releases.qemu import QEMU
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.virtio_transport import DeviceSpec, Observation
from virtiomem.wire.mem import Config, Feature, ResponseType


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """One value that is not as recorded."""

    line: int
    what: str
    recorded: str
    ours: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.what}: recorded {self.recorded}, ours {self.ours}"


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Result of a replay: how much was compared, how many operations differed, and the first difference."""

    operations: int
    requests: int
    differing: int
    first: ReplayDifference | None
    only_begun: bool = False
    """Nothing was done with the device after it was initialised."""


_REPEATED, _REPEATED_EACH = 1 << 16, 64
"""Repeated requests that a log may have, once and for each of its lines: a short line must not cost a second."""

_ACK = ResponseType.ACK.to_bytes(2, "little").hex()

Mismatch = tuple[str, object, object]
"""What was compared, as recorded, ours."""


def replay(path: str | Path, target: Target | None = None, accept: Collection[str] = ()) -> ReplayResult:
    """Replay a log on our device, or on one that `target` makes; ours follows the log in the policies of `accept`.

    Raises UsageError when it cannot be read or the target makes no such device, BackendError when that is lost.
    """
    with ExitStack() as opened:

        def make(line: log.Header | log.Negotiation, where: str) -> Player:
            device = opened.enter_context(_device(target, line, where, accept))
            own_words = isinstance(line, log.Header) and line.own_words
            return Player(device, same_words=not own_words and (target is None or same_words(target)))

        return _replay(path, make)


@contextmanager
def _device(
    target: Target | None, line: log.Header | log.Negotiation, where: str, accept: Collection[str]
) -> Iterator[DeviceUnderTest]:
    """The device that a log was recorded from, as it was before the driver came, made by a target or by us."""
    if target is None:
        transport = realize(line, where, accept)
        yield DeviceUnderTest(transport, transport)
        return
    try:
        with target.open(shape_of(line)) as device:
            yield device
    except DeviceError as error:
        raise UsageError(f"{where}: no such device: {error}") from None


def shape_of(line: log.Header | log.Negotiation) -> DeviceSpec:
    """Return the shape of the device that a header describes."""
    config = line.before.cfg if isinstance(line, log.Header) else line.cfg
    return DeviceSpec(
        "vm0",
        config.region_size,
        block_size=config.block_size,
        requested_size=config.requested_size,
        memaddr=config.addr,
        node=config.node_id,
        unplugged_inaccessible="on" if line.offered & Feature.UNPLUGGED_INACCESSIBLE else "off",
    )


MakePlayer = Callable[[log.Header | log.Negotiation, str], "Player"]


class ReadLog:
    """A log that is read line by line, and how much of it was."""

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self.operations = self.requests = self._repeated = 0
        self.only_begun = True

    def __iter__(self) -> Iterator[tuple[int, log.Line]]:
        """The lines with their numbers; raises UsageError as `log.read`, for an empty log and for endless repetition."""
        for number, line in log.read(self._path):
            self.operations += 1
            if isinstance(line, log.Batch):
                self.requests += line.requests
                self._repeated += line.times - 1
            if self._repeated > _REPEATED + _REPEATED_EACH * self.operations:
                raise UsageError(
                    f"{self._path}:{number}: `times` repeats more requests than any recorder does: {self._repeated} so far"
                )
            self.only_begun &= isinstance(line, log.Header)
            yield number, line
        if not self.operations:
            raise UsageError(f"{self._path}: no request log (empty)")

    def result(self, differing: int, first: ReplayDifference | None) -> ReplayResult:
        """Return the result, with what differed."""
        return ReplayResult(self.operations, self.requests, differing, first, self.only_begun)


def _replay(path: str | Path, make: MakePlayer) -> ReplayResult:
    player: Player | None = None
    differing = 0
    first: ReplayDifference | None = None
    lines = ReadLog(path)
    for number, line in lines:
        if isinstance(line, log.Header | log.Negotiation):
            player = make(line, f"{path}:{number}")
        assert player is not None
        try:
            mismatches = player.play(line)
        except (ValueError, ProtocolError) as error:
            raise UsageError(f"{path}:{number}: cannot be replayed: {error}") from None
        if mismatches:
            differing += 1
            what, recorded, ours = mismatches[0]
            first = first or ReplayDifference(number, what, str(recorded), str(ours))
    return lines.result(differing, first)


def realize(line: log.Header | log.Negotiation, where: str, accept: Collection[str] = ()) -> EmbeddedTransport:
    """The device that a log was recorded from, as it was before the driver came; it follows the policies in `accept`."""
    config = line.before.cfg if isinstance(line, log.Header) else line.cfg
    # The device type's own; those of the transport follow from the release.
    features = Feature(line.offered & sum(Feature))
    try:
        device = MemDevice(
            addr=config.addr,
            region_size=config.region_size,
            block_size=config.block_size,
            requested_size=config.requested_size,
            node=config.node_id,
            # As many as its number needs: the log does not say how many the machine had.
            nodes=config.node_id + 1,
            features=features,
            release=QEMU.release(line.qemu) if isinstance(line, log.Header) and line.qemu else QEMU.oldest,
            board=BOARDS[line.machine] if isinstance(line, log.Header) and line.machine else Q35,
        )
    except DeviceError as error:
        raise UsageError(f"{where}: no such device: {error}") from None
    return EmbeddedTransport(cast("MemDevice", FollowingModel(device, accept)))


class Player:
    """A device, ours or another, and a driver that makes the moves of a log; reports values that differ from it."""

    def __init__(self, device: DeviceUnderTest, *, same_words: bool = True) -> None:
        """`same_words`: the log and the device refuse in QEMU's words, which are compared."""
        self._same_words = same_words
        self.driver = ScriptedDriver(device.transport, device.owner)
        self._transport, self._owner = device
        self._ours = device.transport if isinstance(device.transport, EmbeddedTransport) else None
        mem: object = self._ours.device.mem if self._ours is not None else None
        self.model: FollowingModel | None = mem if isinstance(mem, FollowingModel) else None
        """Ours, when it looks at what the log says first."""
        self._accepted = 0

    def play(self, line: log.Line) -> list[Mismatch]:
        """Do what a line says and return the values that differ from it, the most significant first."""
        if self.model is not None:
            self.model.watch(line)
        return list(self._play(line))

    def _play(self, line: log.Line) -> Iterator[Mismatch]:
        match line:
            case log.Header():
                yield from self._start(line)
            case log.Negotiation():
                yield from self._negotiate(line)
            case log.Batch():
                yield from self._submit(line)
                return
            case log.Qmp():
                yield from self._set_property(line)
            case log.DeviceReset(accepted=features):
                self._accepted = self._accepted if features is None else features
                yield from self._bring_up(line.features_ok)
            case log.SystemReset():
                self._owner.system_reset()
                yield from _observed(line.before_init, self._transport.observe(), "before initialisation, ")
                yield from self._bring_up(line.features_ok)
            case log.MigrateStart() | log.MigrateCancel():
                self._owner.set_busy(line.migration not in MIGRATION_IDLE)
            case log.AvailRing():
                self.driver.set_ring(line.flags, line.used_event)
            case log.FinalStateSweep():
                yield from self._sweep(line)
                return
            case _:
                assert_never(line)
        yield from self._seen(line, self._transport.observe())

    def _start(self, line: log.Header) -> Iterator[Mismatch]:
        self.driver = ScriptedDriver(self._transport, self._owner, line.ring_size)
        self._accepted = line.accepted
        yield from _compared("features offered", line.offered, self._transport.offered(), hex_=True)
        yield from _compared("queue size", line.queue_size, self._transport.queue_size())
        yield from _observed(line.before, self._transport.observe(), "before initialisation, ")
        yield from self._bring_up(line.features_ok)

    def _negotiate(self, line: log.Negotiation) -> Iterator[Mismatch]:
        self._accepted = line.wanted & self._transport.offered()
        yield from _compared("features offered", line.offered, self._transport.offered(), hex_=True)
        yield from _compared("features accepted", line.accepted, self._accepted, hex_=True)
        yield from self._bring_up(line.features_ok)

    def _bring_up(self, features_ok: bool) -> Iterator[Mismatch]:
        yield from _compared("FEATURES_OK", features_ok, self.driver.bring_up(self._accepted))

    def _submit(self, line: log.Batch) -> Iterator[Mismatch]:
        if self._ours is not None:
            self._ours.order = line.order or ()
        result = self.driver.submit([sent.chain_request() for sent in line.reqs], line.times)
        if self._ours is not None:
            # For this batch alone.
            self._ours.order = ()
        yield from _compared("chains returned", line.used, result.returned)
        for number, sent in enumerate(line.reqs):
            name = f"request {number + 1}, "
            yield from _compared(f"{name}used length", sent.used_len, result.used_len(number))
            if sent.data != (data := result.data[number].hex()):
                yield f"{name}answer", _spelled(sent.data), f"{_spelled(data)}{self._why(line, data)}"
        yield from self._seen(line, result.seen)

    def _why(self, line: log.Batch, data: str) -> str:
        """The reason when our device refused, where it is certain which request it is about."""
        refusal = self._ours.device.mem.refusal if self._ours is not None else None
        return f": {refusal}" if refusal and len(line.reqs) == 1 and not data.startswith(_ACK) else ""

    def _set_property(self, line: log.Qmp) -> Iterator[Mismatch]:
        refusal = self.driver.set_requested_size(line.value)
        said = (line.refusal, refusal)
        # Both refuse, each in words of its own.
        if not self._same_words and None not in said:
            return
        yield from _compared(f"requested-size = {line.value:#x}, refusal", *said)

    def _sweep(self, line: log.FinalStateSweep) -> Iterator[Mismatch]:
        swept = self.driver.sweep()
        counted_first = [(count, state) for state, count in swept.runs]
        if line.state_runs_over_usable_blocks != counted_first:  # either order is met in the wild
            yield from _compared("states of all blocks", line.state_runs_over_usable_blocks, swept.runs)
        yield from self._seen(line, swept.seen)

    def _seen(self, line: log.Line, ours: Observation) -> Iterator[Mismatch]:
        yield from _observed(line, ours)
        if line.size is not None:
            yield from _compared("size that the owner reads", line.size, self._owner.size(), hex_=True)


def _observed(recorded: log.Observed, ours: Observation, where: str = "") -> Iterator[Mismatch]:
    """Compare all registers."""
    for name in (field.name for field in fields(Config)):
        yield from _compared(
            f"{where}config {name}", getattr(recorded.cfg, name), getattr(ours.config, name), hex_=True
        )
    yield from _compared(f"{where}status", recorded.status, ours.status)
    yield from _compared(f"{where}interrupt status", recorded.isr, ours.isr)
    yield from _compared(f"{where}configuration generation", recorded.gen, ours.generation)


def _compared(what: str, recorded: object, ours: object, *, hex_: bool = False) -> Iterator[Mismatch]:
    if recorded != ours:
        yield (what, f"{recorded:#x}", f"{ours:#x}") if hex_ else (what, recorded, ours)


def _spelled(data: str) -> str:
    """An answer in hexadecimal, with its type's name where it has one."""
    kind = int.from_bytes(bytes.fromhex(data[:4]), "little")
    known = kind < len(ResponseType) and len(data) >= 4
    return f"{data} ({ResponseType(kind).name})" if known else data
