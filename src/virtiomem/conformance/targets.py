"""Targets of the suite: our own device, and QEMU's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from virtiomem.architecture import DEFAULT
from virtiomem.conformance.testbench import DeviceUnderTest, Target
from virtiomem.device.board import Q35, MachineKind, board_of
from virtiomem.device.mem import MemDevice
from virtiomem.device.realize import offered_features
from virtiomem.errors import DeviceError
from virtiomem.qemu.process import BINARY
from virtiomem.releases.qemu import QEMU, QemuRelease
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.transport.late import LateTransport
from virtiomem.transport.qemu_device import QemuMachine
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.units import GiB

_ADDR = 4 * GiB


class EmbeddedTarget:
    """Our own device: prompt, or answering each chain after `delay` seconds, in any order with `disorder`."""

    has_contents = False
    has_virtio = True
    machine: MachineKind | None = None
    release = QEMU.oldest

    def __init__(self, delay: float = 0.0, *, disorder: bool = False, release: QemuRelease = QEMU.oldest) -> None:
        self._delay = delay
        self.release = release
        self._order = Random(0) if disorder else None
        late = f", {delay * 1000:g} ms for each answer" if delay else ""
        self.name = f"embedded device (models QEMU {release.name}{late}{', in any order' if disorder else ''})"

    @contextmanager
    def open(self, spec: DeviceSpec) -> Iterator[DeviceUnderTest]:
        """A device of ours; it has no memory behind its blocks."""
        mem = realize(spec, self.release)
        prompt = not self._delay and self._order is None
        transport = EmbeddedTransport(mem) if prompt else LateTransport(mem, self._delay, self._order)
        yield DeviceUnderTest(transport, transport)

    def close(self) -> None:
        """Nothing to let go of."""


def realize(spec: DeviceSpec, release: QemuRelease = QEMU.oldest) -> MemDevice:
    """Our device as QEMU would make it; raises DeviceError in QEMU's words."""
    return MemDevice(
        addr=spec.memaddr or _ADDR,
        region_size=spec.size,
        block_size=spec.block_size or DEFAULT.transparent_huge_page,
        requested_size=spec.requested_size,
        node=spec.node,
        nodes=spec.node + 1,
        features=offered_features(release, spec.unplugged_inaccessible),
        release=release,
    )


class QemuTarget:
    """QEMU's device, through its qtest socket; one QEMU serves all checks that want the same device."""

    has_contents = True
    has_virtio = True

    def __init__(self, binary: str = BINARY) -> None:
        """Use this program; raises BackendError when it is missing or too old."""
        self._binary = binary
        board = board_of(binary)
        self.machine: MachineKind | None = None if board is Q35 else board.name
        self._machine: QemuMachine | None = None
        self._spec: DeviceSpec | None = None
        # Started without a device, to learn the version and that it starts at all.
        with QemuMachine([], binary=binary) as machine:
            self.name = f"QEMU {machine.version} virtio-mem-pci{'' if board is Q35 else f' on {board.name}'}"
            self.release = QEMU.release(machine.version)

    @contextmanager
    def open(self, spec: DeviceSpec) -> Iterator[DeviceUnderTest]:
        """The device as after a power-on."""
        machine = self._machine_for(spec)
        device = machine.devices[spec.id]
        try:
            yield DeviceUnderTest(device.transport, device)
        except BaseException:
            self.close()  # no other check may meet it in an unknown state
            raise
        try:
            # First, for a system reset in a migration leaves everything plugged. The size comes before the reset, which
            # works the usable region out from it.
            device.set_busy(False)
            if device.requested_size() != spec.requested_size:
                device.set_requested_size(spec.requested_size)
            device.system_reset()
        except DeviceError:  # a size that is allowed at power-on only
            self.close()

    def close(self) -> None:
        """End QEMU."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def _machine_for(self, spec: DeviceSpec) -> QemuMachine:
        if self._machine is not None and self._spec == spec and self._machine.process.returncode is None:
            return self._machine
        self.close()
        self._machine = QemuMachine([spec], binary=self._binary)
        self._spec = spec
        return self._machine


@contextmanager
def open_target(qemu: str | None, other: Callable[[], Target] | None = None) -> Iterator[Target]:
    """QEMU's device when `qemu` names a program, what `other` makes if given, else ours."""
    target: Target = other() if other is not None else EmbeddedTarget() if qemu is None else QemuTarget(qemu)
    try:
        yield target
    finally:
        target.close()
