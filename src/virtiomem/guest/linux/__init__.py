"""A real Linux as guest: a stock kernel in QEMU that plays the same steps and yields the same records.

`LinuxGuest` is the guest; `Setup` says which kernel, QEMU and accelerator to use; `check_steps` refuses, before
anything is started, what only the embedded guest can play.

guest.py           LinuxGuest: plays steps
rest.py            when the guest is at rest, and why a device is not where it should be
running.py         a kernel that has come up in QEMU
command.py         QEMU's and the kernel's command lines
kernels.py         kernels, their modules, and what must be loaded before what
build_tree.py      a kernel just built: its modules, and what its configuration lacks
initramfs.py       the guest's root
cpio.py            the archive it is
shell_agent.py     our end of the line to the agent (agent.sh), which is all that runs in the guest
look.py            one look at the guest, strictly read
crash_header.py    the crash header in the guest's memory
page_look.py       what the pages of memory blocks are
serial_console.py  what the guest prints, and whether that is a panic
devices.py         the memory devices, as QEMU has them
"""

from virtiomem.guest.linux.guest import LinuxGuest, check_steps, needs_kexec
from virtiomem.guest.linux.running import Setup

__all__ = ["LinuxGuest", "Setup", "check_steps", "needs_kexec"]
