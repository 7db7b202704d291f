"""Interface of a door: what a target can do, and how a machine is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from virtiomem.vm.model import Vm


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Rights and options with which a machine is opened."""

    unstable: bool = False
    """Commands that the hypervisor calls unstable may be sent."""
    writes: bool = False
    """The machine is to be changed; without it a door that can connects read-only."""
    persist: bool = False
    """What is changed goes into the machine's stored configuration, too."""
    pace: float = 0.0
    """Seconds that pass for each second of a simulated machine."""
    model: str | None = None
    """The release of Linux that a simulated machine has, instead of its scenario's."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One machine: its name, where it is, where its guest agent listens, and how it is to be opened."""

    name: str
    target: "MachineTarget"
    agent: str | None = None
    access: Access = field(default_factory=Access)

    @property
    def label(self) -> str:
        """Name of the machine in errors: door and address, and the machine's name where they do not have it."""
        # A name that the address already shows is not said twice.
        known = {self.target.name, str(self.target), str(self.target).partition(":")[2]}
        return str(self.target) if self.name in known else f"{self.name} ({self.target})"

    def changing(self) -> "Connection":
        """The same, to be opened for a change."""
        return replace(self, access=replace(self.access, writes=True))

    def of(self, name: str, target: "MachineTarget") -> "Connection":
        """Another machine, to be opened in the same way."""
        return replace(self, name=name, target=target)

    def __str__(self) -> str:
        return str(self.target)


class MachineTarget(Protocol):
    """Address of a machine, read from its text.

    `name` is what it is called unless the user names it; `str()` is the text with its scheme.
    """

    @property
    def name(self) -> str:
        """A name for it, which may be empty."""

    async def machines(self, connection: Connection) -> list[Connection]:
        """The connections that it stands for: itself, where it is one machine; raises as `open` does."""
        return [connection]

    async def open(self, connection: Connection) -> Vm:
        """Open the machine; raises UsageError where it can never be opened, else BackendError or ProtocolError."""


VERBS = ("list", "status", "resize", "resize --persist", "watch", "explain", "attach", "detach")


class Ability(NamedTuple):
    """A door's support for a verb: whether it can do it, and what stays unknown or why it cannot."""

    note: str
    can: bool = True


class Door(NamedTuple):
    """A way to reach machines."""

    scheme: str
    what: str
    """What is behind it."""
    usages: tuple[str, ...]
    """How it is written, an example each."""
    parse: Callable[[str, str], MachineTarget]
    """Reads what stands behind the scheme; UsageError begins with the second argument, where the text stands."""
    abilities: Mapping[str, Ability] = {}
    """Restrictions by verb (`VERBS`); a verb without an entry is fully supported."""

    def ability(self, verb: str) -> Ability:
        """Return whether it can do that."""
        return self.abilities.get(verb, Ability(""))
