import gzip
import json
import re
import socket
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from junitparser import JUnitXml

from virtiomem.cli import arguments
from virtiomem.cli.main import main

LOGS = Path(__file__).parents[1] / "data" / "device-logs"
SMALL = LOGS / "s08_small.jsonl.gz"


def test_a_replay_without_a_difference_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "replay", str(SMALL), str(LOGS / "features.jsonl")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("s08_small.jsonl.gz: 2000 requests in 2021 operations, no difference")
    assert second.endswith("features.jsonl: 0 requests in 36 operations, no difference")


@pytest.fixture
def different(tmp_path: Path) -> Path:
    log = tmp_path / "different.jsonl"
    text = (LOGS / "features.jsonl").read_text().splitlines()
    log.write_text("\n".join([text[0], text[1].replace('"gen": 0', '"gen": 7')]))
    return log


def test_a_replay_with_a_difference_shows_the_first(capsys: pytest.CaptureFixture[str], different: Path) -> None:
    assert main(["device", "replay", str(different)]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("0 requests in 2 operations, 1 of them different; the first:")
    assert second == "  line 2: configuration generation: recorded 7, ours 0"


def test_a_replay_speaks_json(capsys: pytest.CaptureFixture[str], different: Path) -> None:
    assert main(["device", "replay", "-J", str(different)]) == 1
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["operations"], outcome["differing"]) == (2, 1)
    assert outcome["first"] == {"line": 2, "what": "configuration generation", "recorded": "7", "ours": "0"}


def test_a_file_that_is_not_a_log_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("hello\n")
    assert main(["device", "replay", str(tmp_path / "log")]) == 2
    assert "log:1: not a line of a request log" in capsys.readouterr().err


def test_what_was_replayed_before_a_file_that_is_not_a_log_was_reported(
    capsys: pytest.CaptureFixture[str], different: Path, tmp_path: Path
) -> None:
    assert main(["device", "replay", str(different), str(tmp_path / "missing")]) == 2
    told = capsys.readouterr()
    assert told.out.startswith(f"{different}: ")
    assert told.err == f"virtiomem: {tmp_path / 'missing'}: No such file or directory\n"


def test_a_check_shows_each_rule_and_how_it_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--embedded", "--rule", "STATE-5", "--rule", "UNPLUG-D1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "embedded device (models QEMU 7.2)",
        "",
        "UNPLUG request (5.15.6.4.1)",
        "  UNPLUG-D1  MUST       unseen  the driver looks at the response type only",
        "                                  binds the driver, not the device",
        "",
        "STATE request (5.15.6.6.2)",
        "  STATE-5    MUST       pass    PLUGGED when all blocks are plugged",
        "                                  all of 10..15, and parts of them",
        "",
        "2 rules: 1 pass, 0 fail (0 of them MUST or MUST NOT), 0 not applicable, 1 not to be seen from the driver's side",
    ]


def test_a_broken_must_fails_the_check_and_says_how_to_see_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--rule", "plug-4"]) == 1
    out = capsys.readouterr().out
    assert "Failure 1: PLUG-4 (5.15.6.3.2, MUST): ERROR when any block is plugged already" in out
    assert "    4. PLUG blocks 0..0 → NACK\n" in out


def test_a_check_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--rule", "PLUG", "-J"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["conforms"], report["counts"]["fail"]) == (False, 1)
    broken = next(rule for rule in report["rules"] if rule["outcome"] == "fail")
    assert (broken["rule"], broken["level"], broken["section"]) == ("PLUG-4", "MUST", "5.15.6.3.2")
    assert broken["reproducer"][-1] == "PLUG blocks 0..0 → NACK"


def test_a_check_writes_junit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    junit = tmp_path / "report.xml"
    assert main(["device", "check", "--rule", "PLUG", "--rule", "INI-3", "--junit", str(junit)]) == 1
    assert capsys.readouterr().out
    suite = ET.parse(junit).getroot()  # noqa: S314 - our own file
    assert suite.attrib == {
        "name": "virtio-mem conformance: embedded device (models QEMU 7.2)",
        "tests": "9",
        "failures": "1",
        "errors": "0",
        "skipped": "2",
    }
    (failure,) = suite.iter("failure")
    assert failure.attrib["message"].endswith("answered NACK")
    assert "PLUG blocks 0..0 → NACK" in (failure.text or "")


def test_what_is_skipped_is_not_tried_and_says_why(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    badge, xml = tmp_path / "badge.svg", tmp_path / "report.xml"
    skip = ["--skip", "plug-4=refused as NACK, bug 12", "--skip", "INI= not today "]
    outputs = ["--junit", str(xml), "--badge", str(badge)]
    assert main(["device", "check", "--rule", "PLUG", "--rule", "INI-3", *skip, *outputs]) == 0
    out = capsys.readouterr().out
    assert re.search(r"PLUG-4 +MUST +skipped .*\n.*\n? +refused as NACK, bug 12\n", out)
    assert out.endswith("2 skipped\n")
    cases = {case.name.split()[0]: case.result for suite in JUnitXml.fromfile(str(xml)) for case in suite}
    assert [(type(why).__name__, why.message) for name in ("PLUG-4", "INI-3") for why in cases[name]] == [
        ("Skipped", "skipped: refused as NACK, bug 12"),
        ("Skipped", "skipped: not today"),
    ]
    picture = ET.parse(badge).getroot()  # noqa: S314 - our own file
    assert (
        picture.get("aria-label") == f"virtio-mem conformance: {re.findall('[0-9]+ pass, 0 fail', out)[0]}, 2 skipped"
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--skip", "PLUG-4"], "argument --skip: 'PLUG-4' is not ID=REASON, such as PLUG-4='known, bug 123'"),
        (["--skip", "DANCE=no"], "no rule or group 'DANCE'"),
        (["--rule", "DANCE"], "no rule or group 'DANCE' (groups: CFG, INI, OPS,"),
        (["--junit", "/nowhere/report.xml"], "/nowhere"),
        (["--embedded", "--qemu"], "not allowed with argument"),
    ],
)
def test_a_check_that_cannot_be_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["device", "check", *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check --qemu", "fuzz --qemu"])
@pytest.mark.parametrize("scheme", ["", "qmp:"])
def test_a_running_machines_monitor_is_refused_and_left_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, scheme: str
) -> None:
    path = f"{tmp_path}/vm1.sock"
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.bind(path)
        monitor.listen()
        monitor.setblocking(False)
        assert main(["device", *command.split(), f"{scheme}{path}"]) == 1
        with pytest.raises(BlockingIOError):
            monitor.accept()
    assert "not a program: a QEMU of our own is started, and one that runs is left alone\n" in capsys.readouterr().err


def test_a_qemu_that_is_missing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--qemu", "/no/qemu"]) == 1
    assert capsys.readouterr().err == (
        "virtiomem: /no/qemu: No such file or directory (Debian package qemu-system-x86 has qemu-system-x86_64)\n"
    )


def test_a_check_of_rules_that_no_driver_can_see_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check", "--rule", "UNPLUG-D1", "--rule", "PLUG-D1"]) == 64
    assert capsys.readouterr().out.endswith("2 not to be seen from the driver's side: nothing was checked\n")
    assert main(["device", "check", "--rule", "UNPLUG-D1", "--json"]) == 64
    assert json.loads(capsys.readouterr().out)["conforms"] is None


def test_a_replay_of_a_device_that_was_only_initialised_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = gzip.decompress(SMALL.read_bytes()).partition(b"\n")[0]
    (tmp_path / "log").write_bytes(first + b"\n")
    assert main(["device", "replay", str(tmp_path / "log"), str(SMALL)]) == 64
    first_line, second_line = capsys.readouterr().out.splitlines()
    assert first_line.endswith("no difference; nothing was done with the device")
    assert second_line.endswith("no difference")


TARGETS = "virtiomem.conformance.targets"
CHILD = f"{sys.executable} {Path(__file__).parents[1] / 'conformance' / 'child.py'}"


def test_levels_below_must_fail_on_demand(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    badge, xml = tmp_path / "badge.svg", tmp_path / "report.xml"
    plugs_anything = tmp_path / "plugs_anything.py"
    plugs_anything.write_text(PLUGS_ANYTHING)
    check = ["device", "check", "--subject", "plugs_anything:target", "--rule", "UAPI-1", "--rule", "STATE-5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert main([*check, "--badge", str(badge)]) == 0
        assert "1 fail (0 of them MUST or MUST NOT; --fail-on counts the others, too)" in capsys.readouterr().out
        assert "#6b6b00" in badge.read_text()
        for level in ("says", "all"):
            assert main([*check, "--fail-on", level, "--badge", str(badge), "--junit", str(xml)]) == 1
            assert "1 fail (1 of them MUST" in capsys.readouterr().out
            assert "#a84300" in badge.read_text()
            assert ET.parse(xml).getroot().get("failures") == "1"  # noqa: S314 - our own file
        assert main([*check, "--fail-on", "sound"]) == 0
        capsys.readouterr()
        assert main([*check, "--rule", "SOUND-1"]) == 0
        assert "PLUG 100..354, which has to be refused, was answered ACK. To see" in capsys.readouterr().out
    assert main(["device", "check", "--fail-on", "must"]) == 2


PLUGS_ANYTHING = """
from virtiomem.conformance.messages import MessageTarget
from virtiomem.conformance.targets import realize

class Device:
    def __init__(self, spec):
        self.mem = realize(spec)
        self.features = int(self.mem.features)
        self.config = lambda: self.mem.config
        self.reset = self.close = lambda: None
        self.take_notification = lambda: False

    def request(self, data):
        wish, self.mem.requested_size = self.mem.requested_size, self.mem.region_size
        answer = self.mem.handle(data)
        self.mem.requested_size = wish
        return answer

    def set_requested_size(self, size):
        self.mem.requested_size = size

def target():
    return MessageTarget("eager", Device)
"""


def test_a_report_is_compared_with_one_that_was_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    rules = ["--rule", "PLUG-4", "--rule", "STATE-5"]
    assert main(["device", "check", *rules, "--json"]) == 1
    kept.write_text(capsys.readouterr().out.replace('"outcome": "fail"', '"outcome": "pass"'))
    assert main(["device", "check", *rules, "--against", str(kept)]) == 1
    assert "\nSince the other report 1 rule changed\n  PLUG-4: pass → fail (worse)\n" in capsys.readouterr().out
    assert main(["device", "check", *rules, "--against", str(kept), "--json", "--skip", "STATE-5=no time"]) == 1
    assert json.loads(capsys.readouterr().out)["changes"] == [
        {"rule": "PLUG-4", "before": "pass", "after": "fail", "worse": True},
        {"rule": "STATE-5", "before": "pass", "after": "skipped", "worse": False},
    ]
    for path, said in (
        (str(SMALL), "is a log of requests to a device, and not a report of `virtiomem device check`"),
        (str(tmp_path / "x.json"), "not a report of `virtiomem device check --json`: "),
    ):
        (tmp_path / "x.json").write_text('{"subject": 3}')
        assert main(["device", "check", "--against", path]) == 2
        assert said in capsys.readouterr().err
    assert main(["device", "replay", str(kept)]) == 2
    assert "kept.json is a report of `virtiomem device check`, and not a log" in capsys.readouterr().err


def test_junit_is_written_where_there_is_no_device_at_all(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for verb in (["check"], ["fuzz"], ["replay", str(SMALL)]):
        xml = tmp_path / f"{verb[0]}.xml"
        assert main(["device", *verb, "--command", f"{CHILD} die", "--junit", str(xml)]) == 1
        assert "exited with code 3 at open: out of ideas" in capsys.readouterr().err
        (case,) = (case for suite in JUnitXml.fromfile(str(xml)) for case in suite)
        (error,) = case.result
        assert (type(error).__name__, case.name) == ("Error", "the device can be used")
        assert error.message.endswith("exited with code 3 at open: out of ideas")
        assert case.system_err == "one\ntwo\nout of ideas"


def test_junit_does_not_pass_a_device_that_was_lost_for_no_reason_of_its_own(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    once = tmp_path / "once.sh"
    once.write_text(f"#!/bin/sh\nmkdir {tmp_path}/lost && exec {CHILD} die 1\nexec {CHILD}\n")
    once.chmod(0o755)
    xml = tmp_path / "report.xml"
    assert main(["device", "fuzz", "--command", str(once), "--junit", str(xml)]) == 1
    told = capsys.readouterr()
    assert "differences  0" in told.out
    assert "exited with code 3 at request: out of ideas" in told.err
    (case,) = (case for suite in JUnitXml.fromfile(str(xml)) for case in suite)
    assert [type(why).__name__ for why in case.result] == ["Error"]


def test_a_fuzzing_and_a_replay_write_junit(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, different: Path
) -> None:
    xml = tmp_path / "report.xml"
    assert (
        main(
            [
                "device",
                "fuzz",
                "--subject",
                f"{TARGETS}:EmbeddedTarget",
                "--requests",
                "1e2",
                "--junit",
                str(xml),
            ]
        )
        == 0
    )
    assert "differences  0" in capsys.readouterr().out
    (case,) = (case for suite in JUnitXml.fromfile(str(xml)) for case in suite)
    assert (case.result, case.system_out) == ([], "no difference")
    assert main(["device", "replay", str(different), str(SMALL), "--junit", str(xml)]) == 1
    first, second = (case.result for suite in JUnitXml.fromfile(str(xml)) for case in suite)
    assert first[0].message == "1 operations differ; the first, line 2: configuration generation: recorded 7, ours 0"
    assert second == []


def test_what_a_device_said_last_is_shown_with_what_it_died_of(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    xml = tmp_path / "report.xml"
    assert main(["device", "check", "--command", f"{CHILD} die 1", "--rule", "PLUG-6", "--junit", str(xml)]) == 1
    assert "  It said last, on standard error:\n    one\n    two\n    out of ideas\n" in capsys.readouterr().out
    (case,) = (case for suite in JUnitXml.fromfile(str(xml)) for case in suite)
    assert case.system_err == "one\ntwo\nout of ideas"
    assert main(["device", "fuzz", "--command", f"{CHILD} die 1", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["said"] == ["one", "two", "out of ideas"]


@pytest.mark.parametrize(("text", "count"), [("10k", 10_000), ("1e2", 100), ("2M", 2_000_000), ("7", 7)])
def test_a_large_count_is_read_as_people_write_it(text: str, count: int) -> None:
    assert arguments.count(text) == count


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["fuzz", "--requests", "0"], "not a count: '0' (write 10000, 10k, 2M or 1e6)"),
        (["fuzz", "--requests", "1e99"], "not a count: '1e99'"),
        (["fuzz", "--jnuit", "x"], "--jnuit x, did you mean '--junit'? (see virtiomem device fuzz --help)"),
        (["check", "--list"], "unrecognized arguments: --list (see virtiomem device check --help)"),
        (["check", "--rule", "PLUG4"], "no rule or group 'PLUG4', did you mean 'PLUG-4'?"),
        (["check", "--timeout", "3"], "--timeout is for --command"),
        (["check", "--command", "x", "--timeout", "0"], "not a time: '0'"),
        (
            ["replay", "--subject", f"{TARGETS}:EmbeddedTarget", "--accept", "all", str(LOGS / "features.jsonl")],
            "features.jsonl:1: a table of negotiations has no moves",
        ),
    ],
)
def test_an_option_that_is_wrong_is_answered_with_the_cure(
    capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(["device", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_rule_says_where_it_stands_and_how_it_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "rules", "PLUG-4", "uapi-3", "PLUG-D1"]) == 0
    on = "on a device size=1G,block-size=2M,requested-size=512M"
    assert capsys.readouterr().out.splitlines() == [
        "PLUG-4  MUST: ERROR when any block is plugged already",
        "  stands in  virtio 1.3, 5.15.6.3.2 Device Requirements: PLUG request",
        f"  seen by    plugging plugged blocks is an error (requests.py), {on}",
        f"  seen by    plugging plugged blocks is an error when full (requests.py), {on}",
        "PLUG-D1  MUST: the driver looks at the response type only",
        "  stands in  virtio 1.3, 5.15.6.3.1 Driver Requirements: PLUG request",
        "  unseen     binds the driver, not the device",
        "UAPI-3  says: STATE is never BUSY",
        "  stands in  include/uapi/linux/virtio_mem.h, Linux 6.1",
        f"  seen by    state is never busy (requests.py), {on}",
    ]
    assert main(["device", "rules", "PLUG-44"]) == 2
    assert "no rule or group 'PLUG-44', did you mean 'PLUG-4'?" in capsys.readouterr().err
    assert main(["device", "rules"]) == 0
    assert capsys.readouterr().out.count("stands in") == 112
