import json
from pathlib import Path

import pytest

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


def test_a_file_that_is_no_log_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("hello\n")
    assert main(["device", "replay", str(tmp_path / "log")]) == 2
    assert "log:1: no line of a request log" in capsys.readouterr().err
