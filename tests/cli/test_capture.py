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
    assert "2 of 12 sources" in err
    assert "/proc/cmdline: absent" in err
    assert load(target).by == f"virtiomem {__version__}"
    assert stat.S_IMODE(target.stat().st_mode) & 0o111 == 0
    assert main(["blocks", str(target), "--summary=only"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "Total online memory:     256M"


def test_a_masked_map_is_said(linux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (linux / "proc/iomem").write_text("00000000-00000000 : System RAM\n")
    assert main(["capture", "-s", str(linux), "-o", str(tmp_path / "c")]) == 0
    assert "read it as root" in capsys.readouterr().err


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


def test_a_directory_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["capture", "-s", str(tmp_path / "none")]) == 1
    assert "none: no such directory" in capsys.readouterr().err
    assert main(["capture", "-o", str(tmp_path / "none/x"), "-s", str(tmp_path)]) == 2
