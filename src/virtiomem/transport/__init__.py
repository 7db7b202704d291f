"""How a driver reaches a device: one interface, in process, through a ring in memory, or into QEMU."""
