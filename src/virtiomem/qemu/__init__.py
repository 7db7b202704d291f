"""A QEMU process: its command line, its life, its qtest socket and its QMP."""
