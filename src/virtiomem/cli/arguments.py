"""Names of files, times, sizes, counts and addresses as options take them: the readers for argparse's `type`."""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from virtiomem.errors import Exit, UsageError
from virtiomem.files import StrPath
from virtiomem.stdio import say
from virtiomem.text import quoted, shown
from virtiomem.units import U64_MAX, Size

if TYPE_CHECKING:
    from virtiomem.live.capture import Capture
    from virtiomem.recording.values import Recording
    from virtiomem.scenario.values import Scenario

MAX_SECONDS = 24 * 24 * 60 * 60
"""poll(2) counts milliseconds in 31 bits; and a wait of a month is a typo."""
MIN_SECONDS = 0.001

# No leading zeros: 010 is 8 in C and 10 to people.
_NUMBER = r"0[xX][0-9a-fA-F]{1,16}|[1-9][0-9]{0,19}|0"
_COUNT = r"([0-9]{1,18})(?:([kMG]?)|e([0-9]{1,2}))"
_MANY = {None: 1, "": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_MOST = 10**18
_DECIMAL = r"(?:[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20})(?:[eE][+-]?[0-9]{1,3})?"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 60 * 60, "": 1}
"""Seconds of each unit. "ms" stands before "s", since a text may end with both."""


def exit_status(meanings: Mapping[Exit, str], separator: str = ", ") -> str:
    """Return the part of a command's help about its exit codes."""
    return f"Exit status: {separator.join(f'{code.value} {words}' for code, words in meanings.items())}."


def check_one_source(args: argparse.Namespace) -> None:
    """Refuse a FILE next to --sysroot: only one of them can be read. Raises UsageError."""
    if args.file and args.sysroot != "/":
        raise UsageError(
            f"--sysroot {shown(args.sysroot)}: cannot be read together with {shown(args.file)}; give one of the two"
        )


def add_from(parser: argparse.ArgumentParser) -> None:
    """The option that says what a file is."""
    parser.add_argument(
        "--from", dest="kind", metavar="KIND", help="what FILE is, when its beginning does not tell (docs/input.md)"
    )


def add_step(parser: argparse.ArgumentParser) -> None:
    """The option that chooses a moment of a recording."""
    parser.add_argument(
        "--step", metavar="N", type=int, help="of a recording: after this step (0: at boot; the last by default)"
    )


def load_input(args: argparse.Namespace, verb: str, path: str | None = None) -> "Capture":
    """Read the file that a command is given, as what `--from` says or it looks like; what it was taken for goes to stderr."""
    from virtiomem.live.reading import load_any

    capture = load_any(path or args.file, verb=verb, kind=args.kind, step=getattr(args, "step", None))
    for words in capture.told:
        say(f"virtiomem: {words}")
    return capture


def load_or_collect(args: argparse.Namespace, verb: str, headings: Sequence[str]) -> "Capture":
    """Read the file that a command is given or, without one, these headings of a running Linux.

    Raises UsageError for `--step` without a file.
    """
    if args.file:
        return load_input(args, verb)
    refuse_unused({"--step": getattr(args, "step", None) is not None}, "is for a recording: give FILE")
    from virtiomem.live.collect import collect  # not above: a file need not wait for its imports

    return collect(args.sysroot, only=headings)


@contextmanager
def expecting(wanted: str, path: str, *also: str) -> Iterator[None]:
    """Add to the refusal of a file of another kind what it is and which command takes it.

    `also`: other kinds that the reader takes.
    """
    try:
        yield
    except UsageError:
        from virtiomem.live.reading import check_words

        check_words(path, wanted, *also)
        raise


def load_recording(path: str) -> "Recording":
    """Read a recording. Raises UsageError, which says what another file is and who takes it."""
    from virtiomem import recording

    with expecting("a recording", path):
        return recording.load(path)


def load_scenario(path: str, *, kernel: str | None = None) -> "Scenario":
    """Read a scenario. Raises UsageError, which says what another file is and who takes it."""
    from virtiomem import scenario

    return scenario.load(path, kernel=kernel)


def check_outputs(args: argparse.Namespace, *options: str, inputs: Iterable[StrPath] = ()) -> None:
    """Refuse, before the work, an output that cannot be written, is one of the inputs, or is another output. Raises
    UsageError.
    """
    taken = list(inputs)
    for path in filter(None, (getattr(args, option) for option in options)):
        from virtiomem.writing import check_writable  # not above: most commands write no file

        check_writable(path, inputs=taken)
        # Two options with the same file: what the one has written the other would replace.
        taken.append(path)


def refuse_unused(options: Mapping[str, object], why: str) -> None:
    """Refuse an option that was given, and that nothing would read. Raises UsageError."""
    for option, value in options.items():
        # Not `in (None, False)`, where 0 would be found: an option may be given as 0.
        if value is not None and value is not False:
            raise UsageError(f"{option} {why}")


def file(text: str) -> str:
    """Read the name of a file or a directory."""
    if not text:
        raise argparse.ArgumentTypeError("an empty file name")
    return text


def seconds(text: str) -> float:
    """Read ``90``, ``90s``, ``250ms``, ``1.5m`` or ``2h``."""
    unit = next(filter(text.endswith, _UNITS))
    number = text.removesuffix(unit)
    # float() would take 1_0, blanks and nan, too.
    value = float(number) * _UNITS[unit] if re.fullmatch(_DECIMAL, number) else 0.0
    if not MIN_SECONDS <= value <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"not a time: {quoted(text)} (write 90, 90s, 5m or 1h, from 1ms to 24 days)")
    return value


def size(text: str) -> Size:
    """Read ``128M``, ``2G``, ``0x8000000`` or bytes."""
    try:
        return Size.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """Read a count of one and more."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text)):
        raise argparse.ArgumentTypeError(f"not a count: {quoted(text)} (write 1 or more)")
    return int(text)


def count(text: str) -> int:
    """Read a large count: ``10000``, ``10k``, ``2M`` or ``1e6``."""
    parts = re.fullmatch(_COUNT, text)
    counted = int(parts[1]) * _MANY[parts[2]] * 10 ** int(parts[3] or 0) if parts else 0
    if not 0 < counted <= _MOST:
        raise argparse.ArgumentTypeError(f"not a count: {quoted(text)} (write 10000, 10k, 2M or 1e6)")
    return counted


def number(text: str) -> int:
    """Read an address, or another number below 2^64: decimal, or ``0x…``."""
    if not re.fullmatch(_NUMBER, text) or (value := int(text, 0)) > U64_MAX:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a number below 2^64, decimal or 0x…")
    return value
