"""Find the machines that are meant, and open them.

::

    SCHEME:WHERE           through a door (`doors.registry`); a path with a slash needs no scheme
    NAME=CONNECTION        the same under a name of one's own
    NAME                   from ``[vm.NAME]`` in the configuration
    @FILE                  one connection per line; ``agent=SOCKET`` may follow; ``#`` begins a comment

The configuration is $XDG_CONFIG_HOME/virtiomem/config.toml, then /etc/virtiomem/config.toml; the first that names a
machine counts.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import Struct

from virtiomem.errors import UsageError, VirtiomemError
from virtiomem.files import is_there, read_bytes
from virtiomem.notation import NotationError, convert, toml_values
from virtiomem.text import quoted, shown
from virtiomem.units import MiB
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.doors.registry import USAGES, parse_target
from virtiomem.vm.model import Vm

MAX_CONNECTIONS = 10_000
MAX_LIST = 16 * MiB
"""Bytes of a list, or of the configuration: more than a kilobyte for each connection."""
# No more than libvirt's door has threads for (MAX_THREADS there): a call beyond them is refused, not kept waiting.
OPENING_AT_ONCE = 64
_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A machine that could not be opened."""

    name: str
    error: VirtiomemError


class _VmEntry(Struct, frozen=True, forbid_unknown_fields=True):
    connect: str
    agent: str | None = None


class _Config(Struct, frozen=True, forbid_unknown_fields=True):
    vm: dict[str, object] = {}


def config_paths(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the configuration directories, the user's own first."""
    home = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or "/nonexistent") / ".config")
    return tuple(Path(folder) / "virtiomem" / "config.toml" for folder in (home, "/etc"))


def load_config(paths: Sequence[Path]) -> dict[str, Connection]:
    """Load the machines of all configurations; UsageError names the file and the key that is wrong."""
    found: dict[str, Connection] = {}
    # The user's own is read last and so replaces what the system's says about a machine.
    for path in reversed(paths):
        for name, entry in _entries(path) if is_there(path) else ():
            connection = parse_connection(entry.connect, agent=entry.agent, source=f"{path}: vm.{name}.connect")
            found[name] = replace(connection, name=name)
    return found


def _entries(path: Path) -> Iterator[tuple[str, _VmEntry]]:
    """Names and machines of one configuration."""
    table = ""
    try:
        # Each machine is converted by itself: in one piece an error could not name its table.
        for name, entry in convert(toml_values(read_bytes(path, limit=MAX_LIST)), _Config).vm.items():
            # Set before the entry is converted, since it is for the error that this may raise.
            table = f"vm.{name}"
            yield name, convert(entry, _VmEntry)
    except NotationError as error:
        where = ".".join(filter(None, (table, error.where)))
        raise UsageError(": ".join(filter(None, (shown(path), where, error.reason)))) from None


def resolve(texts: Sequence[str], config: Mapping[str, Connection], *, agent: str | None = None) -> list[Connection]:
    """The connections that `texts` mean, all of the configuration's when `texts` is empty; names are unique.

    Raises UsageError for anything that means no machine, and for an agent that could belong to more than one.
    """
    connections = [found for text in texts for found in _expand(text, config)] if texts else list(config.values())
    if not connections:
        raise UsageError(f"no machine: give --connect ({', '.join(USAGES)}), or name machines in config.toml")
    if len(connections) > MAX_CONNECTIONS:
        raise UsageError(f"{len(connections)} machines are more than {MAX_CONNECTIONS}")
    if agent is not None:
        if len(connections) > 1:
            raise UsageError(f"--agent {shown(agent)} belongs to one machine, but {len(connections)} are meant")
        connections = [replace(connections[0], agent=agent)]
    return _unique(connections)


def _expand(text: str, config: Mapping[str, Connection]) -> Iterator[Connection]:
    """Yield the machines that one --connect means."""
    if text.startswith("@"):
        yield from _read_list(text[1:], config)
    elif text in config:
        yield config[text]
    else:
        yield parse_connection(text)


def _read_list(path: str, config: Mapping[str, Connection]) -> Iterator[Connection]:
    """The connections of a file, one a line."""
    try:
        lines = read_bytes(path, limit=MAX_LIST).decode().splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"{shown(path)}: not a text") from None
    for number, line in enumerate(lines, 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        source = f"{shown(path)}:{number}"
        connection = config[words[0]] if words[0] in config else parse_connection(words[0], source=source)
        for word in words[1:]:
            if not word.startswith("agent="):
                raise UsageError(f"{source}: {quoted(word)} is not agent=SOCKET")
            connection = replace(connection, agent=word.removeprefix("agent="))
        yield connection


def parse_connection(text: str, *, agent: str | None = None, source: str = "--connect") -> Connection:
    """One connection as written; UsageError begins with `source`."""
    # A name has no colon, so that the `=` in a URI's query (…?socket=/p) does not end one.
    match = _NAMED.fullmatch(text)
    name, rest = (match["name"], match["rest"]) if match else ("", text)
    target = parse_target(rest, source=source)
    return Connection(name or target.name or str(target).partition(":")[2], target, agent)


def _unique(connections: Iterable[Connection]) -> list[Connection]:
    """Name machines by their connection where two would have one name; drop exact repetitions."""
    # Written twice it is still one machine: a monitor serves one client, so the second connection would wait in vain.
    distinct = list(dict.fromkeys(connections))
    names = [connection.name for connection in distinct]
    return [replace(c, name=str(c)) if names.count(c.name) > 1 else c for c in distinct]


async def expand(connections: Sequence[Connection]) -> list[Connection]:
    """Replace each connection that stands for many machines by these; names are unique.

    A connection that cannot be asked is kept: opening it says why.
    """

    async def machines(connection: Connection) -> list[Connection]:
        try:
            # A host without such domains stays in the list: opening it then says so, where an empty list would not.
            return await connection.target.machines(connection) or [connection]
        except UsageError:
            raise
        except VirtiomemError:
            return [connection]

    found = await asyncio.gather(*(machines(connection) for connection in connections))
    return _unique(one for many in found for one in many)


async def open_vm(connection: Connection) -> Vm:
    """Connect to one machine; raises what its door raises."""
    return await connection.target.open(connection)


@asynccontextmanager
async def open_all(connections: Sequence[Connection]) -> AsyncIterator[list[Vm | Unreachable]]:
    """Open many machines at once, in the order given; one that fails does not keep the others from being used."""
    gate = asyncio.Semaphore(OPENING_AT_ONCE)
    opened: list[Vm] = []

    async def attempt(connection: Connection) -> Vm | Unreachable:
        async with gate:
            try:
                vm = await open_vm(connection)
            except VirtiomemError as error:
                return Unreachable(connection.name, error)
            # Noted one by one: of a gathering that is cancelled, no result comes.
            opened.append(vm)
            return vm

    try:
        yield await asyncio.gather(*(attempt(connection) for connection in connections))
    finally:
        # All at once: closing takes up to two seconds where a peer does not answer, and there may be thousands.
        await asyncio.gather(*(vm.aclose() for vm in opened))
