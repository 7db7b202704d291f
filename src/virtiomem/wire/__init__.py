"""Bytes <-> values, and nothing else: virtio-mem messages, the split virtqueue, virtio-pci capabilities.

`mem` is the protocol of device 24 (include/uapi/linux/virtio_mem.h). Everything on the wire is little endian.
"""
