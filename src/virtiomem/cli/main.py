"""`virtiomem COMMAND …`: choose a command, run it, and say in one line what went wrong.

Exit codes: 0 done, 1 failed or different, 2 usage, 64 partly done, 124 timed out, 130 interrupted, 141 nobody reads.
"""

import argparse
import difflib
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from virtiomem import __version__
from virtiomem.errors import UsageError, VirtiomemError, printable

COMMANDS: dict[str, str] = {
    "run": "play a scenario and show what changed in the map, the blocks and the requests",
    "compare": "are two recordings the same? if not, the first difference",
    "iomem": "read any /proc/iomem: as a tree, merged, checked, compared, watched",
    "map": "draw a listing or a step of a recording as one picture",
    "report": "make a page of a recording, or of two side by side",
    "kdump": "work out what a crash dump will hold, and write its header",
    "capture": "collect what a running Linux says of its memory in one small file",
    "blocks": "show memory blocks as lsmem does, and whose they are",
    "device": "check a virtio-mem device against the specification, fuzz it beside ours, replay what one answered",
    "vm": "list, resize and watch running machines, and see why one is stuck",
}
"""Every command and what it does, in the order `--help` shows them; the module is `virtiomem.cli.<command>`."""

EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141
"""What a shell reports of a program that SIGINT or SIGPIPE ended."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments, in one line that names the help."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; `argv` defaults to this process's arguments."""
    _open_what_is_closed()
    _print_anything()
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        _flush()
    except VirtiomemError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return EXIT_NOBODY_READS
    except MemoryError:
        return _complain("not enough memory for this", 1)
    except OSError as error:
        _abandon_stdout()
        return _complain(f"{error.filename or 'output'}: {error.strerror}", 1)
    return code


def _run(argv: list[str]) -> int:
    """Parse, import the chosen command's module and run it."""
    chosen = next((argument for argument in argv if not argument.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        raise UsageError(f"no command {chosen!r}{_nearest(chosen)} (see virtiomem --help)")
    parser = Parser(prog="virtiomem", description="The Linux virtio-mem stack.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"virtiomem {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=_sentence(summary), allow_abbrev=False)
        if name == chosen:
            module = import_module(f"virtiomem.cli.{name.replace('-', '_')}")
            action = _action(argv, name, module)
            if action is not None:
                module = import_module(f"{module.__name__}_{action}")
                command.prog, command.description = f"{command.prog} {action}", module.DESCRIPTION
            module.add_arguments(command)
    try:
        args = parser.parse_args(argv)
    except SystemExit as leaving:  # --help and --version
        return int(leaving.code or 0)
    return int(module.run(args))


def _action(argv: list[str], name: str, module: ModuleType) -> str | None:
    """Take the word behind the command out of the arguments, when it is an action with a module of its own.

    That is how a command that takes a file has actions, too: `virtiomem iomem FILE` and `virtiomem iomem diff A B`.
    """
    behind = argv.index(name) + 1
    if argv[behind : behind + 1] and argv[behind] in getattr(module, "ACTIONS", ()):
        return argv.pop(behind)
    return None


def _open_what_is_closed() -> None:
    """Put /dev/null where the caller closed stdin, stdout or stderr (``>&-``), which Python has as None.

    In this order each gets its own file descriptor, so that no file opened later becomes stdout.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - for as long as the process lives


def _print_anything() -> None:
    """Print a question mark for what the terminal's encoding cannot say, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _nearest(chosen: str) -> str:
    """A hint when a command's name is nearly right."""
    near = difflib.get_close_matches(chosen, COMMANDS, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _sentence(summary: str) -> str:
    """A table entry as a sentence."""
    return f"{summary[0].upper()}{summary[1:]}."


def _complain(message: str, code: int) -> int:
    """Say what went wrong, on one line, and hand back the exit code."""
    _flush_quietly()
    print("virtiomem:", printable(" ".join(message.splitlines())), file=sys.stderr)
    return code


def _flush() -> None:
    """Write out what stdout still holds, so that a failure is seen here and not while the interpreter shuts down."""
    sys.stdout.flush()


def _flush_quietly() -> None:
    """Let what was printed before a failure appear before its message."""
    try:
        _flush()
    except OSError:
        _abandon_stdout()


def _abandon_stdout() -> None:
    """Point stdout at nothing: the interpreter flushes it once more on its way out."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
