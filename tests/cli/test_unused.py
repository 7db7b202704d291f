"""Options that nothing would read, and values that nothing can be, are refused before anything is done."""

import shlex
from pathlib import Path

import pytest

from virtiomem.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
BOOT = EXAMPLES / "worked-example/boot.iomem"
CAPTURE = EXAMPLES / "guest.capture"
SCENARIO = EXAMPLES / "dimm.toml"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("blocks {capture} --device NONSENSE", "--device is for --by"),
        (
            "blocks {capture} --by 128M --device NONSENSE",
            "which device shrinks: no 'NONSENSE' (virtio-mem devices here: virtio0",
        ),
        ("blocks {capture} --by 128M --devices", "--devices and --by exclude each other"),
        ("blocks {capture} --devices --output range", "--output is for the table of memory blocks"),
        ("blocks {capture} --devices --pairs", "--pairs is for the table of memory blocks"),
        ("capture --list -o x", "--output is for a capture, and none is made"),
        ("capture --script --json", "--json is for a capture, and none is made"),
        ("capture -o x --json", "--json prints the capture; -o writes it as text"),
        ("iomem {boot} --json -o range", "--output chooses columns of the table: --raw and --json have none"),
        ("iomem {boot} --raw -o range", "--output chooses columns of the table: --raw and --json have none"),
        ("iomem diff - -", "- -: standard input can be read once"),
        ("map {boot} --json --title T", "--title is for a picture"),
        ("run {scenario} --json --verbose", "--verbose is for one scenario without --json"),
        ("run {scenario} {scenario} --verbose", "--verbose is for one scenario without --json"),
        ("compare a b --record c", "--record keeps what a real guest did"),
        ("kdump {boot} --note 0x1000:4096", "--note is for the header that -o writes"),
        ("kdump {boot} --limit 3", "--limit is for kexec-tools"),
        ("kdump {boot} --as kernel --limit 3", "--limit is for kexec-tools"),
        (
            "vm explain -c sim:{scenario} -c a=sim:{scenario} --capture {capture}",
            "is of one machine, but 2 are meant",
        ),
        ("vm list -c sim:{scenario} -J -o vm", "--output chooses columns of the table: --json has none"),
        ("vm resize -c sim:{scenario} vm0 1G --spread even", "--spread is for --total or --plugged"),
        ("vm resize -c sim:{scenario} vm0 1G --no-wait --stall 5", "--stall is for a resize that waits"),
        (
            "vm resize -c sim:{scenario} vm0 1G --no-wait --on-timeout rollback",
            "--on-timeout is for a resize that waits",
        ),
    ],
)
def test_option_that_nothing_would_read_is_refused(
    command: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command.format(capture=CAPTURE, boot=BOOT, scenario=SCENARIO))) == 2
    said = capsys.readouterr()
    assert (said.out, list(tmp_path.iterdir())) == ("", [])
    assert words in said.err


@pytest.mark.parametrize("size", ["3", "0", "1", "512K", "24M", "64G"])
def test_size_that_no_memory_block_has_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iomem", "check", str(CAPTURE), "--block-size", size]) == 2
    assert "is not a memory block: a power of two from 1M to 32G" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        "--note 0xffffffffffffffff:0xffffffffffffffff",
        "--note 0xfffffffffffffff0:17",
        "--note 0x1000:0",
        "--vmcoreinfo 0xffffffffffffffff:2",
        "--text 0xffffffffffffffff:0xffffffffffffffff@0xffffffffffffffff",
        "--text 0xffffffff81000000:0x1000000@0xffffffffffffffff",
    ],
)
def test_place_that_memory_cannot_have_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kdump", str(BOOT), *option.split(), "-o", str(tmp_path / "header")]) == 2
    assert "is empty, or ends beyond 2^64" in capsys.readouterr().err
    assert not (tmp_path / "header").exists()


def test_last_place_of_memory_is_taken(tmp_path: Path) -> None:
    assert main(["kdump", str(BOOT), "--note", "0xfffffffffffffff0:16", "-o", str(tmp_path / "header")]) != 2
    assert (tmp_path / "header").exists()


@pytest.mark.parametrize("argument", ["--output=--", "-o--"])
def test_two_dashes_are_no_value_of_an_option(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blocks", argument]) == 2
    assert (
        capsys.readouterr().err
        == "virtiomem: argument -o/--output: '--' is not a value (see virtiomem blocks --help)\n"
    )
