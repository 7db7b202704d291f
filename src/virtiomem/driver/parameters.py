"""Parameters of the virtio_mem module, as values and as Linux writes them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from virtiomem import border


@dataclass(frozen=True, slots=True)
class Parameters:
    """Module parameters (virtio_mem.*). `merge_resources` is not one: false is the driver before MHP_MERGE_RESOURCE.

    Raises ArgumentError.
    """

    force_bbm: bool = False
    bbm_block_size: int = 0
    """Bytes; 0 for the smallest possible."""
    bbm_safe_unplug: bool = True
    unplug_online: bool = True
    merge_resources: bool = True

    def __post_init__(self) -> None:
        border.integer("bbm_block_size", self.bbm_block_size)
        for name in ("force_bbm", "bbm_safe_unplug", "unplug_online", "merge_resources"):
            border.instance(name, getattr(self, name), bool)

    def to_sysfs(self) -> dict[str, str]:
        """The files of /sys/module/virtio_mem/parameters, by name."""
        values = {name: getattr(self, name) for name in PARAMETERS}
        return {
            name: ("N", "Y")[value] if isinstance(value, bool) else str(int(value)) for name, value in values.items()
        }

    def to_modprobe(self) -> list[str]:
        """Return the module options: only those that differ from their defaults."""
        default = DEFAULTS.to_sysfs()
        return [f"{name}={text}" for name, text in self.to_sysfs().items() if text != default[name]]

    @classmethod
    def from_sysfs(cls, files: Mapping[str, str]) -> Self:
        """Read these files; one that is missing has the default. Raises ValueError for a size that is not a number."""
        values: dict[str, bool | int] = {}
        # Files of other parameters are passed over: a kernel may have more than are known here.
        for name in PARAMETERS & files.keys():
            is_flag = isinstance(getattr(DEFAULTS, name), bool)
            values[name] = files[name] == "Y" if is_flag else int(files[name] or "0")
        return cls(**values)  # type: ignore[arg-type]


DEFAULTS = Parameters()
PARAMETERS = tuple(field.name for field in fields(Parameters) if field.name != "merge_resources")
"""What Linux knows as parameters."""
