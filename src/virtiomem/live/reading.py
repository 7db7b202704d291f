"""Read a file that describes a Linux for what it is; what only a recording needs is imported when there is one."""

from pathlib import Path
from typing import TYPE_CHECKING

from virtiomem.errors import UsageError
from virtiomem.files import read_bytes, read_stdin
from virtiomem.live.capture import MAX_LISTING, MAX_SIZE, Capture, Section, loads, looks_like_capture
from virtiomem.packed import unpack
from virtiomem.units import format_size

if TYPE_CHECKING:
    from virtiomem.recording.values import Recording


def source_of(path: str | Path) -> str:
    """What to call a file in messages; ``-`` is standard input."""
    return "standard input" if str(path) == "-" else str(path)


def load_any(path: str | Path) -> Capture:
    """Read a file that describes a Linux's memory, as `read_any` does; a recording gives what its last snapshot holds."""
    found = read_any(path)
    if isinstance(found, Capture):
        return found
    from virtiomem.live.load import from_recording

    return from_recording(found, source=source_of(path))


def read_any(path: str | Path) -> "Capture | Recording":
    """Read a file that describes a Linux's memory for what it is; ``-`` is standard input.

    What is neither a capture nor a recording is taken for a listing of /proc/iomem and is the capture's only section,
    unread and byte for byte. Raises UsageError for a damaged capture or recording, or a file that cannot be read.
    """
    source = source_of(path)
    data = read_stdin() if str(path) == "-" else read_bytes(path)
    data = unpack(data, source=source, limit=MAX_SIZE)
    if looks_like_capture(data):
        return loads(data, source=source)
    if data.lstrip().startswith(b"{"):
        from virtiomem.recording import json_file

        return json_file.loads(data, source=source)
    if len(data) > MAX_LISTING:
        raise UsageError(f"{source}: longer than {format_size(MAX_LISTING)}: no listing of /proc/iomem")
    return Capture({"proc/iomem": Section(data.decode("utf-8", "surrogateescape"))}, source=source)
