"""A real Linux as guest: a stock kernel in QEMU that plays the same steps and yields the same records.

`LinuxGuest` is the guest; `Setup` says which kernel, QEMU and accelerator to use; `check_steps` refuses, before
anything is started, what only the embedded guest can play.

`kernels` finds kernels and modules, `cpio` and `initramfs` make the guest's root, `agent` (and agent.sh in the guest)
talk over a serial line, `look` reads what the agent says, `devices` is QEMU's side, `command` the command lines.
"""

from virtiomem.guest.linux.guest import LinuxGuest, Setup, check_steps

__all__ = ["LinuxGuest", "Setup", "check_steps"]
