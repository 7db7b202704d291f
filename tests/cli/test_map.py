import io
import json
from pathlib import Path

import pytest

from virtiomem.cli.main import main

DATA = Path(__file__).parents[1] / "data" / "recordings" / "a-movable"
RECORDING, LISTING = str(DATA / "recording.json"), str(DATA / "boot.iomem")


def test_picture_of_a_listing(tmp_path: Path) -> None:
    assert main(["map", LISTING, "--svg", str(tmp_path / "map.svg"), "--title", "at boot"]) == 0
    assert "at boot" in (tmp_path / "map.svg").read_text()


def test_picture_of_a_step(tmp_path: Path) -> None:
    assert main(["map", RECORDING, "--step", "2", "--svg", str(tmp_path / "map.svg")]) == 0
    assert "a-movable: step 2, resize vm0 to 1G<" in (tmp_path / "map.svg").read_text()


def test_picture_of_a_step_that_stopped_short_or_was_refused_says_so(tmp_path: Path) -> None:
    recorded = json.loads(Path(RECORDING).read_text())
    for words, step in (("stopped short", {"settled": False}), ("refused", {"error": "EBUSY", "settled": False})):
        recorded["steps"][1] |= step
        (tmp_path / "a.json").write_text(json.dumps(recorded))
        assert main(["map", str(tmp_path / "a.json"), "--step", "2", "--svg", str(tmp_path / "map.svg")]) == 0
        assert f": step 2, resize vm0 to 1G ({words})<" in (tmp_path / "map.svg").read_text()


def test_listing_from_a_pipe_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"00000000-00000fff : RAM\n")))
    assert main(["map", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"start": 0, "size": 4096, "times": 1, "depth": 0, "name": "RAM"}]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([LISTING], "where should the picture go"),
        ([LISTING, "--step", "1", "--svg", "x"], "is not a recording"),
        ([RECORDING, "--step", "9", "--svg", "x"], "no step 9, there are 0 (boot) to 3"),
        (["nowhere", "--svg", "x"], "nowhere: No such file"),
        ([str(DATA / "scenario.toml"), "--svg", "x"], "scenario.toml is a scenario; `virtiomem run` plays it"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


def test_damaged_listing_is_put_right_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = b"> 00000000-00000fff : Reserved\n> 00001000-0009fbff : System RAM\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(damaged)))
    assert main(["map", "-", "--lenient", "--svg", str(tmp_path / "map.svg")]) == 0
    assert "virtiomem: warning: standard input:" in capsys.readouterr().err
    assert "00001000-0009fbff" in (tmp_path / "map.svg").read_text()


@pytest.mark.parametrize("damage", ["", "[...]\n"])
def test_listing_without_addresses_is_not_drawn(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.iomem").write_text(f"00000000-00000000 : System RAM\n{damage}")
    assert main(["map", str(tmp_path / "a.iomem"), "--lenient", "--json"]) == 2
    assert "a.iomem:1: all addresses are zero" in capsys.readouterr().err


def test_without_a_renderer_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["map", LISTING, "--svg", str(tmp_path / "a.svg"), "--png", str(tmp_path / "a.png")]) == 1
    assert "no renderer for PNG" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
