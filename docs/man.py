"""Man pages of the command and of each verb, out of the parsers that print `--help`: `make man`.

python -m docs.man DIRECTORY
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from virtiomem import __version__
from virtiomem.cli.whole import leaves, whole


def pages() -> Iterator[tuple[str, str]]:
    """The name and the text of each page."""
    verbs = list(leaves())
    names = [_name(verb) for verb in verbs]
    parser = whole()
    yield _name(parser), page(parser, _verbs(verbs), names)
    for verb in verbs:
        yield _name(verb), page(verb, _options(verb), ["virtiomem"])


def page(parser: argparse.ArgumentParser, middle: Iterator[str], see: list[str]) -> str:
    """A page, in the macros of man(7)."""
    name = _name(parser)
    usage = parser.format_usage().removeprefix("usage: ").rstrip().replace("\n       ", "\n")
    lines = ["'\\\" -*- coding: utf-8 -*-", f'.TH {name.upper()} 1 "" "virtiomem {__version__}" "virtiomem"']
    lines += [".SH NAME", f"{_text(name)} \\- {_text(_summary(parser))}"]
    lines += [".SH SYNOPSIS", ".nf", _text(usage), ".fi"]
    if parser.description:
        lines += [".SH DESCRIPTION", _text(parser.description)]
    lines += middle
    if parser.epilog:
        lines += [".SH NOTES", ".nf" if "\n" in parser.epilog else ".PP", _text(parser.epilog.strip()), ".fi"]
    lines += [".SH SEE ALSO", ", ".join(f".BR {_text(other)} (1)" for other in see).replace(", .BR", ",\n.BR")]
    return "\n".join(lines) + "\n"


def _verbs(verbs: list[argparse.ArgumentParser]) -> Iterator[str]:
    """Each verb with its summary."""
    yield ".SH COMMANDS"
    for verb in verbs:
        yield from (".TP", f".B {_text(verb.prog)}", _text(_summary(verb)))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Each argument with its help, in the groups of `--help`."""
    formatter = parser.formatter_class(prog=parser.prog)
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if not shown:
            continue
        yield f'.SH "{_text((group.title or "").upper())}"'
        if group.description:
            yield _text(group.description)
        for action in shown:
            words = formatter._format_action_invocation(action)
            yield from (".TP", f".B {_text(words)}", _text(formatter._expand_help(action) if action.help else ""))


def _name(parser: argparse.ArgumentParser) -> str:
    """The page's name: the words of the command, joined."""
    return parser.prog.replace(" ", "-")


def _summary(parser: argparse.ArgumentParser) -> str:
    """Return the line of whatis(1): the description without its full stop."""
    words = (parser.description or parser.prog).strip().partition("\n")[0].removesuffix(".")
    return words if words[1:2].isupper() else f"{words[0].lower()}{words[1:]}"


def _text(words: str) -> str:
    """Text that groff takes for nothing else: no escapes, no requests, and a minus that can be copied."""
    escaped = words.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line.startswith((".", "'")) else line for line in escaped.split("\n"))


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in pages():
        (directory / f"{name}.1").write_text(text)
