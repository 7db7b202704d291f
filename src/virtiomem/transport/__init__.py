"""How a driver reaches a virtio-mem device.

channel           the interface a driver sees: one request out, one answer back
loopback          straight into our device, without a ring
vring             through a split virtqueue, over any transport
virtio_transport  what a ring needs of a device: registers, notifications, shared memory
embedded          our device behind a transport
late              the same, answering when it likes: after a delay, in any order
qtest_pci         QEMU's device behind a transport: PCI over its qtest socket
qemu_device       a stopped QEMU with such devices, each from both of its sides
"""
