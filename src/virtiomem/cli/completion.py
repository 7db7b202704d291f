"""`virtiomem completion SHELL`: what a shell needs to complete commands, options, choices and file names."""

import argparse
from collections.abc import Iterator

import shtab

from virtiomem.cli.arguments import file
from virtiomem.cli.whole import children, whole

_HOW = """\
bash  a line in ~/.bashrc:                eval "$(virtiomem completion bash)"
zsh   a file in a directory of $fpath:    virtiomem completion zsh > ~/.zfunc/_virtiomem
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the shell."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _HOW
    parser.add_argument("shell", choices=("bash", "zsh"), help="for which shell")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    parser = whole()
    for action in _actions(parser):
        # The reader of an argument tells that it is the name of a file.
        if action.type is file:
            action.complete = shtab.DIR if action.metavar == "DIR" else shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every argument of a parser and of those below it."""
    yield from parser._actions
    for child in children(parser).values():
        yield from _actions(child)
