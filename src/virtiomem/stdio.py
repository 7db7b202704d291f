"""The three standard streams: open whatever the caller closed, one line for each message, and no failure for a full disk."""

import io
import os
import sys
from contextlib import suppress

from virtiomem.text import one_line, printable

TYPE_CHECKING = False  # typing's own would be a tenth of what `--version` takes
if TYPE_CHECKING:
    from typing import IO


def say(message: str) -> None:
    """Put a message on standard error, as one printable line of bounded length; where it is closed, nothing happens."""
    try:
        print(one_line(message), file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


WARNING = "warning: "
"""What every warning begins with."""


def warn(message: str) -> None:
    """Print a warning: not a failure, but not to be overlooked."""
    say(f"virtiomem: {WARNING}{message}")


def show(text: str) -> None:
    """Put text on standard output, each line printable."""
    sys.stdout.write("\n".join(map(printable, text.split("\n"))))


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None for a file or a pipe, which take all there is."""
    return columns() if sys.stdout.isatty() else None


def columns() -> int:
    """Columns that there are for help: as shutil.get_terminal_size() has them, which brings every packer there is."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        # A terminal whose size was never set has 0 columns.
        return os.get_terminal_size().columns or 80
    except OSError:  # closed, or no terminal
        return 80


def write_listing(text: str) -> None:
    """Put a file's own text on standard output: byte for byte into a file or a pipe, printable on a terminal."""
    # What print() has buffered must come before the bytes, which go past its buffer.
    sys.stdout.flush()
    if sys.stdout.isatty():
        show(text)
    else:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def open_what_is_closed() -> None:
    """Put /dev/null where the caller closed stdin, stdout or stderr (``>&-``), which Python has as None.

    In this order each gets its own file descriptor, so that no file opened later becomes stdout.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - for as long as the process lives


def print_anything() -> None:
    """Print a question mark for what the terminal's encoding cannot say, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def flush_quietly() -> None:
    """Let what was printed before a failure appear before its message."""
    try:
        sys.stdout.flush()
    except OSError:
        abandon(sys.stdout)


def abandon(stream: "IO[str]") -> None:
    """Point a stream at nothing: the interpreter flushes it once more on its way out."""
    # A program or a test may have put a stream in its place that has no descriptor.
    with suppress(io.UnsupportedOperation), open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a stream, not a file
        os.dup2(nothing.fileno(), stream.fileno())
