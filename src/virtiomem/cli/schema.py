"""`virtiomem schema [VERB]`: the JSON Schema of what a command prints with `--json`."""

import argparse
import json

from virtiomem.cli.arguments import exit_status, refuse_unused
from virtiomem.columns import align
from virtiomem.errors import Exit, UsageError
from virtiomem.text import nearest, quoted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.description = (
        "Print the JSON Schema (2020-12) of what a command prints with --json; of one that prints a line for each change, "
        "of a line. A version may get more keys; a key that goes, or comes to mean something else, makes the next."
    )
    parser.epilog = exit_status({Exit.DONE: "done", Exit.USAGE: "no such command, or it prints no JSON"})
    parser.add_argument("verb", nargs="*", metavar="COMMAND", help="such as: vm list (default: what there is)")
    parser.add_argument("-J", "--json", action="store_true", help="all schemas in one JSON object, by command")


def run(args: argparse.Namespace) -> int:
    """Print one schema, or what there is."""
    from virtiomem.cli.outputs import OUTPUTS, schema

    verb = " ".join(args.verb)
    if args.json:
        refuse_unused({verb: bool(verb)}, "is one schema: --json prints all")
        print(json.dumps({name: schema(name) for name in OUTPUTS}, indent=1))
    elif not verb:
        print(align([("COMMAND", "VERSION"), *((name, str(form.version)) for name, form in OUTPUTS.items())]), end="")
    elif verb not in OUTPUTS:
        raise UsageError(f"no schema of {quoted(verb)}{nearest(verb, OUTPUTS)} (virtiomem schema lists them)")
    else:
        print(json.dumps(schema(verb), indent=1))
    return Exit.DONE
