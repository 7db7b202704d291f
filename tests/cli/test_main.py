import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from virtiomem.cli import main as cli
from virtiomem.errors import BackendTimeout, UsageError

EXAMPLES = Path(__file__).parents[2] / "examples"
Run = Callable[[argparse.Namespace], int]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """A command `probe [--size SIZE]` that does what a test wants."""

    def install(run: Run) -> None:
        module = ModuleType("virtiomem.cli.probe")
        module.__dict__["add_arguments"] = lambda parser: parser.add_argument("--size", type=int, default=0)
        module.__dict__["run"] = run
        monkeypatch.setitem(sys.modules, "virtiomem.cli.probe", module)
        monkeypatch.setitem(cli.COMMANDS, "probe", "what a test wants")

    return install


def fail_with(error: BaseException) -> Run:
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def test_exit_code_is_what_the_command_returns(probe: Callable[[Run], None]) -> None:
    probe(lambda args: args.size)
    assert cli.main(["probe"]) == 0
    assert cli.main(["probe", "--size", "64"]) == 64


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("a.toml: device[0].id: missing"), 2, "virtiomem: a.toml: device[0].id: missing\n"),
        (BackendTimeout("QEMU did not answer\nin 5 s"), 124, "virtiomem: QEMU did not answer in 5 s\n"),
        (KeyboardInterrupt(), 130, "virtiomem: interrupted\n"),
        (KeyboardInterrupt("nothing was written"), 130, "virtiomem: interrupted: nothing was written\n"),
    ],
)
def test_failure_is_one_line_and_its_exit_code(
    probe: Callable[[Run], None], capsys: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    probe(fail_with(error))
    assert cli.main(["probe"]) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["prob"], "no command 'prob', did you mean 'probe'? (see virtiomem --help)"),
        (["nothing-like-it"], "no command 'nothing-like-it' (see virtiomem --help)"),
        (["probe", "--size", "big"], "argument --size: invalid int value: 'big' (see virtiomem probe --help)"),
        (["probe", "more"], "unrecognized arguments: more (see virtiomem probe --help)"),
        ([], "the following arguments are required: COMMAND (see virtiomem --help)"),
    ],
)
def test_wrong_arguments_are_usage(
    probe: Callable[[Run], None], capsys: pytest.CaptureFixture[str], argv: list[str], words: str
) -> None:
    probe(lambda _: 0)
    assert cli.main(argv) == 2
    assert capsys.readouterr().err == f"virtiomem: {words}\n"


def test_help_lists_every_command(probe: Callable[[Run], None], capsys: pytest.CaptureFixture[str]) -> None:
    probe(lambda _: 0)
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in cli.COMMANDS)


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_its_module(name: str) -> None:
    module = import_module(f"virtiomem.cli.{name.replace('-', '_')}")
    module.add_arguments(cli.Parser(prog=name))
    assert callable(module.run)


NEVER_NEEDED = {"asyncio", "httpx", "jinja2", "libvirt", "prometheus_client", "qemu", "subprocess", "virtiomem.vm"}
"""What a command that reads files and prints has no use for."""


@pytest.mark.parametrize(
    ("command", "heavy", "most"),
    [
        ("--version", {"msgspec", "rich", "typing", "shutil", "dataclasses", "virtiomem.resource.tree"}, 20),
        ("map --help", {"msgspec", "rich", "dataclasses"}, 40),
        (
            "iomem {examples}/guest.capture",
            {"msgspec", "rich", "dataclasses", "pathlib", "virtiomem.abi", "virtiomem.architecture", "virtiomem.guest"},
            65,
        ),
        ("blocks {examples}/guest.capture", {"rich", "virtiomem.driver.virtio_mem"}, 160),
        ("kdump --help", {"rich", "virtiomem.driver.virtio_mem"}, 160),
        (
            "run {examples}/dimm.toml --json",
            {
                "rich",
                "difflib",
                "json.decoder",
                "pathlib",
                "random",
                "threading",
                "virtiomem.kdump.elfcore",
                "virtiomem.live.capture",
                "virtiomem.recording.folded",
                "virtiomem.device.virtqueue",
                "virtiomem.report.page",
                "virtiomem.report.picture",
            },
            180,
        ),
    ],
)
def test_command_imports_nothing_heavy_that_it_does_not_use(command: str, heavy: set[str], most: int) -> None:
    names = imported("-m", "virtiomem", *command.format(examples=EXAMPLES).split())
    assert "virtiomem.cli.main" in names
    bare = imported("-c", "import argparse; argparse.ArgumentParser().format_help()")  # from 3.14 on it has dataclasses
    assert not (names - bare) & (NEVER_NEEDED | heavy)
    assert len(names - bare) <= most


def test_adding_arguments_brings_no_packer() -> None:
    # argparse lays out help for each argument, for which it asks shutil how wide a terminal is.
    assert not imported("-m", "virtiomem", "iomem", str(EXAMPLES / "guest.capture")) & {"shutil", "bz2", "lzma"}


def test_help_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lengths = []
    for columns in ("60", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert cli.main(["run", "--help"]) == 0
        lengths.append(max(map(len, capsys.readouterr().out.splitlines())))
    assert lengths[0] < 60 < lengths[1]


def imported(*words: str) -> set[str]:
    """What Python imports on the way."""
    command = [sys.executable, "-X", "importtime", *words]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}


def say_something(_: argparse.Namespace) -> int:
    print("something")  # noqa: T201
    return 0


def run_shell(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True, check=False)


def test_closed_pipe_ends_quietly() -> None:
    ended = run_shell('"$0" -m virtiomem --help | true; echo "${PIPESTATUS[0]}"')
    assert ended.stderr == ""
    assert ended.stdout in {"141\n", "0\n"}  # 0 when everything fit in before the reader left


def test_full_disk_is_one_line(
    probe: Callable[[Run], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full:
        probe(say_something)
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main(["probe"]) == 1
    assert capsys.readouterr().err == "virtiomem: output: No space left on device\n"


@pytest.mark.parametrize(
    "command",
    [
        "iomem {capture}",
        "--version",
        *(
            pytest.param(each, marks=pytest.mark.long)
            for each in ("blocks {capture}", "run {scenario} --json", "run {scenario}")
        ),
    ],
)
def test_closed_stdout_takes_everything(command: str) -> None:
    command = command.format(capture=EXAMPLES / "guest.capture", scenario=EXAMPLES / "dimm.toml")
    ended = run_shell(f'"$0" -m virtiomem {command} >&-')
    assert (ended.returncode, ended.stderr) == (0, "")


def test_closed_stderr_takes_complaints() -> None:
    ended = run_shell('"$0" -m virtiomem nonsense 2>&-')
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("command", ["iomem nope", "vm list -c qmp:./nope"])
def test_full_stderr_keeps_the_exit_code(command: str) -> None:
    said = run_shell(f'"$0" -m virtiomem {command}')
    full = run_shell(f'"$0" -m virtiomem {command} 2>/dev/full')
    assert said.returncode == full.returncode
    assert said.returncode in {1, 2}


def test_repairs_without_a_reader_leave_the_listing(tmp_path: Path) -> None:
    (tmp_path / "crlf").write_text("00000000-7fffffff : System RAM\r\n")
    ended = run_shell(f'"$0" -m virtiomem iomem --lenient -n {tmp_path}/crlf 2>/dev/full')
    assert (ended.returncode, ended.stdout.split()[0]) == (0, "00000000-7fffffff")


def test_closed_stdin_is_empty() -> None:
    ended = run_shell('"$0" -m virtiomem iomem - <&-')
    assert ended.returncode == run_shell('"$0" -m virtiomem iomem - </dev/null').returncode
    assert "Traceback" not in ended.stderr


def test_interrupt_while_modules_are_read_is_quiet() -> None:
    code = """
import sys

class Interrupted:
    def find_spec(self, name, *_):
        if name == "argparse":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted())
from virtiomem.cli import start
sys.exit(start())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_end_is_not_searched_for_cycles() -> None:
    code = """
import sys
from virtiomem import cli
from virtiomem.cli import main

class Cycle:
    def __del__(self):
        print("searched")

def command():
    cycle = Cycle()
    cycle.itself = cycle
    return 0

main.main = command
sys.exit(cli.start())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["vm", "resiz"], "did you mean 'resize'?"),
        (["device", "chek"], "did you mean 'check'?"),
        (["run", "--jsn", "x.toml"], "did you mean '--json'?"),
        (["vm", "resize", "m", "2G", "--no-wiat"], "did you mean '--no-wait'?"),
    ],
)
def test_a_word_that_is_nearly_right_gets_the_right_one(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert hint in capsys.readouterr().err
