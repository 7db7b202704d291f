"""`--all` and `--ignore`: what of two recordings is compared."""

import argparse
import re

from virtiomem.recording.compare import Rules
from virtiomem.text import quoted


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--all",
        action="store_true",
        help="compare everything but times, also lines that are the kernel's, its build's or the firmware's own",
    )
    parser.add_argument(
        "--ignore",
        type=_pattern,
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out lines of the map, and differences, that match this regular expression; may be repeated",
    )


def rules_of(args: argparse.Namespace) -> Rules:
    """Read the rules of the options."""
    return Rules(everything=args.all, ignore=tuple(args.ignore))


def _pattern(text: str) -> re.Pattern[str]:
    """Read a regular expression."""
    try:
        return re.compile(text)
    # RecursionError: groups nested too deeply. OverflowError: a repeat count that is too large.
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"not a regular expression: {quoted(text)} ({error})") from None
