"""Linux's releases, as their memory hotplug core and virtio-mem driver behave, and what distributions built of them."""

from dataclasses import dataclass

from virtiomem.abi import OnlineType
from virtiomem.releases.table import Change, Releases


@dataclass(frozen=True, slots=True, kw_only=True)
class LinuxRelease:
    """What a release of Linux does; the values here are those of 6.1."""

    name: str = "6.1"
    retries_emptied_blocks: bool = False
    """A memory block with nothing plugged that could not be removed is tried again, in every pass and by the timer."""
    folds_removal_errnos: bool = False
    """The driver takes every failure to offline and remove memory for EBUSY, but for ENOMEM."""
    has_bbm_safe_unplug: bool = True
    """The module has the parameter bbm_safe_unplug; else big blocks are always unplugged the safe way."""
    fake_offline_heeds_config: bool = False
    """Taking pages from the allocator stops with EAGAIN once the device's configuration has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinuxBuild:
    """What a distribution chose when it built a release; the values here are those of Debian's 6.1."""

    name: str = "6.1"
    default_state: OnlineType = OnlineType.OFFLINE
    """What becomes of added memory where the command line does not say."""


_DRIVER = "drivers/virtio/virtio_mem.c"

LINUX = Releases(
    LinuxRelease(),
    (
        Change(
            "6.6",
            "retries_emptied_blocks",
            True,
            f"{_DRIVER}: virtio_mem_cleanup_pending_mb()",
            "a memory block of sub-blocks with nothing plugged that could not be removed is tried again, in every pass and"
            " by the timer: Movable, then kernel zones, then offline; before, it stays and is filled first",
        ),
        Change(
            "6.6",
            "folds_removal_errnos",
            True,
            f"{_DRIVER}: virtio_mem_offline_and_remove_memory()",
            "every failure to offline and remove memory counts as EBUSY, but for ENOMEM; before, one that the driver does"
            " not know breaks a device of big blocks",
        ),
        Change(
            "6.6",
            "has_bbm_safe_unplug",
            False,
            f"{_DRIVER}: virtio_mem_bbm_offline_remove_and_unplug_bb()",
            "the parameter `bbm_safe_unplug` is gone and ignored with a warning: big blocks are always unplugged the safe"
            " way",
        ),
        Change(
            "6.6",
            "fake_offline_heeds_config",
            True,
            f"{_DRIVER}: virtio_mem_fake_offline()",
            "pages are no longer taken from the allocator once the configuration has changed (EAGAIN)",
        ),
    ),
    proven=("6.1", "6.12"),
)

DEBIAN = Releases(
    LinuxBuild(),
    (
        Change(
            "6.12",
            "default_state",
            OnlineType.ONLINE,
            "mm/memory_hotplug.c: CONFIG_MHP_DEFAULT_ONLINE_TYPE",
            "Debian builds with `online` as what becomes of added memory where the command line does not say; before,"
            " `offline`",
        ),
    ),
    proven=("6.1", "6.12"),
)

DEFAULT = LINUX.oldest
"""The release that is modelled where none is named."""
