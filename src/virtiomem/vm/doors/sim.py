"""``sim:FILE``: a scenario, played in this process as if it were a machine."""

from dataclasses import dataclass
from pathlib import Path

from virtiomem.releases.linux import stand_in
from virtiomem.vm.doors.base import Ability, Connection, Door, MachineTarget
from virtiomem.vm.model import Vm


@dataclass(frozen=True, slots=True)
class SimTarget(MachineTarget):
    """A scenario's file."""

    path: str

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return Path(self.path).stem

    def __str__(self) -> str:
        return f"sim:{self.path}"

    async def open(self, connection: Connection) -> Vm:
        """Play the scenario. Raises UsageError for every other file, which says what it is where that shows."""
        # Imported here: driver, device and memory core are of no use to one who talks to a real machine.
        from virtiomem.vm.doors.simulated import SimAgent, open_sim

        access = connection.access
        backend = open_sim(self.path, label=connection.label, pace=access.pace, model=access.model)
        words = stand_in(backend.guest.info.get("stands-in-for"))
        return Vm(connection.name, backend, SimAgent(backend), (words,) if words else ())


DOOR = Door(
    "sim",
    "a scenario, simulated in this process",
    ("sim:SCENARIO",),
    lambda text, _: SimTarget(text),
    {
        "resize --persist": Ability("a scenario is played again each time", can=False),
        "attach": Ability("DIMMs; the virtio-mem devices of a scenario are there from the start"),
        "detach": Ability("DIMMs"),
    },
)
