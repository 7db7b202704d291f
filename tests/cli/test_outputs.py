"""What a command writes: never over what it reads, never lost, and never half."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from virtiomem.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
LISTING = EXAMPLES / "worked-example/boot.iomem"
COMMANDS = {
    "run s.toml --record {}": "s.toml",
    "run named.toml --record {}": "boot.iomem",
    "map boot.iomem --svg {}": "boot.iomem",
    "map boot.iomem --png {}": "boot.iomem",
    "report r.json -o {}": "r.json",
    "report r.json other.json -o {}": "other.json",
    "kdump boot.iomem -o {}": "boot.iomem",
    "kdump -s root -o {}": "root/proc/iomem",
    "capture -s root -o {}": "root/proc/iomem",
}
"""Commands that write a file, and one of the files that they read."""


def by_its_name(path: Path) -> Path:
    return path


def by_another_path(path: Path) -> Path:
    return path.parent / "folder" / ".." / path.name


def by_symbolic_link(path: Path) -> Path:
    link = path.parent / "link"
    link.symlink_to(path.name)
    return link


def by_hard_link(path: Path) -> Path:
    link = path.parent / "hard"
    os.link(path, link)
    return link


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(LISTING, "boot.iomem")
    shutil.copy(EXAMPLES / "worked-example/after.toml", "s.toml")
    Path("named.toml").write_text('[guest]\niomem = "boot.iomem"\n')
    Path("folder").mkdir()
    Path("root/proc/folder").mkdir(parents=True)
    shutil.copy(LISTING, "root/proc/iomem")
    assert main(["run", "s.toml", "--record", "r.json"]) == 0
    shutil.copy("r.json", "other.json")
    return tmp_path


@pytest.mark.parametrize("spelled", [by_its_name, by_another_path, by_symbolic_link, by_hard_link])
@pytest.mark.parametrize(("command", "read"), COMMANDS.items())
def test_input_is_never_overwritten(
    command: str, read: str, spelled: Callable[[Path], Path], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (folder / read).read_bytes()
    output = spelled(folder / read)
    capsys.readouterr()
    assert main(command.format(output).split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "would overwrite" in said.err
    assert said.err.endswith("; give another name\n")
    assert (folder / read).read_bytes() == before


def test_standard_input_is_never_overwritten(folder: Path) -> None:
    script = f'"{sys.executable}" -m virtiomem map - --svg boot.iomem <boot.iomem'
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (
        2,
        "virtiomem: boot.iomem: would overwrite -; give another name\n",
    )
    assert (folder / "boot.iomem").read_bytes() == LISTING.read_bytes()


def test_two_outputs_of_one_name_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "boot.iomem", "--svg", "a", "--png", "folder/../a"]) == 2
    assert "would overwrite a" in capsys.readouterr().err
    assert not (folder / "a").exists()


@pytest.mark.parametrize("command", ["run s.toml --record {}", "map boot.iomem --svg {}", "report r.json -o {}"])
def test_name_as_long_as_names_can_be_is_written(command: str, folder: Path) -> None:
    assert main(command.format("a" * 255).split()) == 0
    assert (folder / ("a" * 255)).stat().st_size > 1000


@pytest.mark.parametrize(
    ("command", "result"),
    [
        ("run s.toml --record /dev/full", "16 PLUG"),
        ("run s.toml --json --record /dev/full", '"steps"'),
        ("map boot.iomem --json --svg /dev/full", "System RAM"),
        ("report r.json --json -o /dev/full", '"recordings"'),
        ("kdump boot.iomem -o /dev/full", "00100000"),
        ("device check --rule PLUG-1 --junit /dev/full", "PLUG-1"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_result_is_printed_when_its_file_cannot_be_written(
    command: str, result: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(command.split()) == 1
    said = capsys.readouterr()
    assert result in said.out
    assert said.err == "virtiomem: /dev/full: No space left on device\n"


@pytest.mark.parametrize("bad", ["nowhere/b.png", "folder", "boot.iomem/b.png", "/dev/full"])
def test_picture_is_not_left_when_its_other_form_cannot_be_written(
    bad: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtiomem.report.png.render", lambda _: b"a picture")  # most machines have no renderer
    before = sorted(folder.iterdir())
    assert main(["map", "boot.iomem", "--svg", "a.svg", "--png", bad]) in {1, 2}
    assert sorted(folder.iterdir()) == before


def test_header_of_this_machine_is_written_anywhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["kdump", "-o", "header"])
    assert "would overwrite" not in capsys.readouterr().err
    assert (folder / "header").exists() == (code != 2)


FILES = [
    *(
        f"{command} ''"
        for command in ("iomem", "iomem check", "iomem watch", "kdump", "blocks", "map", "report", "run")
    ),
    *("iomem diff '' boot.iomem", "iomem diff boot.iomem ''", "compare '' r.json", "compare r.json ''", "compare ''"),
    *("iomem -s ''", "capture -s ''", "capture -o ''", "map boot.iomem --svg ''", "report r.json -o ''"),
    *("run s.toml --record ''", "run s.toml --sysroot ''", "run s.toml --guest linux --kernel ''"),
    *("run s.toml --guest linux --console ''", "kdump boot.iomem --against ''", "kdump boot.iomem -o ''"),
    *("device replay ''", "device check --junit ''", "device check --qemu ''", "device fuzz --log ''"),
    *("vm explain -c sim:s.toml --capture ''", "vm list -c sim:s.toml --agent ''", "vm list -c @"),
]


@pytest.mark.parametrize("command", FILES)
@pytest.mark.usefixtures("folder")
def test_empty_name_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["" if word == "''" else word for word in command.split()]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "an empty file name" in said.err
