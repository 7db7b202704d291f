"""A set-up played on a guest: every step must settle where it is meant to."""

from collections.abc import Callable
from contextlib import closing

from virtiomem.errors import VirtiomemError
from virtiomem.guest.base import Guest
from virtiomem.planning.output import scenario
from virtiomem.planning.setup import SetUp
from virtiomem.recording.describe import describe
from virtiomem.recording.values import Resize, VirtioMemInfo
from virtiomem.scenario import Scenario, loads
from virtiomem.units import format_exact


class DisprovedError(VirtiomemError):
    """A guest did not do what was planned."""


def prove(
    setup: SetUp, open_guest: Callable[[Scenario], Guest], on_step: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Play the steps, and return a line about each; calls `on_step` before each. Raises DisprovedError for the first
    that does not settle as planned.
    """
    played = loads(scenario(setup), source="plan")
    lines = []
    with closing(open_guest(played)) as guest:
        for number, step in enumerate(played.steps, 1):
            on_step(f"step {number} of {len(played.steps)}: {describe(step)}")
            record = guest.play(step)
            sizes = {one.id: one.size for one in record.snapshot.devices if isinstance(one, VirtioMemInfo)}
            wanted = isinstance(step, Resize) and sizes[step.device] != step.requested_size
            if record.error is not None or not record.settled or wanted:
                why = record.error or "; ".join(record.held_up or ()) or "it did not settle"
                raise DisprovedError(f"{describe(step)}: {format_exact(sum(sizes.values()))} plugged: {why}")
            lines.append(f"{describe(step)}: {format_exact(sum(sizes.values()))} plugged")
    return lines
