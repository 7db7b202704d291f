"""`virtiomem COMMAND …`: choose a command, run it, and say in one line what went wrong.

Exit codes: 0 done, 1 failed or different, 2 usage, 64 partly done, 124 timed out, 125 not tried, 130 interrupted, 141
the reader is gone.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from types import ModuleType

from virtiomem import __version__, stdio
from virtiomem.errors import Exit, UsageError, VirtiomemError
from virtiomem.text import nearest, quoted, shown

TYPE_CHECKING = False  # typing's own would be a tenth of what `--version` takes
if TYPE_CHECKING:
    from typing import Any, NoReturn

COMMANDS: dict[str, str] = {
    "run": "play a scenario and show what changed in the map, the blocks and the requests",
    "compare": "are two recordings the same? if not, the first difference",
    "test": "play scenarios and compare each with the golden recording next to it",
    "read": "say what a file is, what it says about a machine's memory, and which commands take it",
    "iomem": "read any /proc/iomem: as a tree, merged, checked, compared, watched",
    "map": "draw a listing or a step of a recording as one picture",
    "report": "make a page of a recording, or of two side by side",
    "kdump": "work out what a crash dump will hold, and write its header",
    "capture": "collect what a running Linux says about its memory in one small file",
    "blocks": "show memory blocks as lsmem does, and whose they are",
    "explain": "say how far memory that was asked for has come, and which pages hold what should go",
    "plan": "work out a set-up from wishes: sizes, policy, limits, ready to paste, and played",
    "sweep": "play a scenario or a workload with many parameters and seeds: which choice gives most back",
    "calibrate": "fit the workload model of sweeps to real guests, and show how far off it is",
    "device": "check a virtio-mem device against the specification, compare it with ours on random requests, replay what one answered",
    "vm": "list, resize and watch running machines, and see why one is stuck",
    "schema": "the JSON Schema of what a command prints with --json",
    "completion": "print what bash or zsh needs to complete commands, options and file names",
}
"""Every command and what it does, in the order `--help` shows them; the module is `virtiomem.cli.<command>`."""


_EXITS = (
    "Exit status: 0 done, 1 failed or different, 2 usage, 64 partly done, 124 timed out, 125 not tried, 130 interrupted; "
    "virtiomem COMMAND --help says it of each."
)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of printing its usage and leaving."""

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> "Any":
        """Refuse ``--option=--``, which argparse before Python 3.13 takes for an option with no value and no default."""
        if arg_strings == ["--"] and action.option_strings and action.nargs is None:
            self.error(f"argument {'/'.join(action.option_strings)}: '--' is not a value")
        return super()._get_values(action, arg_strings)

    def _check_value(self, action: argparse.Action, value: "Any") -> None:
        """Refuse a word that is not one of the choices, with the one that was meant."""
        words = [] if action.choices is None else [str(choice) for choice in action.choices]
        if action.choices is not None and value not in action.choices:
            said = f"{quoted(str(value))} is not one of {', '.join(words)}{nearest(str(value), words)}"
            raise argparse.ArgumentError(action, said)

    def _get_formatter(self) -> argparse.HelpFormatter:
        """Lay out help as wide as the terminal is, which argparse asks shutil for at every argument that is added."""
        return self.formatter_class(prog=self.prog, width=stdio.columns() - 2)  # type: ignore[call-arg]

    def error(self, message: str) -> "NoReturn":
        """Refuse the arguments, in one line that names the help."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; `argv` defaults to this process's arguments."""
    # Before everything that may print or complain: a stream that the caller closed is None to Python.
    stdio.open_what_is_closed()
    stdio.print_anything()
    try:
        code = _run(sys.argv[1:] if argv is None else list(argv))
        # Inside: a full disk shows only when what was printed is written.
        sys.stdout.flush()
    except VirtiomemError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt as interrupt:
        return _complain(": ".join(["interrupted", *map(str, interrupt.args)]), Exit.INTERRUPTED)
    except BrokenPipeError:
        stdio.abandon(sys.stdout)
        return Exit.NOBODY_READS
    except MemoryError:
        return _complain("not enough memory for this", Exit.FAILED)
    # Behind BrokenPipeError, which is an OSError, too.
    except OSError as error:
        stdio.abandon(sys.stdout)
        return _complain(f"{error.filename or 'output'}: {error.strerror}", Exit.FAILED)
    return code


def _run(argv: list[str]) -> int:
    """Parse, import the chosen command's module and run it."""
    # Without argparse: what a command takes is known only once its module is imported.
    chosen = next((argument for argument in argv if not argument.startswith("-")), None)
    if chosen is not None and chosen not in COMMANDS:
        raise UsageError(f"no command {quoted(chosen)}{nearest(chosen, COMMANDS)} (see virtiomem --help)")
    # Only the parser of the command that was chosen: it need not wait for those of all others.
    names = [argv[0]] if argv[:1] == [chosen] else [] if argv == ["--version"] else COMMANDS
    parser, commands = parsers(names)
    if chosen is not None:
        module, command = module_of(chosen), commands[chosen]
        action = _action(argv, chosen, module)
        if action is not None:
            module = module_of(chosen, action)
            command.prog, command.description = f"{command.prog} {action}", module.DESCRIPTION
        module.add_arguments(command)
    try:
        # Not parse_args(): its complaint names the main command's help, and not the option that was meant.
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            named = list(_parsers(parser, argv))
            near = next((hint for word in unknown if (hint := _near_option(word, named))), "")
            raise UsageError(
                f"unrecognized arguments: {' '.join(map(shown, unknown))}{near} (see {named[-1].prog} --help)"
            )
    except SystemExit as leaving:  # --help and --version
        return int(leaving.code or 0)
    return int(module.run(args))


class _ShowVersion(argparse.Action):
    """Print the version and which build it is, which no other command line has to find out."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from virtiomem.build import is_compiled

        print(f"virtiomem {__version__} ({'compiled' if is_compiled() else 'pure Python'})")
        parser.exit()


def parsers(names: Iterable[str] = COMMANDS) -> tuple[Parser, dict[str, Parser]]:
    """Return the main parser and the parsers of the named commands, still without arguments."""
    parser = Parser(prog="virtiomem", description="The Linux virtio-mem stack.", epilog=_EXITS, allow_abbrev=False)
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="print the version and the build, and exit")
    commands = parser.add_subparsers(prog=parser.prog, dest="command", metavar="COMMAND", required=True)
    return parser, {
        name: commands.add_parser(name, help=COMMANDS[name], description=_sentence(COMMANDS[name]), allow_abbrev=False)
        for name in names
    }


def module_of(command: str, action: str | None = None) -> ModuleType:
    """The module of a command, or of one of its actions."""
    name = command.replace("-", "_") if action is None else f"{command}_{action}"
    return import_module(f"virtiomem.cli.{name}")


def actions_of(module: ModuleType) -> Iterable[str]:
    """The words behind a command that choose a module of their own."""
    actions: Iterable[str] = getattr(module, "ACTIONS", ())
    return actions


def _action(argv: list[str], name: str, module: ModuleType) -> str | None:
    """Take the word behind the command out of the arguments, when it is an action with a module of its own.

    That is how a command that takes a file has actions, too: `virtiomem iomem FILE` and `virtiomem iomem diff A B`.
    """
    behind = argv.index(name) + 1
    if argv[behind : behind + 1] and argv[behind] in actions_of(module):
        return argv.pop(behind)
    return None


def _parsers(parser: argparse.ArgumentParser, argv: Sequence[str]) -> Iterator[argparse.ArgumentParser]:
    """A parser, and those below it that the arguments name, from the top down."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            chosen = next((word for word in argv if word in action.choices), None)
            if chosen is not None:
                yield from _parsers(action.choices[chosen], argv)


def _near_option(word: str, named: Iterable[argparse.ArgumentParser]) -> str:
    """Suggest a known option close to an unknown word, dashes aside; empty when none is close."""
    known = (option for parser in named for action in parser._actions for option in action.option_strings)
    names = [option.removeprefix("--") for option in known if option.startswith("--")]
    hint = nearest(word.partition("=")[0].removeprefix("--"), names)
    return hint.replace("'", "'--", 1)


def _sentence(summary: str) -> str:
    """A table entry as a sentence."""
    return f"{summary[0].upper()}{summary[1:]}."


def _complain(message: str, code: int) -> int:
    """Say what went wrong, on one line, and hand back the exit code."""
    stdio.flush_quietly()
    stdio.say(f"virtiomem: {message}")
    return code
