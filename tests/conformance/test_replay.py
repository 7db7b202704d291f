import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virtiomem.conformance.replay import replay
from virtiomem.errors import UsageError

HERE = Path(__file__).parents[1] / "data" / "device-logs"
SHARED = Path(os.environ.get("VIRTIOMEM_SHARED", Path(__file__).parents[2].parent / "shared")) / "device-logs"
SMALL = HERE / "s08_small.jsonl.gz"

Change = Callable[[list[dict[str, Any]]], object]


LOGS = sorted(HERE.glob("*.jsonl*"), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize(
    "log",
    [*LOGS[:4], *(pytest.param(path, marks=pytest.mark.long) for path in LOGS[4:])],
    ids=lambda path: path.name,
)
def test_our_device_answers_as_qemu_did(log: Path) -> None:
    outcome = replay(log)
    assert outcome.first is None
    assert outcome.operations > 30


@pytest.mark.long
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recorded logs in {SHARED}")
def test_our_device_answers_as_qemu_did_in_every_log_there_is() -> None:
    for log in sorted(SHARED.glob("*.jsonl*")):
        assert replay(log).first is None, log.name


def lines_of(path: Path = SMALL, most: int = 430) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()[:most]]


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def first(lines: list[dict[str, Any]], op: str, **having: Any) -> dict[str, Any]:
    return next(line for line in lines if line["op"] == op and all(line.get(k) == v for k, v in having.items()))


def refused(lines: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in lines if line["op"] == "qmp" and "error" in line["result"])


def request(**changes: Any) -> Change:
    return lambda lines: first(lines, "batch", used=1)["reqs"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (request(**{"in": "0200" + "00" * 8}), r"answer: recorded 0200(00){8} \(BUSY\), ours"),
        (request(used_len=9), "used length: recorded 9, ours 10"),
        (lambda lines: first(lines, "batch", used=1).update(used=0), "chains returned: recorded 0, ours 1"),
        (
            lambda lines: refused(lines).update(result={}),
            r"requested-size = 0x\w+, refusal: recorded None, ours 'requested",
        ),
        (lambda lines: lines[0].update(offered=1), "features offered: recorded 0x1, ours 0x10130000001"),
        (
            lambda lines: first(lines, "system_reset")["before_init"].update(status=1),
            "before initialisation, status: recorded 1, ours 0",
        ),
        (
            lambda lines: first(lines, "device_reset").update(features_ok=False),
            "FEATURES_OK: recorded False, ours True",
        ),
    ],
)
def test_another_answer_is_reported(tmp_path: Path, change: Change, said: str) -> None:
    lines = lines_of()
    change(lines)
    outcome = replay(write(tmp_path / "log", lines))
    assert outcome.differing == 1
    assert re.search(said, str(outcome.first))


def test_a_refusal_that_was_none_is_explained(tmp_path: Path) -> None:
    lines = lines_of(HERE / "s10_busy.jsonl.gz", most=10_000)
    busy = next(line for line in lines if line["op"] == "batch" and line["reqs"][0]["in"].startswith("0200"))
    busy["reqs"][0]["in"] = "00" * 10
    outcome = replay(write(tmp_path / "log", lines))
    assert re.search(r"ours 0200(00){8} \(BUSY\): the machine is migrating: the device answers", str(outcome.first))


@pytest.mark.parametrize("name", ["usable_region_size", "plugged_size", "node_id", "status", "isr", "gen"])
def test_another_register_is_reported_with_its_line(tmp_path: Path, name: str) -> None:
    lines = lines_of()
    line = lines[100]
    (line if name in line else line["cfg"])[name] += 1
    outcome = replay(write(tmp_path / "log", lines))
    assert outcome.first is not None
    assert (outcome.differing, outcome.first.line) == (1, 101)


def test_states_of_all_blocks_are_compared(tmp_path: Path) -> None:
    lines = lines_of(most=10_000)
    lines[-1]["state_runs_over_usable_blocks"].pop()
    outcome = replay(write(tmp_path / "log", lines))
    assert outcome.first is not None
    assert (outcome.differing, outcome.first.what) == (1, "states of all blocks")


def test_runs_of_states_may_be_written_either_way_round(tmp_path: Path) -> None:
    lines = lines_of(most=10_000)
    runs = lines[-1]["state_runs_over_usable_blocks"]
    lines[-1]["state_runs_over_usable_blocks"] = [run[::-1] for run in runs]
    assert replay(write(tmp_path / "log", lines)).first is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines.pop(0), ":1: no header before the first operation"),
        (lambda lines: lines[3].update(op="dance"), ":4: not a line of a request log: op: invalid value 'dance'"),
        (lambda lines: lines[3].pop("cfg"), ":4: not a line of a request log: 'cfg' is missing"),
        (lambda lines: lines[0]["before"]["cfg"].update(block_size=3), ":1: no such device: 'block-size' property"),
        (request(out="zz"), ":3: cannot be replayed: non-hexadecimal"),
        (request(desc="origami"), ":3: cannot be replayed: unknown descriptor layout 'origami'"),
        (
            lambda lines: refused(lines).update(result={"error": {}}),
            r":\d+: not a line of a request log: result.error: 'desc' is missing",
        ),
        (
            lambda lines: refused(lines).update(result={"error": "no"}),
            r":\d+: not a line of a request log: result.error: expected an object or null, got a string",
        ),
        (
            lambda lines: lines[0].update(queue_size=0),
            ":1: not a line of a request log: queue_size: expected an integer",
        ),
        (
            lambda lines: lines[0].update(ring_size=1 << 52),
            ":1: not a line of a request log: ring_size: expected an integer <= 32768",
        ),
        (request(in_lens=[-1]), ":3: not a line of a request log"),
        (request(out_lens=[0] * 200), ":3: cannot be replayed: a batch of 201 descriptors does not fit"),
    ],
)
def test_a_log_that_is_invalid_is_refused_with_its_line(tmp_path: Path, change: Change, said: str) -> None:
    lines = lines_of()
    change(lines)
    with pytest.raises(UsageError, match=said):
        replay(write(tmp_path / "log", lines))


def test_a_device_larger_than_any_is_refused(tmp_path: Path) -> None:
    lines = lines_of()
    lines[0]["before"]["cfg"].update(region_size=1 << 63, addr=0)
    with pytest.raises(UsageError, match=":1: no such device: cannot set up guest memory"):
        replay(write(tmp_path / "log", lines))


def test_files_that_are_not_logs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing: No such file"):
        replay(tmp_path / "missing")
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(SMALL.read_bytes()[:5000])
    with pytest.raises(UsageError, match="damaged gzip: "):
        replay(damaged)
    with pytest.raises(UsageError, match="Is a directory"):
        replay(tmp_path)


def test_an_empty_file_is_not_a_log(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(UsageError, match=r"empty: no request log \(empty\)"):
        replay(tmp_path / "empty")


@pytest.mark.long
def test_a_log_of_endless_repetition_is_refused_in_seconds(tmp_path: Path) -> None:
    lines = lines_of(most=100)
    batch = next(line for line in lines if line["op"] == "batch" and len(line["reqs"]) == 1)
    with pytest.raises(UsageError, match="`times` repeats more requests than any recorder does"):
        replay(write(tmp_path / "log", [lines[0], *[batch | {"times": 1 << 15}] * 1000]))
