"""A guest, its devices and steps as the text of a scenario."""

import json
from collections.abc import Iterable, Iterator

from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.recording.values import Resize, Step
from virtiomem.units import Size, format_size

_KEYS = ("kernel", "machine", "page_size", "memory", "max_memory", "default_state", "online_policy", "crashkernel")


def scenario_text(guest: GuestConfig, devices: Iterable[DeviceConfig], steps: Iterable[Step]) -> str:
    """The scenario; of steps it knows `load` and `resize`."""
    return "\n".join(_lines(guest, devices, steps))


def _lines(guest: GuestConfig, devices: Iterable[DeviceConfig], steps: Iterable[Step]) -> Iterator[str]:
    yield "[guest]"
    for name in _KEYS:
        if (value := getattr(guest, name)) is not None:
            text = format_size(value) if isinstance(value, Size) else value
            # JSON writes a string as TOML reads it.
            yield f"{name.replace('_', '-')} = {json.dumps(text)}"
    if guest.address_bits is not None:
        yield f"address-bits = {guest.address_bits}"
    yield f"auto-movable-ratio = {guest.auto_movable_ratio}"
    for node in guest.nodes:
        yield f"\n[[guest.nodes]]\nid = {node.id}\nmemory = {json.dumps(node.memory)}"
    for device in devices:
        yield f'\n[[device]]\nid = "{device.id}"\nmax-size = "{format_size(device.max_size)}"'
        yield f'block-size = "{format_size(device.block_size)}"'
        yield f"node = {device.node}"
    for step in steps:
        if isinstance(step, Resize):
            yield f'\n[[step]]\ndo = "resize"\ndevice = "{step.device}"\nrequested-size = "{format_size(step.requested_size)}"'
        else:
            yield '\n[[step]]\ndo = "load"'
    yield ""
