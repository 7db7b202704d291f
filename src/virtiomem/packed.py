"""Files that gzip packed: unpacked piece by piece, so that a small file that would fill the memory is refused before it
does.
"""

import io
import zlib
from collections.abc import Callable, Iterator

from virtiomem.errors import UsageError
from virtiomem.text import shown
from virtiomem.units import MiB, format_size

MAGIC = b"\x1f\x8b"


def unpack(data: bytes, *, source: str, limit: int) -> bytes:
    """Undo gzip; what is not packed stays as it is.

    Raises UsageError for a damaged file, or one that unpacks to more than `limit` bytes; those cost time, not memory.
    """
    if not data.startswith(MAGIC):
        return data
    size = 0
    # Unpacked twice: at first only to count, so that a file beyond the limit is never in memory as a whole.
    for piece in _pieces(data, source):
        size += len(piece)
        if size > limit:
            raise UsageError(f"{shown(source)}: unpacks to more than {format_size(limit)}")
    return b"".join(_pieces(data, source))


def lines(data: bytes, *, source: str, longest: int, most: int) -> Iterator[bytes]:
    """The lines, without their ends, of data that may be packed; one at a time.

    Raises UsageError for damaged data, a line longer than `longest` bytes, and more than `most` lines, once it is reached.
    """
    with _opened(data) as file:
        number = 0
        # One byte more than allowed tells that a line is too long, without reading it to its end.
        while line := _read(lambda: file.readline(longest + 1), source):
            number += 1
            if len(line) > longest:
                raise UsageError(f"{shown(source)}:{number}: a line of more than {format_size(longest)}")
            if number > most:
                raise UsageError(f"{shown(source)}: more than {most} lines")
            yield line.removesuffix(b"\n")


def _pieces(data: bytes, source: str) -> Iterator[bytes]:
    with _opened(data) as file:
        while piece := _read(lambda: file.read(MiB), source):
            yield piece


def _opened(data: bytes) -> io.BufferedIOBase:
    raw = io.BytesIO(data)
    if not data.startswith(MAGIC):
        return raw
    import gzip  # not above: most files are not packed

    return gzip.GzipFile(fileobj=raw)


def _read(read: Callable[[], bytes], source: str) -> bytes:
    """Read a part, with a complaint that names the source."""
    try:
        return read()
    except EOFError:
        raise UsageError(f"{shown(source)}: damaged gzip: the file is truncated") from None
    except (OSError, zlib.error) as error:
        raise UsageError(f"{shown(source)}: damaged gzip: {error}") from None
