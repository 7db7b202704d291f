"""A whole guest: plays steps, yields recordings. Embedded in this process, or a real Linux in QEMU."""
