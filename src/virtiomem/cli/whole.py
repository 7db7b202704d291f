"""Every command's parser at once: what completion and the man pages are made of.

`main` imports a command when it was chosen; code that describes all commands needs all of them.
"""

from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterator

from virtiomem.cli.main import Parser, actions_of, module_of, parsers


def whole() -> Parser:
    """The parser of the whole command line."""
    parser, commands = parsers()
    for name, command in commands.items():
        module_of(name).add_arguments(command)
    return parser


def leaves() -> Iterator[ArgumentParser]:
    """The parser of each verb, in the order of the help: `virtiomem run`, `virtiomem iomem`, `virtiomem iomem diff`, …"""
    for parser in children(whole()).values():
        yield from children(parser).values() or (parser,)
        name = parser.prog.rpartition(" ")[2]
        for action in actions_of(module_of(name)):
            module = module_of(name, action)
            leaf = Parser(prog=f"{parser.prog} {action}", description=module.DESCRIPTION, allow_abbrev=False)
            module.add_arguments(leaf)
            yield leaf


def children(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The parsers below one, by their words."""
    return {
        word: child
        for action in parser._actions
        if isinstance(action, _SubParsersAction)
        for word, child in action.choices.items()
    }
