"""Growth in steps whose struct pages the guest can pay for (``--step auto``).

Each block that is added takes struct pages from memory that the guest has already, and pays with its own only once it is
online. So a step is as much as the guest's kernel zones pay for now, and the next one follows when this one is online.
"""

from dataclasses import dataclass, replace

from virtiomem.reasons import Reason
from virtiomem.vm.explain import forecast
from virtiomem.vm.inside import GuestMemoryInfo
from virtiomem.vm.plan import Plan, limited

KEPT = 0.1
"""How much of the guest's free memory, as it was at first, steps leave alone: struct pages come in 2 MiB at a time, and not
all that is free lies together."""


@dataclass(slots=True)
class Steps:
    """The steps of one resize."""

    kept: int | None = None
    """Bytes that every step leaves free; None before the first."""
    starved: Reason | None = None
    """Why the last step was less than all that was left."""

    def part(self, plan: Plan, inside: GuestMemoryInfo | None) -> Plan:
        """Return as much of a plan as the guest can pay for now; all of it if the guest does not report free memory."""
        means = inside.means if inside is not None else None
        if means is None:
            return plan
        growths = {change.device: change.after - change.device.assumed_size for change in plan.changes}
        if self.kept is None:
            # Of what was free at first: a share of what is left would shrink with each step and let the guest run dry.
            self.kept = int(means.free * KEPT)
        found = forecast(growths, replace(means, free=max(means.free - self.kept, 0)))
        # What is said is free is all that is free, the share that is left alone included.
        self.starved = None if found.is_enough else replace(found, free=means.free).reason
        return plan if found.is_enough else limited(plan, found.fits)
