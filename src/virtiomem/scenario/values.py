"""A scenario as a value: a guest, its driver and devices, and what is done to them."""

from msgspec import Struct, field

from virtiomem.files import StrPath
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.recording.values import Step


class ScenarioFile(Struct, frozen=True, kw_only=True, rename="kebab", forbid_unknown_fields=True):
    """A scenario file as written: its tables, before anything is looked up or placed."""

    title: str = ""
    guest: GuestConfig = field(default_factory=GuestConfig)
    driver: DriverConfig = field(default_factory=DriverConfig)
    device: list[DeviceConfig] = field(default_factory=list)
    step: list[Step] = field(default_factory=list)


class Scenario(Struct, frozen=True, kw_only=True):
    """A scenario that can be played: every device has its address and its name, sizes are bytes."""

    title: str
    guest: GuestConfig
    driver: DriverConfig
    devices: list[DeviceConfig]
    steps: list[Step]
    boot_iomem: str
    """The /proc/iomem listing that the guest starts from; empty when it starts from a capture."""
    folder: StrPath = ""
    """What the paths in it are relative to."""
    source: str = "scenario"
    """What to call it in messages: its file."""
