import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from virtiomem import __version__
from virtiomem.cli.main import main
from virtiomem.live.capture import load


@pytest.fixture
def linux(make_sysfs: Any, block: Any) -> Path:
    root: Path = make_sysfs([block(0), block(1)])
    (root / "proc").mkdir()
    (root / "proc/iomem").write_text("00100000-0fffffff : System RAM\n")
    return root


def test_a_capture_goes_to_a_file_whole_and_the_rest_to_stderr(
    linux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "guest.capture.gz"
    assert main(["capture", "-s", str(linux), "-o", str(target)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 of 16 sources" in err
    assert "/proc/cmdline: absent" in err
    assert "kpageflags" not in err
    assert load(target).by == f"virtiomem {__version__}"
    assert stat.S_IMODE(target.stat().st_mode) & 0o111 == 0
    assert main(["blocks", str(target), "--summary=only"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "Total online memory:     256M"


def test_a_masked_map_is_said(linux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (linux / "proc/iomem").write_text("00000000-00000000 : System RAM\n")
    for output in (["-o", str(tmp_path / "c")], []):
        assert main(["capture", "-s", str(linux), *output]) == 64
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("virtiomem: warning: /proc/iomem:1: all addresses are zero")


def test_what_could_not_be_read_is_reported_on_stderr(linux: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for style in ([], ["--json"]):
        assert main(["capture", "-s", str(linux), *style]) == 0
        first, *rest = capsys.readouterr().err.splitlines()
        assert first == "capture: 2 of 16 sources"
        assert len(rest) == 14
        assert "  /proc/cmdline: absent" in rest


def test_sources_that_are_counted_and_those_that_are_missing_are_all_there_are(
    linux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (linux / "proc/cmdline").write_text("root=/dev/vda quiet\n")
    (linux / "sys/bus/virtio/devices").mkdir(parents=True)
    assert main(["capture", "-s", str(linux), "--pages", "-o", str(tmp_path / "c")]) == 64, "no pages, and asked for"
    first, *missing = capsys.readouterr().err.splitlines()
    assert "4 of 18 sources" in first
    assert len(missing) == 14
    assert "  /proc/kpageflags: absent" in missing
    assert not any("cmdline" in line or "virtio/devices" in line for line in missing)


def test_a_capture_goes_to_stdout_as_text_or_json(linux: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "-s", str(linux)]) == 0
    assert capsys.readouterr().out.startswith("virtiomem-capture/1\n")
    assert main(["capture", "-s", str(linux), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["manifest"]["proc/iomem"] == "whole"


def test_what_would_be_read_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--list"]) == 0
    assert "/proc/kpageflags" in capsys.readouterr().out
    assert main(["capture", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["path"] == "proc/iomem"


def test_the_script_is_a_program(linux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "--script"]) == 0
    (tmp_path / "capture.sh").write_text(capsys.readouterr().out)
    command = ["sh", str(tmp_path / "capture.sh")]
    taken = subprocess.run([*command, "--sysroot", str(linux)], check=True, capture_output=True, text=True).stdout
    (tmp_path / "taken").write_text(taken)
    assert load(tmp_path / "taken").by == f"capture.sh of virtiomem {__version__}"
    assert subprocess.run([*command, "--wrong"], check=False, capture_output=True).returncode == 2


def test_a_directory_that_is_invalid_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "-s", str(tmp_path / "none")]) == 1
    assert "none: no such directory" in capsys.readouterr().err
    assert main(["capture", "-s", str(tmp_path), "-o", str(tmp_path / "x")]) == 1, "nothing is there"
    assert not (tmp_path / "x").exists()
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cmdline").write_text("mem=1G\n")
    assert main(["capture", "-o", str(tmp_path / "none/x"), "-s", str(tmp_path)]) == 2


def test_a_source_that_is_there_and_cannot_be_read_is_partly_done(
    linux: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (linux / "proc/cmdline").mkdir()
    assert main(["capture", "-s", str(linux)]) == 64
    assert "  /proc/cmdline: Is a directory" in capsys.readouterr().err
    (linux / "proc/cmdline").rmdir()
    (linux / "proc/iomem").unlink()
    assert main(["capture", "-s", str(linux)]) == 64
    assert "no /proc/iomem in it (absent)" in capsys.readouterr().err
