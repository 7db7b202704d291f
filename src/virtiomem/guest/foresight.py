"""Predict the cost, in free memory, of a step that adds memory."""

from collections.abc import Callable, Sequence

from virtiomem.memory.forecast import Means, foresee
from virtiomem.reasons import Reason
from virtiomem.recording.values import DeviceInfo, PlugDimm, Resize, Step, VirtioMemInfo


def cost_of(step: Step, devices: Sequence[DeviceInfo], means_of: Callable[[int], Means | None]) -> Reason | None:
    """Return the cost, and whether it fits; None for a step that adds no memory or a node whose free memory is unknown."""
    match step:
        case Resize(device=name, requested_size=size):
            device = next((one for one in devices if isinstance(one, VirtioMemInfo) and one.id == name), None)
            there, node = (device.size, device.node) if device is not None else (int(size), 0)
        case PlugDimm(id=name, size=size, node=node):
            there = 0
        case _:
            return None
    growth = int(size) - there
    means = means_of(node) if growth > 0 else None
    if means is None:
        return None
    # The rest of a block that is partly plugged has its struct pages already.
    begun = min(-there % means.block_size, growth)
    return foresee(means, growth, begun=begun, at_once=isinstance(step, PlugDimm)).reason.of(name)
