import json
from pathlib import Path

import pytest

from virtiomem.cli.main import main

DEVICE = "140000000-33fffffff : virtio0\n"


@pytest.fixture
def maps(tmp_path: Path) -> tuple[str, str]:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text(DEVICE + "  140000000-147ffffff : System RAM (virtio_mem)\n")
    b.write_text(DEVICE + "  140000000-14fffffff : System RAM (virtio_mem)\n")
    return str(a), str(b)


def test_a_difference_is_exit_status_1(maps: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iomem", "diff", *maps]) == 1
    grew = "grew       140000000-147ffffff -> 140000000-14fffffff (+128M) : System RAM (virtio_mem) in virtio0\n"
    assert capsys.readouterr().out == grew
    assert main(["iomem", "diff", "--json", *maps]) == 1
    assert json.loads(capsys.readouterr().out)["changes"][0]["grown"] == 128 << 20
    assert main(["iomem", "diff", maps[0], maps[0]]) == 0
    assert capsys.readouterr().out == ""


def test_a_check_with_findings_is_exit_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unmerged = DEVICE + "".join(
        f"  {0x140000000 + (i << 27):x}-{0x147FFFFFF + (i << 27):x} : System RAM (virtio_mem)\n" for i in range(4)
    )
    (tmp_path / "map").write_text(unmerged)
    assert main(["iomem", "check", str(tmp_path / "map")]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("! virtio0 shows touching blocks")
    assert main(["iomem", "check", "--merge", "--json", str(tmp_path / "map")]) == 0
    assert json.loads(capsys.readouterr().out)["findings"] == []


@pytest.mark.parametrize("size", ["0", "12X"])
def test_a_block_size_that_is_invalid_is_refused(
    size: str, maps: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["iomem", "check", maps[0], "--block-size", size]) == 2
    assert capsys.readouterr().err.startswith(("virtiomem: --block-size: 0 ", "virtiomem: argument --block-size: "))


def test_a_recorded_guest_is_checked_with_its_own_block_size(capsys: pytest.CaptureFixture[str]) -> None:
    recording = Path(__file__).parent.parent / "data/recordings/b-uneven-movable/recording.json"
    assert main(["iomem", "check", str(recording), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["block-size"] == 128 << 20


def test_watching_a_file_tells_when_it_is_rewritten(
    maps: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewrite(_: float) -> None:
        Path(maps[0]).write_text(Path(maps[1]).read_text())

    monkeypatch.setattr("virtiomem.listing.watch.time.sleep", rewrite)
    assert main(["iomem", "watch", maps[0], "--count", "1", "--json"]) == 0
    event = json.loads(capsys.readouterr().out)
    assert (event["kind"], event["grown"]) == ("grew", 128 << 20)


def test_watched_file_may_vanish_and_its_repairs_are_said_once(
    maps: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = Path(maps[0]).read_text() + "junk\n"
    Path(maps[0]).write_text(damaged)
    states = iter([damaged, "", "nothing", "nothing", damaged, Path(maps[1]).read_text()])
    monkeypatch.setattr("virtiomem.listing.watch.time.sleep", lambda _: Path(maps[0]).write_text(next(states)))
    assert main(["iomem", "watch", maps[0], "--count", "1", "--lenient"]) == 0
    out, err = capsys.readouterr()
    assert "grew" in out
    assert err.count("3: not a resource line: 'junk': left out") == 1
    assert err.count("lost") == 1


@pytest.mark.parametrize("option", ["--interval=0", "--interval=nan", "--interval=inf", "--count=0", "--count=-1"])
def test_watching_without_pause_or_end_is_refused(
    option: str, maps: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["iomem", "watch", maps[0], option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_a_file_called_like_an_action_is_named_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "diff").write_text(DEVICE)
    monkeypatch.chdir(tmp_path)
    assert main(["iomem", "./diff", "--raw"]) == 0
    assert capsys.readouterr().out == DEVICE


def test_an_action_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iomem", "diff", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: virtiomem iomem diff ")


def test_maps_that_hide_their_addresses_are_not_the_same_and_not_watched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hidden = tmp_path / "hidden"
    hidden.write_text("00000000-00000000 : System RAM\n")
    for action in (["diff", str(hidden)], ["check"], ["watch"]):
        code = main(["iomem", *action, str(hidden), "--lenient"])
        assert (code, "read it as root" in capsys.readouterr().err) == (2, True), action


def test_a_block_size_that_nothing_tells_is_said_to_be_assumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map").write_text("00100000-3fffffff : System RAM\n")
    main(["iomem", "check", str(tmp_path / "map")])
    assert "memory blocks of 128M are assumed for the headroom (--block-size)" in capsys.readouterr().err
    main(["iomem", "check", str(tmp_path / "map"), "--block-size", "1G"])
    assert "assumed" not in capsys.readouterr().err


def test_check_knows_the_room_of_a_captured_kernels_crash_header(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, limit in (("recordings", "-"), ("recordings-6.12", "16453")):
        path = Path(__file__).parent.parent / f"data/{folder}/n-crash-kernel/recording.json"
        main(["iomem", "check", str(path)])
        (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("kernel crash header"))
        assert row.split()[5] == limit
