"""A whole guest: plays steps, yields recordings.

base        a guest's configuration, and the interface that every guest has
machine     a scenario's machine: boot memory, and the room for memory devices
foresight   what a step that brings memory will cost
embedded    a guest of this process, on virtual time
linux       a real Linux in QEMU
hands       a guest that is only a program which drives a device for us
"""
