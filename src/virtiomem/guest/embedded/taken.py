"""Convert the arguments of a guest made in Python to the tables and steps that a scenario file holds."""

from itertools import pairwise
from typing import Any, get_args

import msgspec

from virtiomem import border
from virtiomem.errors import ArgumentTypeError, ArgumentValueError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.guest.machine import MAX_DEVICES
from virtiomem.recording.json_file import decode_size
from virtiomem.recording.values import PlugDimm, Step

Tables = tuple[GuestConfig, DriverConfig, list[DeviceConfig]]


def step(step: object) -> Step:
    """The step as a file would give it; refuse what is not a step, or has a value that no file can hold."""
    border.instance("step", step, *get_args(Step))
    read: Step = _read("step", step, Step)
    if isinstance(read, PlugDimm):
        border.name("id", read.id)
    return read


def tables(guest: object, driver: object, devices: object) -> Tables:
    """The tables as a file would give them; refuse devices without an address, and more than one machine has a place for."""
    border.instance("config", guest, GuestConfig)
    border.instance("driver", driver, DriverConfig)
    border.instance("devices", devices, list, tuple)
    assert isinstance(devices, list | tuple)
    config: GuestConfig = _read("config", guest, GuestConfig)
    if len(devices) > MAX_DEVICES:
        raise ArgumentValueError(f"devices must be at most {MAX_DEVICES}, the slots of a machine, not {len(devices)}")
    read = [_device(device) for device in devices]
    for before, device in pairwise(sorted(read, key=lambda device: device.id)):
        if before.id == device.id:
            raise ArgumentValueError(f"devices must have ids of their own, and {device.id} is there twice")
    return config, _read("driver", driver, DriverConfig), read


def _device(device: object) -> DeviceConfig:
    border.instance("a device", device, DeviceConfig)
    read: DeviceConfig = _read("a device", device, DeviceConfig)
    border.name("a device's id", read.id)
    if read.memaddr is None:
        raise ArgumentValueError(f"device {read.id} must have a memaddr: scenario.loads() finds one")
    return read


def _read(what: str, table: object, kind: Any) -> Any:
    """A table that has been written and read again."""
    wanted = f"{what} must be such as a scenario file can hold"
    try:
        # Written and read again: whatever a file could not hold is found by the reader of files itself.
        written = msgspec.to_builtins(table, enc_hook=int, builtin_types=(bytes, bytearray, memoryview))
        return msgspec.convert(written, kind, dec_hook=decode_size)
    except msgspec.ValidationError as error:
        raise ArgumentTypeError(f"{wanted}: {error}") from None
    except (TypeError, ValueError, RecursionError):
        raise ArgumentTypeError(f"{wanted}: it has an object of another kind") from None
