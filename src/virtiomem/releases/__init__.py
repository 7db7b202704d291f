"""Releases of QEMU and Linux as data: one field for each behaviour, one table of changes.

table   a release folded from the changes up to it
qemu    QEMU's releases, as its virtio-mem device and its monitor show them
linux   Linux's releases, as hotplug core and driver behave; what distributions built of them
"""
