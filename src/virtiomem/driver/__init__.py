"""The guest's side. Models drivers/virtio/virtio_mem.c (Linux 6.1)."""
