"""The fuzzer, with one of our devices in the place of the real one: silent when it is right, terse when it is wrong."""

from io import StringIO
from pathlib import Path
from random import Random

import pytest

from tests.conformance.mutants import (
    Break,
    Mutant,
    dies_of_unplugging_all,
    gives_up_without_a_word,
    queue_that,
    refuses,
    shows,
    swap,
    tells,
)
from virtiomem.conformance import log
from virtiomem.conformance.formats import figures_to_dict
from virtiomem.conformance.fuzz import Figures, fuzz
from virtiomem.conformance.malformed_chains import DIRECT_SHAPES, INDIRECT_SHAPES
from virtiomem.conformance.moves import MoveGenerator, descriptors, make_case
from virtiomem.conformance.record import Recorder, Submit
from virtiomem.conformance.replay import replay
from virtiomem.conformance.scripted_driver import ChainRequest, ScriptedDriver
from virtiomem.conformance.targets import EmbeddedTarget, realize
from virtiomem.conformance.testbench import DRIVER_FEATURES, SPEC
from virtiomem.device.virtqueue import VirtQueue
from virtiomem.errors import BackendError, ProtocolError
from virtiomem.report.terminal import make_console
from virtiomem.report.terminal.fuzzing import show_figures, told
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.wire.mem import Request, RequestType, ResponseType, State

SEED = 1


def test_a_device_like_ours_does_not_differ() -> None:
    figures = fuzz(EmbeddedTarget(), seed=3, requests=800)
    assert not figures.findings
    assert figures.requests >= 800
    assert {"ACK", "NACK", "ERROR", "not returned"} <= set(figures.answers)


def test_a_late_device_does_not_differ() -> None:
    figures = fuzz(EmbeddedTarget(0.00005), seed=3, requests=300)
    assert not figures.findings


def test_a_batch_answered_in_another_order_is_replayed_in_that_order(tmp_path: Path) -> None:
    kept = tmp_path / "log.jsonl"
    plugs = [Request(RequestType.PLUG, 4 << 30, count).pack() for count in (3, 2, 1, 4)]  # one of them wins
    with EmbeddedTarget(disorder=True).open(SPEC) as device:
        recorder = Recorder(ScriptedDriver(device.transport, device.owner), DRIVER_FEATURES)
        lines = [recorder.start(), recorder.play(Submit(tuple(ChainRequest(plug, (24,), (10,)) for plug in plugs)))]
    kept.write_bytes(log.dumps(lines))
    assert isinstance(lines[1], log.Batch)
    assert lines[1].order not in (None, [0, 1, 2, 3])
    assert replay(kept).first is None


def test_the_same_seed_makes_the_same_moves() -> None:
    kept: list[list[log.Operation]] = []
    for _ in range(2):
        lines: list[log.Operation] = []
        fuzz(EmbeddedTarget(), seed=5, requests=300, on_line=lambda _, line, lines=lines: lines.append(line))  # type: ignore[misc]
        kept.append(lines)
    assert kept[0] == kept[1]


@pytest.fixture(scope="module")
def lines() -> list[log.Operation]:
    """What a run makes that is long enough for every kind of move."""
    kept: list[log.Operation] = []
    fuzz(EmbeddedTarget(), seed=SEED, requests=3000, on_line=lambda _, line: kept.append(line))
    return kept


def test_every_kind_of_move_is_made(lines: list[log.Operation]) -> None:
    assert {type(line) for line in lines} == set(log.Operation.__args__)


def miscounts(transport: EmbeddedTransport) -> None:
    swap(
        transport,
        "size",
        lambda: transport.device.mem.plugged_size + 4096 * (transport.device.mem.plugged_size > 1 << 25),
    )


@pytest.mark.parametrize(
    ("break_", "what", "most"),
    [
        (tells(State.MIXED, State.PLUGGED), "answer", 4),
        (refuses(RequestType.UNPLUG_ALL, ResponseType.ERROR, lambda mem: bool(mem.plugged_size)), "answer", 4),
        (
            shows(usable_region_size=lambda mem: min(mem.usable_region_size, mem.requested_size)),
            "usable_region_size",
            3,
        ),
        (gives_up_without_a_word, "interrupt status", 4),
        (miscounts, "size that the owner reads", 4),
    ],
)
def test_a_difference_is_shrunk_to_what_shows_it(break_: Break, what: str, most: int) -> None:
    figures = fuzz(Mutant(break_), seed=1, requests=20_000)
    (finding,) = figures.findings
    assert what in finding.difference.what
    assert len(finding.lines) <= most
    assert sum(len(line.reqs) for line in finding.lines if isinstance(line, log.Batch)) <= most


def returns_every_chain_twice(transport: EmbeddedTransport) -> None:
    push = VirtQueue.push
    queue_that("push", lambda queue, element, data: push(queue, element, data) or push(queue, element, data))(transport)


@pytest.mark.parametrize(
    ("break_", "broke", "answered"),
    [
        (dies_of_unplugging_all, "QEMU was killed by SIGSEGV", "UNPLUG_ALL → ACK"),
        (returns_every_chain_twice, "the device returned 2 chains where 1 were available", " → "),
    ],
)
def test_moves_that_break_a_device_are_a_finding_and_end_with_the_last(
    break_: Break, broke: str, answered: str
) -> None:
    (finding,) = fuzz(Mutant(break_), seed=1, requests=20_000).findings
    assert (finding.difference.what, finding.difference.recorded) == ("the device broke", broke)
    assert len(finding.lines) <= 4
    assert answered in told(finding.lines[-1])[0]


def test_a_device_that_is_killed_from_outside_is_no_finding() -> None:
    figures: list[Figures] = []

    def dies_the_first_time(transport: EmbeddedTransport) -> None:
        if not figures:
            dies_of_unplugging_all(transport)

    def keep(counted: Figures, _: log.Operation) -> None:
        figures[:] = [counted]

    with pytest.raises(BackendError, match="killed by SIGSEGV"):
        fuzz(Mutant(dies_the_first_time), seed=1, requests=20_000, on_line=keep)
    assert figures[0].requests > 0
    assert (figures[0].seconds > 0, figures[0].findings) == (True, [])


def test_what_the_real_device_answered_is_a_log_like_any_other(tmp_path: Path) -> None:
    kept = log.Writer()
    figures = fuzz(EmbeddedTarget(), seed=7, requests=500, on_line=lambda _, line: kept.write(line))
    (tmp_path / "log").write_bytes(kept.finish())
    outcome = replay(tmp_path / "log")
    assert (outcome.first, outcome.requests) == (None, figures.requests)


def test_a_batch_fits_the_queue() -> None:
    rng = Random(11)
    case = make_case(rng)
    transport = EmbeddedTransport(realize(case.spec))
    recorder = Recorder(ScriptedDriver(transport, transport), case.features)
    recorder.start()
    moves = MoveGenerator(rng, transport.device)
    submitted = [move for move in (moves.next() for _ in range(400)) if isinstance(move, Submit)]
    assert max(len(move.chains) for move in submitted) > 20
    for move in submitted:
        recorder.play(move)


@pytest.mark.parametrize(
    "layout", [None, "indirect", *DIRECT_SHAPES, *INDIRECT_SHAPES, "scrambled:1", "indirect_scrambled:1"]
)
def test_a_request_takes_as_many_descriptors_as_the_generator_thinks(layout: str | None) -> None:
    chain = ChainRequest(Request(RequestType.STATE, 0, 1).pack(), (24,), (10,), layout)
    transport = EmbeddedTransport(realize(make_case(Random(1)).spec))
    fitting = 16 // descriptors(chain)
    recorder = Recorder(ScriptedDriver(transport, transport, 16), 1 << 32)
    recorder.start()
    recorder.play(Submit((chain,) * fitting))
    with pytest.raises(ProtocolError, match="does not fit a queue of 16"):
        recorder.play(Submit((chain,) * (fitting + 1)))


def printed(figures: Figures) -> str:
    out = StringIO()
    show_figures(make_console(out), figures)
    return out.getvalue()


def test_figures_and_findings_are_reported_in_words() -> None:
    text = printed(fuzz(Mutant(tells(State.MIXED, State.PLUGGED)), seed=1, requests=20_000))
    assert "mutant against the embedded device, seed 1" in text
    assert "  differences  1" in text
    assert "  device  0000000000000000" in text
    assert "; initialise, features 0x" in text
    assert "STATE 0x" in text


def test_figures_and_findings_are_reported_as_json() -> None:
    told = figures_to_dict(fuzz(Mutant(tells(State.MIXED, State.PLUGGED)), seed=1, requests=20_000))
    (finding,) = told["findings"]
    assert finding["log"][0]["op"] == "header"
    assert finding["log"][-1]["reqs"][0]["in"].endswith("0200")


def test_every_line_has_words(lines: list[log.Operation]) -> None:
    words = {type(line): told(line)[0] for line in lines}
    assert words[log.FinalStateSweep] == "sweep"
    assert words[log.MigrateStart] == "start a migration"
    assert words[log.Qmp].startswith("requested-size = ")
