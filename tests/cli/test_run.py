import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from virtiomem import recording
from virtiomem.cli.main import main
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.recording.compare import compare

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
EXAMPLES = Path(__file__).parents[2] / "examples"
AFTER = str(EXAMPLES / "worked-example" / "after.toml")
THRESHOLD = str(EXAMPLES / "offline-threshold.toml")
REFUSED = str(EXAMPLES / "refused.toml")


FIRST, *OTHERS = sorted(RECORDINGS.glob("*/scenario.toml"))


@pytest.mark.parametrize(
    "path", [FIRST, *(pytest.param(path, marks=pytest.mark.long) for path in OTHERS)], ids=lambda path: path.parent.name
)
def test_json_is_what_a_real_linux_did(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(path), "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    played = recording.loads(said.out)
    assert compare(recording.load(path.with_name("recording.json")), played) is None


def test_recording_is_written_in_addition_to_what_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "r.json"
    assert main(["run", AFTER, "--record", str(target)]) == 0
    assert "140000000-1bfffffff : System RAM (virtio_mem)" in capsys.readouterr().out
    assert recording.load(target).steps
    assert json.loads(target.read_text())["scenario"]["title"] == "with merging, as every Linux since 5.10"
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~current_umask()
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_recording_to_a_device_or_a_link_leaves_them_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to("real.json")
    assert main(["run", AFTER, "--record", str(tmp_path / "link.json")]) == 0
    assert (tmp_path / "link.json").is_symlink()
    assert recording.load(tmp_path / "real.json").steps
    assert main(["run", AFTER, "--record", "/dev/null"]) == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--record", "nowhere/r.json"], "nowhere/r.json: No such file or directory"),
        (["--record", "."], ".: Is a directory"),
        (["--sysroot", "taken"], "taken: Not a directory"),
        (["--sysroot", "."], ".: not empty, and not made by an export"),
        ([AFTER, "--json"], "--json, --record, --sysroot and --console take one scenario"),
        (["--bytes"], "unrecognized arguments: --bytes (see virtiomem run --help)"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    assert main(["run", AFTER, *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"virtiomem: {words}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_forbidden_place_is_refused_before_anything_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert main(["run", AFTER, "--record", str(tmp_path / "r.json")]) == 2
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.long
def test_disk_that_takes_no_more_leaves_the_old_recording(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    target.write_text("old")
    script = f'ulimit -f 1; "{sys.executable}" -m virtiomem run {AFTER} --record {target}'
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, f"virtiomem: {target}: File too large\n")
    assert "16 PLUG" in ended.stdout
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_strict_is_64_when_a_step_was_refused_or_stopped_short() -> None:
    assert main(["run", AFTER, "--strict"]) == 0
    assert main(["run", REFUSED]) == 0
    assert main(["run", REFUSED, "--strict"]) == 64
    assert main(["run", THRESHOLD, "--strict"]) == 64
    assert main(["run", THRESHOLD, "--strict", "--json"]) == 64


def test_sysroot_is_the_guest_at_the_end(tmp_path: Path) -> None:
    assert main(["run", THRESHOLD, "--sysroot", str(tmp_path)]) == 0
    read = read_memory_sysfs(tmp_path)
    assert {block.block: block.state for block in read.blocks}[63] == "offline"
    assert read.auto_online_blocks == "offline"
    assert "180000000-1ffffffff : System RAM (virtio_mem)" in (tmp_path / "proc/iomem").read_text()


def test_several_scenarios_are_shown_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", THRESHOLD, REFUSED]) == 0
    said = capsys.readouterr().out
    assert said.startswith("offline-threshold: the memory stays offline: the driver stops at 1G\nrefused: sizes")
    assert (
        "  180000000-1ffffffff : System RAM (virtio_mem)      180000000-18fffffff : System RAM (virtio_mem)\n" in said
    )


def test_side_by_side_tells_which_run_stopped_short_or_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", THRESHOLD, AFTER, REFUSED])
    said = capsys.readouterr().out.splitlines()[-3:]
    assert [line.partition(";")[0] for line in said] == [
        "offline-threshold: 4 steps, 2 stopped short",
        "after: 1 step",
        "refused: 5 steps, 3 refused",
    ]


def test_scenarios_of_one_name_are_distinguished(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", AFTER, AFTER]) == 0
    assert f"1: {AFTER}" in capsys.readouterr().out


def test_verbose_shows_every_request_and_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", AFTER, "-v"]) == 0
    said = capsys.readouterr().out
    assert "PLUG 0x1b8000000, 64 blocks: ACK" in said
    assert "virtio_mem virtio0: requested size: 0x80000000" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "end of document: Invalid value"),
        ('[guest]\niomem = "boot.iomem"\n', "guest.iomem: boot.iomem:2: "),
        ('[[device]]\nid = "vm0"\nmax-size = "3M"\n', "device 1: max-size: 3M (0x300000) is not a multiple of 2M"),
    ],
)
def test_wrong_scenario_is_one_line_and_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(text)
    (tmp_path / "boot.iomem").write_text("00000000-00000fff : Reserved\nrubbish\n")
    assert main(["run", "s.toml", "--record", "r.json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("virtiomem: s.toml:")
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "r.json").exists()


def test_missing_scenario_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.toml"]) == 2
    assert capsys.readouterr().err == "virtiomem: nowhere.toml: No such file or directory\n"


def test_reader_who_leaves_early_is_not_an_error() -> None:
    script = '"$0" -m virtiomem run "$1" | head -n 1; echo "${PIPESTATUS[0]}"'
    ended = subprocess.run(
        ["bash", "-c", script, sys.executable, str(EXAMPLES / "embedded-only" / "one-tebibyte.toml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout == "1T, there and half back\n141\n"


def test_control_characters_of_a_title_are_shown_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text('title = "a\\u001b[31mred [bold]markup[/bold]"\n')
    assert main(["run", str(tmp_path / "s.toml")]) == 0
    assert capsys.readouterr().out.startswith("a\\x1b[31mred [bold]markup[/bold]\n")


def test_output_in_another_encoding_is_not_an_error(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "virtiomem", "run", AFTER],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert "blocks 40-55: unplugged ? movable" in ended.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_terminal_gets_colours_and_everything_else_does_not() -> None:
    plain = subprocess.run(
        [sys.executable, "-m", "virtiomem", "run", AFTER],
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "\x1b" not in plain
    assert plain == (EXAMPLES / "worked-example" / "after.out").read_text()
    assert "\x1b[1m" in on_a_terminal("run", AFTER)
    assert "\x1b[1m" not in on_a_terminal("run", AFTER, NO_COLOR="1", TERM="dumb")


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What the command writes when both its outputs are a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "virtiomem", *arguments],
        env={**os.environ, "TERM": "xterm-256color", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return said.decode()
