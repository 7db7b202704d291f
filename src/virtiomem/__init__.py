"""The Linux virtio-mem stack: resource tree, memory hot(un)plug core, driver and device, each usable alone."""

__version__ = "0.1.0"
