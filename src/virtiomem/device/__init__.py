"""The hypervisor's side. Models hw/virtio/virtio-mem.c (QEMU 7.2)."""
