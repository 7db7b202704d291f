"""Hostile text fed through every message there is: a terminal obeys none of it, and no line of it is endless."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.fuzz.command_line import ENDLESS, Command, commands
from virtiomem.cli.main import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SCENARIO = EXAMPLES / "worked-example/after.toml"
BOOT = EXAMPLES / "worked-example/boot.iomem"
RECORDING = ROOT / "tests/data/recordings/a-online/recording.json"
ODD = "\x1b[2J\x1b]0;pwned\x07\x9b\x85\u202e\u2066\u200f\u061c\u2028\udcff"
HOSTILE = ODD * 50
SIMULATED = ["-c", f"sim:{SCENARIO}"]
REST = {
    "run": [str(SCENARIO)],
    "compare": [str(RECORDING), str(RECORDING)],
    "map": [str(BOOT), "--json"],
    "explain": [str(BOOT)],  # or it counts the pages of the machine that runs the tests
    "report": [str(RECORDING), "--json"],
    "iomem diff": [str(BOOT), str(BOOT)],
    "vm": SIMULATED,
    "vm resize": [*SIMULATED, "vm0", "1G"],
    "device check": ["--rule", "VIRTIO"],
}
"""What a command needs in addition to the one argument that is odd."""
LISTING = "00000000-00000fff : Reserved\n00001000-7fffffff : System RAM\n"


def hold(capsys: pytest.CaptureFixture[str], *argv: str) -> None:
    """Run a command; nothing that it prints is obeyed by a terminal, no complaint is longer than a line may be."""
    assert main(list(argv)) in {0, 1, 2, 64, 124}
    said = capsys.readouterr()
    for line in (*said.out.split("\n"), *said.err.split("\n")):
        assert line.isprintable(), argv[:2]
    assert max(map(len, said.err.split("\n"))) <= 300, argv[:2]


def each_argument() -> Iterator[tuple[Command, list[str]]]:
    """Every argument of every command, alone."""
    for command in commands():
        for action in command.actions:
            if not action.option_strings:
                yield command, []
            elif action.nargs != 0:
                yield command, [action.option_strings[-1]]


@pytest.mark.parametrize(
    ("command", "option"), [pytest.param(c, o, id=f"{c.name} {' '.join(o)}") for c, o in each_argument()]
)
def test_argument_is_printed_printable_and_short(
    command: Command,
    option: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    rest = REST.get(command.name, REST.get(command.words[0], [])) if option else []
    hold(capsys, *command.words, *rest, *option, HOSTILE, *ENDLESS.get(command.name, ()))


@pytest.mark.parametrize(
    "listing",
    [
        "00000000-7fffffff : S{}\r\n",
        "00000000-{} : System RAM\n",
        "{}00000000-7fffffff : System RAM\n",
        f"{LISTING}  {{}}\n",
        f"{LISTING}00001000-7fffffff : {{}}\n00001000-7fffffff : {{}}\n",
        f"{LISTING}    40000000-8fffffff : {{}}\n",
        f"{LISTING}  00000000-8fffffff : {{}}\n  00000000-8fffffff : {{}}\n",
        "00000000-00000000 : {}\n",
        "{}",
    ],
)
def test_listing_is_printed_printable_and_short(
    listing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "listing"
    path.write_bytes(listing.replace("{}", HOSTILE).encode("utf-8", "surrogateescape"))
    other = tmp_path / "other"
    other.write_text(LISTING)
    for lenient in ([], ["--lenient"]):
        for command in (
            ["iomem"],
            ["iomem", "--ram"],
            ["iomem", "--json"],
            ["iomem", "check"],
            ["kdump"],
            ["map", "--json"],
        ):
            hold(capsys, *command, str(path), *lenient)
        hold(capsys, "iomem", "diff", str(path), str(other), *lenient)
        hold(capsys, "kdump", "--compare", str(path), *lenient)
    hold(capsys, "blocks", str(path))


def leaves(value: object) -> Iterator[tuple[object, object]]:
    """Every place in JSON that holds a text."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if isinstance(inner, str):
            yield value, key
        yield from leaves(inner)


@pytest.mark.long
def test_text_of_a_recording_is_printed_printable_and_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, seen = tmp_path / "r.json", set()
    values = msgspec.json.decode(RECORDING.read_bytes())
    for holder, key in leaves(values):
        before = holder[key]  # type: ignore[index]
        if (kind := (str(key), before[:4])) in seen:
            continue
        seen.add(kind)
        holder[key] = f"{before}{HOSTILE}".replace("\udcff", "")  # type: ignore[index]
        path.write_bytes(msgspec.json.encode(values))
        for command in (
            ["compare", str(RECORDING)],
            ["report", "--json"],
            ["iomem"],
            ["blocks", "--devices"],
            ["map", "--json"],
        ):
            hold(capsys, *command, str(path))
        holder[key] = before  # type: ignore[index]
    assert len(seen) > 20


@pytest.mark.parametrize(
    "scenario",
    [
        '"{}" = 1\n',
        '[guest]\n"{}" = 1\n',
        '[guest]\nmemory = "{}"\n',
        '[guest]\nmax-memory = "{}"\n',
        '[guest]\niomem = "{}"\n',
        '[guest]\ncapture = "{}"\n',
        '[guest]\ndefault-state = "{}"\n',
        '[[guest.nodes]]\nmemory = ["{}"]\n',
        '[driver]\nbbm-block-size = "{}"\n',
        '[[device]]\nid = "{}"\nmax-size = "2M"\n',
        '[[device]]\nmemaddr = "{}"\nmax-size = "2M"\n',
        '[[step]]\ndo = "{}"\n',
        '[[step]]\ndo = "resize"\ndevice = "{}"\nrequested-size = "1G"\n',
        '[[step]]\ndo = "use"\nid = "{}"\nsize = "{}"\n',
        '[["{}"]]\n["{}"]\n',
        'title = "{}"\n',
        "{}",
    ],
)
def test_scenario_is_printed_printable_and_short(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = "".join(f"\\u{ord(c):04X}" if not c.isprintable() else c for c in HOSTILE.replace("\udcff", ""))
    path = tmp_path / "s.toml"
    path.write_text(scenario.replace("{}", written))
    for command in (
        ["run"],
        ["run", "--json"],
        ["vm", "list", "-c"],
        ["vm", "status", "--json", "-c"],
        ["vm", "explain", "-c"],
    ):
        hold(capsys, *command, f"sim:{path}" if "vm" in command else str(path))


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("c", "virtiomem-capture/1\n[{}", "blocks c"),
        ("c", "virtiomem-capture/1\n[proc/iomem] {}\n", "iomem c"),
        ("c", "virtiomem-capture/1\n[sys/devices/system/memory]\n block_size_bytes {}\n", "blocks c"),
        ("c", "virtiomem-capture/1\n[sys/devices/system/memory]\n block_size_bytes 8000000\n {}\n", "blocks c"),
        ("c", '{"format": "{}"}', "report c -o o.html"),
        ("c", '{"format": "virtiomem-capture/1", "sections": {"{}": 1}}', "iomem c"),
        ("c", '{"op": "{}"}', "device replay c"),
        ("c", '{"{}": 1, "{}": 1}', "device replay c"),
        ("c", "{}", "vm list -c @c"),
        ("c", "sim:x {}", "vm list -c @c"),
        ("virtiomem/config.toml", "[vm.s]\nconnect = '{}'", "vm list"),
        ("virtiomem/config.toml", "[vm.'{}']\nconnect = 'sim:x'", "vm list"),
        ("virtiomem/config.toml", "['{}']\n", "vm list"),
    ],
)
def test_file_is_printed_printable_and_short(
    name: str,
    content: str,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_bytes(content.replace("{}", HOSTILE).encode("utf-8", "surrogateescape"))
    hold(capsys, *command.split())


@pytest.mark.parametrize("command", ["iomem --raw {}", "capture -s root"])
def test_file_s_own_text_is_printable_on_a_terminal_and_itself_in_a_pipe(command: str, tmp_path: Path) -> None:
    listing = b"00000000-7fffffff : S\x1b[2J\xff\n"
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/proc/iomem").write_bytes(listing)
    argv = [sys.executable, "-m", "virtiomem", *command.format("root/proc/iomem").split()]
    piped = subprocess.run(argv, cwd=tmp_path, capture_output=True, check=False).stdout
    assert listing.rstrip() in piped
    ours, theirs = pty.openpty()
    with subprocess.Popen(argv, cwd=tmp_path, stdout=theirs, stderr=subprocess.DEVNULL):
        os.close(theirs)
        shown = b""
        try:
            while more := os.read(ours, 1 << 16):
                shown += more
        except OSError:  # EIO: the other end is closed
            pass
    os.close(ours)
    assert rb"00000000-7fffffff : S\x1b[2J\xff" in shown
    assert b"\x1b" not in shown


def test_names_that_are_not_utf_8_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario, record = "s\udcff.toml", "r\udcff.json"
    Path(scenario).write_bytes(
        SCENARIO.read_bytes().replace(b"boot.iomem", os.fsencode(SCENARIO.parent / "boot.iomem"))
    )
    hold(capsys, "run", scenario, "--record", record)
    assert main(["report", record, "-o", "o.html"]) == 0
    assert "r?" in Path("o.html").read_text()
    for command in (
        ["report", record, "--json"],
        ["vm", "list", "-J", "-c", f"sim:{scenario}"],
        ["vm", "explain", "-J", "-c", f"sim:{scenario}"],
    ):
        assert main(command) == 0
        assert msgspec.json.decode(capsys.readouterr().out)
    assert main(["iomem", "nope\udcff"]) == 2
    assert capsys.readouterr().err == "virtiomem: nope\\xff: No such file or directory\n"
