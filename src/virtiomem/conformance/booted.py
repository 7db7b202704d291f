"""Test the device of any VMM that boots Linux, through our program in its guest (the hands) and the guest's console.

The VMM is a command of the user's, in which placeholders stand for what we bring: a kernel, an initramfs, the kernel's command
line; and, where the command can make devices of any shape, for that shape. What a guest cannot do to its device (change the
requested size, start a migration) is done by a hook, or not at all: rules that need it are not applicable then.

One guest serves all checks that want the same device, if a driver can bring the device back to what it was. After
whatever went wrong the VMM is killed, with its children, and a new one is started.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from virtiomem.conformance.testbench import SPEC, DeviceUnderTest
from virtiomem.conformance.vmm import BootedGuest, Vmm, split
from virtiomem.device.board import BOARDS, Q35, MachineKind
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError
from virtiomem.releases.qemu import QEMU, QemuRelease
from virtiomem.text import one_line, shown
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import Chain, Ring, initialize
from virtiomem.units import format_size
from virtiomem.wire.mem import Config, Feature, Request, RequestType, Response, ResponseType
from virtiomem.wire.virtio import VirtioFeature

HOOK_SECONDS = 60.0
"""Seconds for a command that sets a size, or tells a version."""


class Hook(Protocol):
    """Access to the VMM's side of the device, provided by the user."""

    def set_requested_size(self, size: int) -> None:
        """Set it, in bytes; raises DeviceError when the VMM refuses."""

    def size(self) -> int:
        """The plugged size that the VMM reports; NotImplementedError when it does not."""

    def close(self) -> None:
        """Let go of the VMM, which is about to be killed; harmless when repeated."""


class CommandHook:
    """A command that sets the requested size: ``{size}`` in it stands for the bytes. Its failure is a refusal."""

    def __init__(self, text: str) -> None:
        """Raises UsageError for a command that has no ``{size}``, or cannot be split."""
        self._words = split(text, "--resize-command", ("size",))

    def set_requested_size(self, size: int) -> None:
        """Run it; raises DeviceError with the last line that it said when it fails."""
        words = [word.replace("{size}", str(size)) for word in self._words]
        try:
            done = subprocess.run(  # noqa: S603 - an argument list, no shell
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=HOOK_SECONDS, check=False
            )
        except OSError as error:
            raise BackendError(f"--resize-command: {shown(words[0])}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise BackendTimeout(f"--resize-command: {shown(words[0])} did not end within {HOOK_SECONDS:g} s") from None
        if done.returncode:
            # Programs complain on either of the two; the last line is most likely the reason.
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            raise DeviceError(one_line(said[-1] if said else f"{shown(words[0])} exited with code {done.returncode}"))

    def size(self) -> int:
        """The VMM has no way to say it."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing stays open."""


def expected_release(command: Sequence[str]) -> QemuRelease:
    """Return the QEMU release whose answers are expected: the command's own if it is a QEMU, else the oldest known.

    What differs between QEMU's releases, the specification leaves open.
    """
    if "qemu-system" not in Path(command[0]).name:
        return QEMU.oldest
    try:
        done = subprocess.run(  # noqa: S603 - an argument list, no shell
            [command[0], "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=HOOK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return QEMU.oldest
    found = re.search(r"version (\d{1,3}\.\d{1,3}\.\d{1,3})", done.stdout)
    return QEMU.release(found[1]) if found else QEMU.oldest


class GuestOwner:
    """The VMM's side of the device, if there is a way to it."""

    def __init__(self, guest: BootedGuest, hook: Hook | None) -> None:
        self._guest = guest
        self._hook = hook

    def set_requested_size(self, size: int) -> None:
        """Let the hook do it; NotImplementedError without one."""
        if self._hook is None:
            raise NotImplementedError
        self._hook.set_requested_size(size)

    def requested_size(self) -> int:
        """Return the requested size from the configuration space."""
        return Config.unpack(self._guest.transport.config()).requested_size

    def size(self) -> int:
        """Return the plugged size that the hook reports."""
        if self._hook is None:
            raise NotImplementedError
        return self._hook.size()

    def system_reset(self) -> None:
        """Reboot from inside."""
        self._guest.reboot()

    def set_busy(self, busy: bool) -> None:
        """Raise NotImplementedError: a guest cannot start a migration."""
        raise NotImplementedError


class BootTarget:
    """The devices that a VMM gives its guests; a `conformance.testbench.Target`."""

    has_contents = True
    has_virtio = True

    def __init__(self, vmm: Vmm, hook: Hook | None = None, release: QemuRelease = QEMU.oldest) -> None:
        """Boot it once; `release` is the QEMU whose answers are expected. Raises BackendError where no device is reached."""
        self._vmm = vmm
        self._hook = hook
        self.release = release
        self.name = f"the device of {shown(Path(vmm.command[0]).name)}, from inside a guest"
        board = next(one for one in BOARDS.values() if vmm.architecture in one.architectures)
        self.machine: MachineKind | None = None if board is Q35 else board.name
        self._spec: DeviceSpec = SPEC
        try:
            self._guest: BootedGuest | None = BootedGuest(vmm, SPEC)
        except DeviceError as error:
            raise BackendError(f"{shown(vmm.command[0])} does not start: {error}") from None
        try:
            self._made = self._seen(self._guest)
        except BaseException:
            self.close()
            raise

    def nearest(self, spec: DeviceSpec) -> DeviceSpec:
        """A device that the command makes: the one that is asked for, if the command takes a shape."""
        # A shape is of use only whole: with one of the three fixed, most combinations are impossible.
        if not self._vmm.shapes >= {"size", "block-size", "requested-size"}:
            return self._made
        free = {name for name in DeviceSpec._fields if name.replace("_", "-") in self._vmm.shapes}
        return self._made._replace(**{name: getattr(spec, name) for name in free})

    @contextmanager
    def open(self, spec: DeviceSpec) -> Iterator[DeviceUnderTest]:
        """The device as after a power-on; raises DeviceError for one that the command does not make."""
        guest = self._guest_for(spec)
        try:
            yield DeviceUnderTest(guest.transport, GuestOwner(guest, self._hook))
        except BaseException:
            self.close()  # no other check may meet it in an unknown state
            raise
        try:
            # A boot takes seconds, bringing the device back a fraction of one.
            self._restore(guest, spec)
        # Not a finding: rules about resets have checks of their own. The next check boots a new guest.
        except (BackendError, DeviceError, ProtocolError, NotImplementedError):
            self.close()

    def close(self) -> None:
        """Kill the VMM."""
        if self._hook is not None:
            self._hook.close()
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    def _guest_for(self, spec: DeviceSpec) -> BootedGuest:
        spec = self._filled(spec)
        # It may have ended after the last check had seen all that it wanted.
        if self._guest is not None and self._spec == spec and self._guest.running:
            return self._guest
        self.close()
        self._guest, self._spec = BootedGuest(self._vmm, spec), spec
        # Looked at and not believed: a command may leave a placeholder out, or round, and a check must not run on
        # another device than it names.
        if (difference := _differs(spec, seen := self._seen(self._guest))) is not None:
            self.close()
            raise DeviceError(f"the command made {difference} = {_value(getattr(seen, difference))}, not as asked for")
        return self._guest

    def _filled(self, spec: DeviceSpec) -> DeviceSpec:
        """Return the shape that the command gives the device; raises DeviceError where a part is fixed at another value."""
        for name, wanted, made in zip(DeviceSpec._fields, spec, self._made, strict=True):
            if name.replace("_", "-") in self._vmm.shapes or wanted in {None, "auto", made}:
                continue
            raise DeviceError(f"the command makes {name.replace('_', '-')} = {_value(made)}, not {_value(wanted)}")
        return spec

    def _seen(self, guest: BootedGuest) -> DeviceSpec:
        """The device that is there."""
        config = Config.unpack(guest.transport.config())
        inaccessible = guest.transport.offered() & Feature.UNPLUGGED_INACCESSIBLE
        return DeviceSpec(
            SPEC.id,
            config.region_size,
            block_size=config.block_size,
            requested_size=config.requested_size,
            memaddr=config.addr,
            node=config.node_id,
            unplugged_inaccessible="on" if inaccessible else "off",
        )

    def _restore(self, guest: BootedGuest, spec: DeviceSpec) -> None:
        """Bring the device back to what it was: nothing plugged, the requested size as it was, reset."""
        transport = guest.transport
        ring = Ring(transport)
        initialize(transport, ring, transport.offered() & (sum(Feature) | VirtioFeature.VERSION_1))
        # The size first: QEMU works the usable region out again at UNPLUG ALL, from what is requested then.
        if self._hook is not None and Config.unpack(transport.config()).requested_size != spec.requested_size:
            self._hook.set_requested_size(spec.requested_size)
        answered = ring.submit([Chain((Request(RequestType.UNPLUG_ALL).pack(),))])
        transport.set_status(0)
        config = Config.unpack(transport.config())
        same = (config.plugged_size, config.requested_size) == (0, spec.requested_size)
        if not same or Response.unpack(answered.data[0]).type is not ResponseType.ACK:
            raise DeviceError("the device does not come back to what it was")
        # One that is left over would be taken for the next check's.
        transport.take_interrupt()


def _differs(spec: DeviceSpec, seen: DeviceSpec) -> str | None:
    """Return the first field whose value is not the requested one; ``auto`` matches every value."""
    wanted = spec._replace(unplugged_inaccessible=None) if spec.unplugged_inaccessible == "auto" else spec
    for name, value, made in zip(DeviceSpec._fields, wanted, seen, strict=True):
        if value not in (None, made):
            return name.replace("_", "-")
    return None


def _value(value: object) -> str:
    return format_size(value) if isinstance(value, int) else str(value)
