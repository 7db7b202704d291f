"""QEMU's releases, as its virtio-mem device shows them to a driver."""

from typing import NamedTuple

from virtiomem.releases.table import Change, Releases


class QemuRelease(NamedTuple):
    """Behaviour of a release of QEMU; the values here are those of 7.2."""

    name: str = "7.2"
    queue_size: int = 128
    """Descriptors of the one queue that the device proposes."""
    empty_unplug_all_may_be_busy: bool = True
    """UNPLUG_ALL with nothing plugged is answered BUSY while the machine migrates."""
    auto_is_inaccessible: bool = False
    """``unplugged-inaccessible=auto``, the default, is on for private anonymous memory, too."""
    can_be_removed: bool = False
    """A device with nothing plugged and nothing requested can be removed from the running machine."""
    offers_persistent_suspend: bool = False
    """The device offers PERSISTENT_SUSPEND."""
    has_msix: bool = False
    """The device's PCI function has MSI-X, and with it a BAR of 4K."""
    maps_bars_high: bool = False
    """The firmware puts 64-bit BARs to the top of the address space where there is memory above 4G; else below 4G."""


QEMU = Releases(
    QemuRelease(),
    (
        Change(
            "8.1",
            "empty_unplug_all_may_be_busy",
            False,
            "hw/virtio/virtio-mem.c: virtio_mem_unplug_all()",
            "UNPLUG_ALL with nothing plugged is acknowledged while the machine migrates, too",
        ),
        Change(
            "8.1",
            "auto_is_inaccessible",
            True,
            "hw/core/machine.c: hw_compat_8_0",
            "unplugged memory is inaccessible by default (UNPLUGGED_INACCESSIBLE) with machine types of 8.1 and newer",
        ),
        Change(
            "8.2",
            "can_be_removed",
            True,
            "hw/virtio/virtio-mem.c: virtio_mem_unplug_request_check()",
            "a device whose unplugged memory is inaccessible, with nothing plugged and nothing requested, can be removed"
            " (device_del); until it is gone, its requested size cannot be set",
        ),
        Change(
            "8.2",
            "maps_bars_high",
            True,
            "SeaBIOS 1.16.3, src/fw/pciinit.c: pci_bios_map_devices()",
            "the firmware puts 64-bit BARs to the top of the address space where there is memory above 4G; before, below 4G",
            "move 64bit pci window to end of address space",
        ),
        Change(
            "9.2",
            "offers_persistent_suspend",
            True,
            "hw/virtio/virtio-mem.c: virtio_mem_get_features()",
            "PERSISTENT_SUSPEND is offered where the machine can wake up from suspend to RAM",
        ),
        Change(
            "10.0",
            "queue_size",
            1024,
            "hw/virtio/virtio-mem.c: virtio_mem_device_realize()",
            "the queue has 1024 descriptors (seen on 10.0.13)",
        ),
        Change(
            "10.0",
            "has_msix",
            True,
            "hw/virtio/virtio-mem-pci.c: virtio_mem_pci_realize()",
            "the device's PCI function has MSI-X, and with it a BAR of 4K",
            "virtio-mem-pci: Allow setting nvectors, so we can use MSI-X",
        ),
        Change(
            "11.1",
            "queue_size",
            128,
            "hw/virtio/virtio-mem.c: virtio_mem_device_realize()",
            "the queue has 128 descriptors (seen on 11.1.3)",
        ),
    ),
    proven=("7.2", "10.0", "11.1"),
)
