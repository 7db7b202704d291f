"""Differential fuzzing: random moves on a real device and on ours, everything observable compared after each.

Every case records a log on a fresh device and replays it, line by line, on ours. What differs is shrunk to the fewest
moves, and requests in them, that still differ.

**Why two devices.** The right answer to a random request need not be known: the same bytes go to both, and after each
move answers, configuration space, interrupts and sizes are compared. Either of the two may be wrong; a difference says only
that they disagree, and where. A block map that has come to differ without any answer showing it is caught by the sweep at
the end of a case, which asks for the state of every usable block.

**Seeds.** Case n of a seed has a generator of its own, made from "seed/n", so that cases do not depend on one another and
any machine makes the same ones. Within a case the moves depend on the state of *our* device (`moves`), which is the
real one's for as long as nothing differs; so the moves up to the first difference are always the same. A limit of requests
or a move that a target cannot make ends or thins out a case, but changes none that came before.

**Shrinking.** From all moves of the case pieces of half, a quarter, an eighth and so on are left out, as long as what is
left still differs; then the same with the requests inside each move. Each try runs on two fresh devices, 300 at most,
so that a slow target bounds the effort. The difference that remains need not be the one that was found: any will do. A device
that *broke* (gone, silent) is a finding only if the same moves break it again; else it is an error of the environment.

**Policies.** Where a device and QEMU's may differ, the model follows the device in what is accepted (`policies`), move for
move, and is in the same state as before for whatever comes next. A shape of device that the target refuses is left out.

**Not generated,** on purpose: devices that cannot be realized (`make_case` makes those that QEMU accepts); more
descriptors than the ring has, which no driver can put there; races of two notifications, and anything that depends on
time, because neither device then has one right answer.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random
from typing import TypeVar

from virtiomem.conformance import log
from virtiomem.conformance.moves import Case, MoveGenerator, make_case
from virtiomem.conformance.policies import FollowingModel
from virtiomem.conformance.record import Move, Recorder, Submit, SweepStates
from virtiomem.conformance.replay import Player, ReplayDifference, realize
from virtiomem.conformance.scripted_driver import ChainRequest, ScriptedDriver
from virtiomem.conformance.testbench import DeviceUnderTest, HasShape, Target, described, same_words
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.wire.mem import RESPONSE_SIZE, Response

MOVES_PER_CASE = 1500
_TRIALS = 300
"""Tries to make a finding smaller."""
_TIMEOUT = 25
"""A try that waits in vain for an answer counts as this many."""
_REFUSED = 100
"""Refused shapes, before any device was made, after which the run gives up."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference, and the shortest log known to show it."""

    case: int
    difference: ReplayDifference
    lines: tuple[log.Operation, ...]
    policies: tuple[str, ...] = ()
    """Policies that would explain it if they were accepted."""
    found_after: int = 0
    """Length of the log that first showed a difference; that of `lines` if it could not be shortened."""
    said: tuple[str, ...] = ()
    """Last lines that a program said on standard error, before it broke."""


@dataclass(slots=True)
class Figures:
    """Result of a run: how much was compared, and what differed."""

    target: str
    seed: int
    cases: int = 0
    moves: Counter[str] = field(default_factory=Counter)
    """By the line they make in a log."""
    requests: int = 0
    swept: int = 0
    """Blocks whose STATE was asked for in sweeps; not counted as requests."""
    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    accepted: Counter[str] = field(default_factory=Counter)
    """How often the model followed the device, by policy."""
    refused: dict[str, str] = field(default_factory=dict)
    """Shapes of device that were refused, each with the words."""
    findings: list[Finding] = field(default_factory=list)

    def count(self, line: log.Operation) -> None:
        """Take a compared line into account."""
        self.moves[type(line).__name__] += 1
        if isinstance(line, log.Batch):
            self.requests += line.requests
            self.answers.update(_answer(sent) for sent in line.reqs)
        elif isinstance(line, log.FinalStateSweep):
            self.swept += sum(length for _, length in line.state_runs_over_usable_blocks)


OnLine = Callable[[Figures, log.Operation], None]


def fuzz(
    target: Target,
    *,
    seed: int,
    requests: int,
    on_line: OnLine | None = None,
    findings: int = 1,
    accept: Collection[str] = (),
) -> Figures:
    """Compare that many requests, case after case, or until that many findings are made; `accept`: names of `policies`.

    The same seed makes the same cases. A device that breaks (it is gone, silent, or returns what it was not given) is a
    finding when the same moves break it again; else that is raised, as BackendError or ProtocolError. DeviceError when the
    target makes none of the devices.
    """
    figures = Figures(target.name, seed)
    started = time.monotonic()
    try:
        for number in count():
            if figures.requests >= requests or len(figures.findings) >= findings:
                break
            finding = _play_case(target, number, figures, requests, on_line, frozenset(accept))
            if finding is not None:
                figures.findings.append(finding)
    finally:
        figures.seconds = time.monotonic() - started
    return figures


def _play_case(
    target: Target, number: int, figures: Figures, requests: int, on_line: OnLine | None, accept: frozenset[str]
) -> Finding | None:
    # A text, which gives the same numbers in every process; a tuple is not taken at all (Python 3.11).
    rng = Random(f"{figures.seed}/{number}")
    case = replace(make_case(rng), accept=accept)
    if isinstance(target, HasShape):
        case = replace(case, spec=target.nearest(case.spec))
    moves: list[Move] = []
    try:
        with Pair.open(target, case) as pair:
            figures.cases += 1
            generator = MoveGenerator(rng, pair.transport.device, case.ring_size)
            pair.listen(lambda line: _heard(figures, line, on_line))
            try:
                _play_moves(pair, generator, moves, lambda: figures.requests < requests)
            finally:
                # Also of a case that broke the device: what was followed until then counts.
                figures.accepted.update(pair.model.followed)
    except DeviceError as refusal:
        figures.refused[described(case.spec)] = str(refusal)
        # A target that has made one device can make others; one that refuses all from the start would be asked forever.
        if not figures.cases and len(figures.refused) >= _REFUSED:
            raise DeviceError(
                f"{target.name}: {_REFUSED} shapes refused, the last {described(case.spec)}: {refusal}"
            ) from None
        return None
    if pair.difference is None:
        return None
    trials = Trials(target, pair.finding(number), case)
    # Broken once is no proof: a busy machine, or one that was out of memory, breaks any device.
    if pair.broke is not None and not trials.differs(moves):
        raise pair.broke
    return shrink(trials, moves)


def _play_moves(pair: "Pair", generator: MoveGenerator, moves: list[Move], goes_on: Callable[[], bool]) -> None:
    """Make moves until something differs, or enough were made, and ask for the state of every block; they are left in
    `moves`.
    """
    while pair.difference is None and len(moves) < MOVES_PER_CASE and goes_on():
        moves.append(generator.next())
        try:
            pair.play(moves[-1])
        except NotImplementedError:  # there is no way to make this move there
            moves.pop()
    # Block maps may differ although no answer has shown it yet.
    moves.append(SweepStates())
    pair.play(moves[-1])


def _heard(figures: Figures, line: log.Operation, on_line: OnLine | None) -> None:
    figures.count(line)
    if on_line is not None:
        on_line(figures, line)


class Pair:
    """A real device and ours, making the same moves."""

    def __init__(self, recorder: Recorder, accept: Collection[str], *, same_words: bool) -> None:
        """`accept`: policies in which ours follows the real device; `same_words`: the real one refuses in QEMU's words."""
        self._recorder = recorder
        self._listener: Callable[[log.Operation], None] | None = None
        self.lines: list[log.Operation] = []
        self.difference: ReplayDifference | None = None
        """The first."""
        self.broke: BackendError | ProtocolError | None = None
        """Why the real device broke; this counts as a difference."""
        header = recorder.start()
        self.transport: EmbeddedTransport = realize(header, "the real device", accept)
        self._player = Player(DeviceUnderTest(self.transport, self.transport), same_words=same_words)
        assert self._player.model is not None
        self.model: FollowingModel = self._player.model
        self._compare(header)

    @classmethod
    @contextmanager
    def open(cls, target: Target, case: Case) -> "Iterator[Pair]":
        """Make both devices, with fresh memory, and bring them up; the moves end early when the real one breaks."""
        # What an earlier case has written into guest memory would show in reads of a scrambled chain.
        target.close()
        pair: Pair | None = None
        try:
            with target.open(case.spec) as device:
                driver = ScriptedDriver(device.transport, device.owner, case.ring_size)
                same = same_words(target)
                recorder = Recorder(driver, case.features, target.release.name, target.machine, own_words=not same)
                pair = cls(recorder, case.accept, same_words=same)
                yield pair
        except (BackendError, ProtocolError):
            if pair is None or pair.broke is None:
                raise

    def finding(self, case: int, found_after: int = 0) -> Finding:
        """The difference, with what led to it."""
        assert self.difference is not None
        lines = tuple(self.lines)
        said = self.broke.said if isinstance(self.broke, BackendError) else ()
        return Finding(case, self.difference, lines, tuple(self.model.unfollowed), found_after or len(lines), said)

    def listen(self, listener: Callable[[log.Operation], None]) -> None:
        """Tell `listener` each line, the first one now."""
        self._listener = listener
        for line in self.lines:
            listener(line)

    def play(self, move: Move) -> None:
        """Make a move on both, unless they differ already; raises what broke the real one, once that is noted."""
        # From the first difference on the two are in different states, and all that follows differs.
        if self.difference is not None:
            return
        try:
            line = self._recorder.play(move)
        except (BackendError, ProtocolError) as broke:
            # As our device makes it, for the real one cannot say how it would have ended.
            self.lines.append(self._recorder.twin(self._player.driver).play(move))
            self.difference = ReplayDifference(len(self.lines), "the device broke", str(broke), "as shown")
            self.broke = broke
            raise
        self._compare(line)

    def _compare(self, line: log.Operation) -> None:
        self.lines.append(line)
        if self._listener is not None:
            self._listener(line)
        # The first alone: what follows from a difference differs, too.
        for what, recorded, ours in self._player.play(line)[:1]:
            self.difference = ReplayDifference(len(self.lines), what, str(recorded), str(ours))


def shrink(trials: "Trials", moves: Sequence[Move]) -> Finding:
    """Shrink a finding to the fewest moves, and requests in them, by leaving out ever smaller pieces while it still differs."""
    least = _drop(moves, trials.differs)
    for index, move in enumerate(least):
        if isinstance(move, Submit):
            least = _with(least, index, _drop(move.chains, partial(trials.differs_with, least, index)))
    return trials.smallest


class Trials:
    """Tries of fewer moves on fresh devices; remembers the smallest that differed."""

    def __init__(self, target: Target, found: Finding, case: Case) -> None:
        self._target = target
        self._case = case
        self._left = _TRIALS
        self.smallest = found

    def differs(self, moves: Sequence[Move]) -> bool:
        """True when these moves show a difference."""
        if self._left <= 0:
            return False
        with Pair.open(self._target, self._case) as pair:
            for move in moves:
                pair.play(move)
        self._left -= _TIMEOUT if isinstance(pair.broke, BackendTimeout) else 1
        if pair.difference is None:
            return False
        self.smallest = pair.finding(self.smallest.case, self.smallest.found_after)
        return True

    def differs_with(self, moves: Sequence[Move], index: int, chains: Sequence[ChainRequest]) -> bool:
        """True when the moves, with these requests in one of them, show a difference."""
        return self.differs(_with(moves, index, chains))


Item = TypeVar("Item")


def _drop(items: Sequence[Item], differs: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """Leave out pieces of half, a quarter, … of the items, down to single ones, wherever it still differs."""
    kept = list(items)
    size = max(len(kept) // 2, 1)
    while size:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if differs(fewer):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept


def _with(moves: Sequence[Move], index: int, chains: Sequence[ChainRequest]) -> list[Move]:
    changed = moves[index]
    assert isinstance(changed, Submit)
    return [*moves[:index], Submit(tuple(chains), changed.times), *moves[index + 1 :]]


def _answer(sent: log.Sent) -> str:
    if sent.used_len is None:
        return "not returned"
    try:
        return Response.unpack(bytes.fromhex(sent.data)[:RESPONSE_SIZE]).type.name
    except ProtocolError:
        return "elsewhere"  # a scrambled chain
