"""Addresses of sockets as a person writes them."""

import os
import re
from pathlib import Path

from virtiomem.errors import UsageError
from virtiomem.text import quoted

Address = str | tuple[str, int]
"""A path of a unix socket, or host and port."""

MAX_PATH = 107
"""Bytes of a unix socket's path (sun_path in include/uapi/linux/un.h, less its end)."""
_NETWORK = re.compile(r"(?:tcp:)?(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\s]+):(?P<port>\d{1,5})")


def parse_address(text: str, *, source: str) -> Address:
    """Read a path, ``unix:PATH`` or ``[tcp:]HOST:PORT``; what has neither a slash nor a colon is a path.

    Raises UsageError, which begins with `source`.
    """
    if text.startswith("unix:") or "/" in text or ":" not in text:
        return parse_path(text.removeprefix("unix:"), source=source)
    match = _NETWORK.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise UsageError(f"{source}: {quoted(text)} is neither a path nor HOST:PORT")
    # getaddrinfo() takes an IPv6 address without the brackets that keep it apart from the port.
    return match["host"].strip("[]"), int(match["port"])


def parse_path(path: str, *, source: str) -> str:
    """Read the path of a unix socket; UsageError for what cannot be one."""
    if len(os.fsencode(path)) > MAX_PATH or "\0" in path:
        raise UsageError(f"{source}: {quoted(path)} cannot name a unix socket (at most {MAX_PATH} bytes)")
    return path


def name_of(text: str) -> str:
    """Name a machine after its address: a socket's file without its suffix, or HOST:PORT."""
    if isinstance(parse_address(text, source=""), str):
        return Path(text).stem
    return text.removeprefix("tcp:")
