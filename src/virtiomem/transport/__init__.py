"""Transports: the connections between a driver and a virtio-mem device.

channel           the interface a driver sees: one request out, one answer back
loopback          straight into our device, without a ring
vring             through a split virtqueue, over any transport
virtio_transport  what a ring needs of a device: registers, notifications, shared memory
embedded          our device behind a transport
owner             its user's side, by call
late              the same, answering when it likes: after a delay, in any order
register_transport  a device whose registers are addresses, by a table of them
qtest_pci         the table of virtio-pci, and what firmware does; QEMU's device over its qtest socket
virtio_mmio       the table of memory-mapped registers
hands             the device of any VMM, from inside its guest
qemu_device       a stopped QEMU with such devices, each from both of its sides
"""
