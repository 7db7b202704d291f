"""`virtiomem completion`: what a real bash and a real zsh make of it."""

import subprocess
from pathlib import Path

import pytest

from tests.real.needs import require
from virtiomem.cli.main import COMMANDS, main

TRY = """
source "$1"; shift
COMP_WORDS=(virtiomem "$@"); COMP_CWORD=$#
_shtab_virtiomem
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script for bash, in a directory with a scenario and a directory."""
    assert main(["completion", "bash"]) == 0
    path = tmp_path / "completion.bash"
    path.write_text(capsys.readouterr().out)
    (tmp_path / "grow.toml").touch()
    (tmp_path / "guest").mkdir()
    return path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], set(COMMANDS)),
        (["vm", "re"], {"resize"}),
        (["vm", "resize", "--on"], {"--on-timeout"}),
        (["vm", "resize", "vm0", "1G", "--until", ""], {"online", "plugged"}),
        (["run", "g"], {"grow.toml", "guest"}),
        (["iomem", "--sysroot", "g"], {"guest"}),
    ],
)
def test_bash_offers_what_may_stand_there(script: Path, words: list[str], offered: set[str]) -> None:
    command = ["bash", "--norc", "-c", TRY, "bash", str(script), *words]
    done = subprocess.run(command, cwd=script.parent, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


def test_zsh_takes_its_script(capsys: pytest.CaptureFixture[str]) -> None:
    require("zsh", "zsh")
    assert main(["completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("#compdef virtiomem")
    subprocess.run(["zsh", "-fn"], input=script, text=True, check=True)
