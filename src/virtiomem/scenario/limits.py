"""Limits of a scenario: what QEMU and Linux have room for, and beyond that what can be played in minutes."""

from virtiomem.errors import ScenarioError
from virtiomem.guest.machine import MAX_DEVICES
from virtiomem.recording.values import SetState, Wait
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.scenario.values import ScenarioFile
from virtiomem.units import TiB, format_size

MAX_MEMORY = 64 * TiB
"""Of a guest at boot, of a DIMM, of all devices: half a million memory blocks of 128 MiB. Physical memory ends much later."""
MAX_STEPS = 10_000
MAX_BLOCKS = 1 << 16
"""In one step: 8 TiB of the smallest memory blocks."""
MAX_WAIT = 365 * 24 * 3600.0
"""Seconds."""


def check_amounts(file: ScenarioFile) -> None:
    """Refuse more devices, steps, blocks, memory or time than there can be."""
    if len(file.device) > MAX_DEVICES:
        raise ScenarioError(
            f"{len(file.device)} devices need more PCI slots than QEMU has, {MAX_DEVICES}", where="device"
        )
    total = 0
    for index, device in enumerate(file.device):
        # In their order, so that the complaint names the device with which it becomes too much.
        total += device.max_size
        if total > MAX_MEMORY:
            raise ScenarioError(f"{format_size(total)} in all is more than {_ROOM}", where=f"device[{index}].max-size")
    if len(file.step) > MAX_STEPS:
        raise ScenarioError(f"{len(file.step)} steps are more than {MAX_STEPS}: split the scenario", where="step")
    for index, step in enumerate(file.step):
        where = f"step[{index}]"
        if isinstance(step, SetState) and len(step.blocks) > MAX_BLOCKS:
            reason = f"{len(step.blocks)} blocks are more than {MAX_BLOCKS}: take another step for the rest"
            raise ScenarioError(reason, where=f"{where}.blocks")
        # Not `seconds < 0 or …`: a NaN is refused, too.
        if isinstance(step, Wait) and not 0 <= step.seconds <= MAX_WAIT:
            raise ScenarioError(f"{step.seconds} is not from 0 to {MAX_WAIT:.0f}, a year", where=f"{where}.seconds")
    if sum(step.seconds for step in file.step if isinstance(step, Wait)) > MAX_WAIT:
        raise ScenarioError(f"the waits are more than {MAX_WAIT:.0f} seconds in all, a year", where="step")


def check_ram(listing: ResourceTree) -> None:
    """Refuse a listing with more RAM than there can be."""
    total = sum(node.size for node in listing.children if node.name == SYSTEM_RAM)
    if total > MAX_MEMORY:
        raise ScenarioError(f"{format_size(total)} of System RAM is more than {_ROOM}", where="guest.iomem")


_ROOM = f"any machine takes, {format_size(MAX_MEMORY)}"
