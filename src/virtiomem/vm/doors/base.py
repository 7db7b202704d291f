"""What a door is, what a target can do, and how a machine is to be opened."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from virtiomem.vm.model import Vm


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a verb wants of a machine, and what its user allows."""

    unstable: bool = False
    """Commands that the hypervisor calls unstable may be sent."""
    pace: float = 0.0
    """Seconds that pass for each second of a simulated machine."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One machine: its name, where it is, where its guest agent listens, and how it is to be opened."""

    name: str
    target: "MachineTarget"
    agent: str | None = None
    access: Access = field(default_factory=Access)

    def __str__(self) -> str:
        return str(self.target)


class MachineTarget(Protocol):
    """Where a machine is, read from its text.

    `name` is what it is called where nobody names it; `str()` is the text with its scheme.
    """

    @property
    def name(self) -> str:
        """A name for it, which may be empty."""

    async def open(self, connection: Connection) -> Vm:
        """Open the machine; raises UsageError where it can never be opened, else BackendError or ProtocolError."""


class Door(NamedTuple):
    """A way to reach machines."""

    scheme: str
    what: str
    """What is behind it."""
    usages: tuple[str, ...]
    """How it is written, an example each."""
    parse: Callable[[str, str], MachineTarget]
    """Reads what stands behind the scheme; UsageError begins with the second argument, where the text stands."""
