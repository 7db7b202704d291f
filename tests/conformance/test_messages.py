import json
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from virtiomem.cli.main import main
from virtiomem.conformance import fuzz, replay, suite
from virtiomem.conformance.messages import CommandDevice, command_target
from virtiomem.conformance.rules import selected
from virtiomem.conformance.subject import load_target
from virtiomem.conformance.suite import RuleOutcome
from virtiomem.conformance.targets import EmbeddedTarget
from virtiomem.conformance.testbench import SPEC
from virtiomem.errors import BackendError, BackendTimeout, UsageError
from virtiomem.transport.virtio_transport import DeviceSpec

CHILD = str(Path(__file__).parent / "child.py")
LOGS = Path(__file__).parents[1] / "data" / "device-logs"


def child(*arguments: str) -> list[str]:
    return [sys.executable, CHILD, *arguments]


@pytest.mark.long
def test_a_child_fares_as_the_same_device_in_this_process() -> None:
    rules = selected(["CFG-9", "CFG-10", "PLUG-4", "PLUG-5", "UAPI-1", "SOUND-6", "SOUND-21", "VIRTIO"])
    ours = suite.run(EmbeddedTarget(), rules).verdicts
    theirs = suite.run(command_target(child()), rules).verdicts
    virtio = [verdict for verdict in theirs if "messages" in verdict.seen]
    assert {verdict.rule.id for verdict in virtio} == {rule.id for rule in selected(["VIRTIO"])}
    assert {verdict.outcome for verdict in virtio} == {RuleOutcome.NOT_APPLICABLE}
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if b not in virtio]
    assert [(b.rule.id, b.outcome, b.seen) for _, b in pairs] == [(a.rule.id, a.outcome, a.seen) for a, _ in pairs]
    assert len(pairs) == 7


@pytest.mark.long
def test_a_child_is_fuzzed_and_replays() -> None:
    assert not fuzz.fuzz(command_target(child()), seed=3, requests=120).findings
    outcome = replay.replay(LOGS / "s10_busy.jsonl.gz", command_target(child()))
    assert (outcome.requests, outcome.differing) == (2001, 0)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("die", "exited with code 3 at request: out of ideas"),
        ("nonsense", "the answer to request is not a JSON object: 'no JSON'"),
        ("list", "the answer to request is not a JSON object: '[1]'"),
        ("half", "the answer to request has bytes that are not hexadecimal: '0'"),
        ("short", "the answer to request must be 10 bytes, not 2: 0000"),
        ("empty", "the answer to request lacks 'bytes': '{}'"),
        ("flood", "bytes in answer to request"),
    ],
)
def test_faults_of_a_child_are_verdicts(fault: str, words: str) -> None:
    report = suite.run(command_target(child(fault, "1")), selected(["PLUG-6", "STATE-5", "STATE-6", "STATE-7"]))
    plug, *states = report.verdicts
    assert all(verdict.lost and verdict.outcome is RuleOutcome.FAIL for verdict in (plug, *states[:2]))
    assert words in plug.seen
    assert plug.reproducer[-1].endswith("the device was lost")
    assert plug.said == (("one", "two", "out of ideas") if fault == "die" else ())
    assert states[2].seen.startswith("not tried")


def test_a_silent_child_is_given_up() -> None:
    with pytest.raises(BackendTimeout, match=r"no answer to open within 0\.2 s; an answer must be flushed"):
        CommandDevice(child("hang"), SPEC, seconds=0.2)
    device = CommandDevice(child("hang", "1"), SPEC, seconds=PATIENCE)
    device._seconds = 0.2  # from now on: on a busy machine a Python takes longer to start
    with pytest.raises(BackendTimeout, match=r"no answer to request within 0\.2 s$"):
        device.request(bytes(24))
    device.close()


@pytest.mark.parametrize(
    ("text", "words", "first"),
    [
        (
            "thread 'main' panicked at a.rs:3:\nbitmap corrupt\n" + "at frame\n" * 40,
            "panicked at a.rs:3: bitmap corrupt",
            "thread",
        ),
        ("==7==ERROR: AddressSanitizer: SEGV\n#0 main\n==7==ABORTING", "AddressSanitizer: SEGV", "==7==ERROR"),
        ("d: d.c:9: main: Assertion `x' failed.", "Assertion `x' failed.", "d: d.c"),
        ("\n".join(map(str, range(50))), "49", "30"),
    ],
    ids=["Rust", "sanitizer", "assert", "anything"],
)
def test_the_reason_is_kept_of_what_a_child_says_last(text: str, words: str, first: str) -> None:
    with pytest.raises(BackendError) as caught:
        CommandDevice([sys.executable, "-c", f"import os; os.write(2, {text.encode()!r}); os.abort()"], SPEC)
    assert str(caught.value).endswith(f"died of signal 6 at open: {words}") or words in str(caught.value)
    assert caught.value.said[0].startswith(first)
    assert len(caught.value.said) <= 20


def test_a_child_that_makes_no_device_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for command, words in (
        ("/no/such/program", "/no/such/program: No such file or directory"),
        (f"{sys.executable} {CHILD} die", "exited with code 3 at open: out of ideas"),
        ("true", "at open"),
    ):
        assert main(["device", "check", "--command", command, "--rule", "CFG-5"]) == 1
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def test_a_child_that_vanishes_later_fails_the_rules_that_are_left() -> None:
    target = command_target(child())
    rules = selected(["CFG-10", "CFG-11"])
    opened = target.open

    def once(spec: DeviceSpec) -> object:
        if seen:
            raise BackendError("the program is gone")
        seen.append(spec)
        return opened(spec)

    seen: list[DeviceSpec] = []
    target.open = once  # type: ignore[assignment, method-assign]
    report = suite.run(target, rules)
    assert report.verdicts[-1].seen == "there is no device any more: the program is gone"
    assert report.breaks(report.verdicts[-1])


def test_answers_without_a_number_are_reported() -> None:
    script = "import sys\nfor line in sys.stdin: print('{\"features\": -1}', flush=True)"
    with pytest.raises(BackendError, match="the answer to open needs features, a number below 2\\^64, not '-1'"):
        CommandDevice([sys.executable, "-c", script], SPEC)


def test_a_python_object_is_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine_for_the_suite.py").write_text(
        "from virtiomem.conformance.targets import EmbeddedTarget\n"
        "def good():\n    return EmbeddedTarget()\n"
        "def bad():\n    return 3\n"
        "def broken():\n    return 1 / 0\n"
    )
    assert main(["device", "check", "--subject", "mine_for_the_suite:good", "--rule", "STATE", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["conforms"] is True
    for factory, words in (
        ("bad", "what it returns is not a conformance.testbench.Target: it has no name, release"),
        ("broken", "ZeroDivisionError: division by zero"),
        ("missing", "AttributeError"),
    ):
        with pytest.raises(UsageError) as caught:
            load_target("mine_for_the_suite", factory)
        assert words in str(caught.value)
    with pytest.raises(UsageError, match="No module named 'not_there_at_all'"):
        load_target("not_there_at_all", "x")
    assert main(["device", "check", "--subject", "no colon"]) == 2
    assert "is not MODULE:FACTORY" in capsys.readouterr().err
