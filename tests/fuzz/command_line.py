"""The command line: any command with odd arguments, odd files under odd names, and an odd environment."""

import argparse
import io
import itertools
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from random import Random
from typing import NamedTuple
from unittest.mock import patch

from tests.fuzz.promise import ODD_NUMBERS, ODD_TEXTS, ROOT, Ran, run, spoiled
from virtiomem.cli import arguments
from virtiomem.cli import main as cli
from virtiomem.live.export import MARK

SOUND = {
    "s.toml": ROOT / "examples/shrink-and-split.toml",
    "a.toml": ROOT / "examples/worked-example/after.toml",
    "boot.iomem": ROOT / "examples/worked-example/boot.iomem",
    "g.capture": ROOT / "examples/guest.capture",
    "r.json": ROOT / "tests/data/recordings/a-online/recording.json",
    "q.json": ROOT / "tests/data/recordings/a-kernel/recording.json",
}
NAMES = (
    *(
        "x",
        "x.json",
        "x.gz",
        "-x",
        "a b",
        "\x1b[2J",
        "\u202e",
        "a\nb",
        "\udcff",
        "é",
        "n" * 255,
        "x.toml",
        "%s",
        "[red]x",
    ),
    *("boot.iomem", "r.json", "s.toml"),
)
SIZES = ("128M", "2G", "+512M", "-1G", "1.5G", "0x8000000", "4096", "50%")
WORDS = (
    *("all", "vm0", "s/vm0", "*", "even", "node=0", "name", "range,size", "+flags", "PLUG-1", "PLUG", "System RAM*"),
    *("0x100000:4096", "0xffffffffffffffff:16", "0xffffffff81000000:0x1000@0x1000000", "4-level", "127.0.0.1:0"),
)
ENVIRONMENT = {
    "COLUMNS": ("0", "1", "-5", "x", "80", "9" * 30),
    "TERM": ("", "dumb", "xterm-256color", "\x1b"),
    "XDG_CONFIG_HOME": ("config", "/nonexistent", "\udcff", ""),
    "HOME": ("", "/nonexistent", "."),
    "LANG": ("C", "C.UTF-8", "x"),
}
OUTPUTS = {"-o", "--output", "--record", "--svg", "--png", "--junit", "--log", "--sysroot", "--console"}
ENDLESS = {
    "iomem watch": (),
    "vm watch": ("--for", "0.02"),
    "vm resize": ("--timeout", "0.2", "--stall", "0.1"),
    "device check": ("--rule", "PLUG-1"),
}
"""Commands that take their time, and what ends them; without that they are not tried."""


class Command(NamedTuple):
    """The words that choose a command, and what it takes."""

    words: tuple[str, ...]
    actions: tuple[argparse.Action, ...]

    @property
    def name(self) -> str:
        return " ".join(self.words)


@cache
def commands() -> tuple[Command, ...]:
    """Every command with its own parser's arguments: an option that is added tomorrow is tried."""
    return tuple(each for each in _all() if ENDLESS.get(each.name) != ())


def _all() -> Iterator[Command]:
    for name in cli.COMMANDS:
        module = import_module(f"virtiomem.cli.{name}")
        yield from _below((name,), module.add_arguments)
        for action in getattr(module, "ACTIONS", ()):
            yield from _below((name, action), import_module(f"virtiomem.cli.{name}_{action}").add_arguments)


def _below(words: tuple[str, ...], add_arguments: object) -> Iterator[Command]:
    parser = cli.Parser(prog="virtiomem", add_help=False)
    add_arguments(parser)  # type: ignore[operator]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, inner in action.choices.items():
                yield Command((*words, verb), tuple(inner._actions[1:]))
            return
    yield Command(words, tuple(parser._actions))


def trial(random: Random) -> None:
    """Run one command in a folder of its own, and look at what it did to the files there."""
    with _folder() as folder:
        files = _fill(random, folder)
        command = random.choice(commands())
        argv = [*command.words, *_arguments(random, command, files), *ENDLESS.get(command.name, ())]
        before = _contents(folder)
        try:
            with _surroundings(random, folder):
                ran = run(*argv)
            _check(ran, argv, before, folder)
        except BaseException as error:
            words = f"{type(error).__name__}: {error}"
            raise AssertionError(f"virtiomem {shlex.join(argv)[:1000]!a}: {words[:500]!a}") from error


def _check(ran: Ran, argv: list[str], before: dict[Path, bytes], folder: Path) -> None:
    after = _contents(folder)
    left = [path for path in after if path.name.startswith(".virtiomem-") and path.name != MARK]
    assert not left, f"left behind: {left}"
    assert ran.code != 2 or ran.err.splitlines()[-1].startswith("virtiomem: "), "the last line says what is wrong"
    assert "--raw" in argv or "capture" in argv or all(line.isprintable() for line in ran.out.split("\n")), "raw output"
    written = {os.path.realpath(path) for path in _values(argv, OUTPUTS)}
    for path, content in before.items():
        kept = after.get(path) == content
        assert kept or os.path.realpath(path) in written, f"{path} was changed"
        assert kept or ran.code != 2, f"{path} was changed, exit 2"
        named = [word for word in argv if word == path.name or word.endswith(f"={path.name}")]
        assert kept or len(named) < 2, f"{path} was read, and changed"


def _values(argv: list[str], options: set[str]) -> list[str]:
    """What stands behind options, in either spelling."""
    apart = [value for option, value in itertools.pairwise(argv) if option in options]
    return apart + [word.partition("=")[2] for word in argv if word.partition("=")[0] in options]


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def _fill(random: Random, folder: Path) -> list[str]:
    """Sound files, spoiled ones under odd names, links, and names of nothing; what may be given as a file."""
    for name, source in SOUND.items():
        shutil.copy(source, folder / name)
    names = list(SOUND)
    for _ in range(random.randint(0, 3)):
        name, sound = random.choice(NAMES), random.choice(names)
        content = (folder / sound).read_bytes()
        if (folder / name) not in map(folder.joinpath, SOUND):
            (folder / name).write_bytes(spoiled(random, content) if random.random() < 0.6 else content)
            names.append(name)
    (folder / "config/virtiomem").mkdir(parents=True)
    config = b'[vm.s]\nconnect = "sim:s.toml"\n'
    (folder / "config/virtiomem/config.toml").write_bytes(spoiled(random, config) if random.random() < 0.3 else config)
    (folder / "list").write_bytes(spoiled(random, b"sim:s.toml\nqmp:./nope agent=./ga # a machine\n"))
    _root(random, folder)
    (folder / "link").symlink_to(random.choice(names))
    (folder / "hard").hardlink_to(folder / random.choice(names))
    (folder / "loop").symlink_to("loop")
    paths = (*names, "link", "hard", "loop", "list", "root", "config", "nope", "nope/x", ".", "/dev/null", "-", "")
    return [*paths, f"config/../{random.choice(names)}", "p/" * 3000, "x" * 256, *random.sample(NAMES, 3)]


def _root(random: Random, folder: Path) -> None:
    """The files of a Linux, some of them not what they should be."""
    proc = folder / "root/proc"
    memory = folder / "root/sys/devices/system/memory"
    proc.mkdir(parents=True)
    (memory / "memory0").mkdir(parents=True)
    (proc / "iomem").write_bytes(spoiled(random, (folder / "boot.iomem").read_bytes()))
    (memory / "block_size_bytes").write_text(random.choice(("8000000", "3", "", "f" * 400, "\x1b")))
    (memory / "memory0/state").write_text(random.choice(("online", "offline\n", "\u202e", "")))
    match random.randrange(6):
        case 0:
            os.mkfifo(proc / "zoneinfo")
        case 1:
            (proc / "zoneinfo").symlink_to("zoneinfo")
        case 2:
            (proc / "cmdline").mkdir()
        case 3:
            (folder / "root/sys/bus/virtio").mkdir(parents=True)
            (folder / "root/sys/bus/virtio/devices").symlink_to("..")
        case 4:
            (folder / "root/dev").mkdir()
            os.mkfifo(folder / "root/dev/kmsg")


def _arguments(random: Random, command: Command, files: list[str]) -> list[str]:
    """What a command takes, some of it left out, some of it odd."""
    argv: list[str] = []
    for action in command.actions:
        if not action.option_strings:
            often = {"?": random.randint(0, 1), "+": random.randint(1, 3)}.get(str(action.nargs), 1)
            argv += [_value(random, action, files) for _ in range(often)]
        elif action.required or random.random() < 0.15:
            argv += _option(random, action, files)
    if random.random() < 0.1:
        argv.insert(random.randint(0, len(argv)), _odd(random))
    return argv


def _option(random: Random, action: argparse.Action, files: list[str]) -> list[str]:
    name = random.choice(action.option_strings)
    if action.nargs == 0 or (action.nargs == "?" and random.random() < 0.5):
        return [name]
    value = _value(random, action, files)
    return [f"{name}={value}"] if name.startswith("--") and random.random() < 0.5 else [name, value]


def _value(random: Random, action: argparse.Action, files: list[str]) -> str:
    if random.random() < 0.15:
        return _odd(random)
    if action.choices and random.random() < 0.9:
        return str(random.choice(list(action.choices)))
    if OUTPUTS.intersection(action.option_strings) and random.random() < 0.1:
        return "/dev/full"
    if action.dest == "connect":
        name = random.choice(files)
        return random.choice(
            (f"sim:{name}", "sim:s.toml", f"qmp:./{name}", f"@{name}", "@/dev/zero", name, f"n={name}")
        )
    if action.type is not None and action.type is not arguments.file:
        return random.choice((*SIZES, *ODD_NUMBERS))
    return random.choice((random.choice(files), random.choice(files), random.choice(WORDS), random.choice(SIZES)))


def _odd(random: Random) -> str:
    """A text that is odd, and that a shell can give: none has a NUL, or what is not a byte."""
    text = random.choice((*ODD_TEXTS, *ODD_NUMBERS, *WORDS, "y" * 10**5, "\x1b" * 10**4, "--", "--nope", "-J"))
    return text.replace("\0", "").replace("\ud800", "\udc80")


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder to be in, and to come back from."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(before)


@contextmanager
def _surroundings(random: Random, folder: Path) -> Iterator[None]:
    """An environment without real programs, and something on standard input."""
    odd = {name: random.choice(values) for name, values in ENVIRONMENT.items() if random.random() < 0.3}
    environment = {"XDG_CONFIG_HOME": str(folder / "config"), **odd, "PATH": str(folder)}
    stdin = io.TextIOWrapper(io.BytesIO(random.choice((b"", (folder / random.choice(list(SOUND))).read_bytes()))))
    with patch.dict(os.environ, environment), patch("sys.stdin", stdin):
        yield
