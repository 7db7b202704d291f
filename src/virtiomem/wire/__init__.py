"""Bytes to values and back, nothing else: virtio-mem messages, the split virtqueue, virtio-pci capabilities."""
