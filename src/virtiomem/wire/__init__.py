"""Bytes <-> values, and nothing else. Everything on the wire is little endian.

mem       the protocol of device 24: configuration, requests, responses (include/uapi/linux/virtio_mem.h)
virtio    what every virtio device shares: status, interrupt status, features
ring      the split virtqueue in memory
pci       how a virtio device shows itself on PCI
mmio      how it shows itself as memory-mapped registers
"""
