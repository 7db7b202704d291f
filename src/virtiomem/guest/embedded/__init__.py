"""The embedded guest: device, driver, hotplug core and resource tree in this process, on virtual time.

guest.py          EmbeddedGuest: plays steps, takes snapshots, checks that all its parts agree
kernel.py         one running kernel: tree, core, driver module; a reboot makes a new one
hardware.py       what survives a reboot: virtio-mem devices and DIMMs
qemu_devices.py   QEMU's virtio-mem devices in the place of ours
other_drivers.py  other drivers that add memory: ACPI DIMMs, dax/kmem, Xen and Hyper-V balloons
refusing.py       another notifier, which refuses chosen actions
waiting.py        time that passes, without retries in vain
taken.py          what a guest takes: tables and steps that a file could hold
adopt.py          a guest that runs already, as a snapshot of a real one shows it
explain.py        why a device is not at its requested size
snapshot.py       the guest at rest, as a recording's Snapshot
"""

from virtiomem.guest.embedded.guest import EmbeddedGuest

__all__ = ["EmbeddedGuest"]
