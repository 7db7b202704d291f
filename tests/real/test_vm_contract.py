"""The contract of doors (tests/vm/doors/contract.py) on real machines: a Linux in QEMU, and one in a domain of libvirt."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.real.agents import START_AGENT, qemu_with_agent
from tests.real.libvirtd import Libvirtd, LibvirtGuest, require_libvirt
from tests.vm.doors.contract import Contract, Rig, with_machine
from tests.waiting import PATIENCE, wait_until
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.qemu.memory_devices import requested_size
from virtiomem.recording.values import Load, Reboot, Use
from virtiomem.units import GiB, MiB, Size
from virtiomem.vm.doors import agent_files, libvirt_agent, libvirt_host, peer
from virtiomem.vm.model import Vm

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest agent in an emulated guest on a busy machine is slow, which is not what is tested here."""
    for module in (agent_files, peer, libvirt_host):
        monkeypatch.setattr(module, "ANSWER_SECONDS", PATIENCE)
    for module in (peer, libvirt_agent):
        monkeypatch.setattr(module, "LOOK_SECONDS", PATIENCE)


class RealRig:
    """A real Linux, with nothing plugged when a test begins."""

    inside = False
    same_machine = True
    stall = "8"
    """Seconds: an emulated guest on a busy machine takes a while for each block."""
    agent: str | None
    connect: str
    beside: str
    device: str

    def __init__(self) -> None:
        self._on = False
        self._held = False

    def fresh(self) -> None:
        """Begin: booted, the driver loaded, nothing plugged."""
        if not self._on:
            self._boot()
        elif self._held:
            self.set_by_another(0)
            self._reset()
        else:
            self._resize(0)
        self._on, self._held = True, False

    def hold(self) -> None:
        """Plug 512M into a kernel zone, and fill 64M of it with what cannot be moved."""
        self._held = True
        self._shell("echo online > /sys/devices/system/memory/auto_online_blocks")
        self._resize(512 * MiB)
        self._use(64 * MiB)

    def _resize(self, size: int) -> None:
        async def plugged(vm: Vm) -> int | None:
            return (await vm.backend.look()).plugged

        self.set_by_another(size)
        wait_until(lambda: with_machine(self, plugged, beside=True) == size, f"it did not get to {size}")

    @abstractmethod
    def set_by_another(self, size: int) -> None:
        """See `Rig`."""

    @abstractmethod
    def lose(self) -> None:
        """See `Rig`."""

    @abstractmethod
    def _boot(self) -> None:
        """Boot, and load the driver."""

    @abstractmethod
    def _reset(self) -> None:
        """Reset, and load the driver."""

    @abstractmethod
    def _shell(self, text: str) -> None:
        """Run something in the guest."""

    @abstractmethod
    def _use(self, size: int) -> None:
        """Fill memory with what cannot be moved."""


class QemuRig(RealRig):
    """One in QEMU, reached through its monitor."""

    device = "vm0"

    def __init__(self, folder: Path, setup: Setup) -> None:
        super().__init__()
        self.agent = f"{folder}/ga.sock"
        self.connect, self.beside = f"one=qmp:{folder}/vm.sock", f"one=qmp:{folder}/other.sock"
        self._folder = folder
        self._setup = replace(setup, qemu=qemu_with_agent(folder), accel="tcg")
        self._guest: LinuxGuest | None = None

    def set_by_another(self, size: int) -> None:
        assert self._guest is not None
        self._guest.qmp.execute("qom-set", requested_size("/machine/peripheral/vm0", size))

    def lose(self) -> None:
        self._on = False
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    close = lose

    def _boot(self) -> None:
        config = GuestConfig(memory=Size(512 * MiB), max_memory=Size(16 * GiB), default_state="online_movable")
        for path in self._folder.glob("*.sock"):
            path.unlink()
        self._guest = LinuxGuest(config, [DeviceConfig(id="vm0", max_size=Size(2 * GiB))], setup=self._setup)
        self._booted()

    def _reset(self) -> None:
        assert self._guest is not None
        self._guest.play(Reboot())
        self._booted()

    def _booted(self) -> None:
        assert self._guest is not None
        self._guest.shell(START_AGENT)
        self._guest.play(Load())

    def _shell(self, text: str) -> None:
        assert self._guest is not None
        self._guest.shell(text)

    def _use(self, size: int) -> None:
        assert self._guest is not None
        self._guest.play(Use(id="pinned", size=Size(size), kind="unmovable"))


class LibvirtRig(RealRig):
    """One in a domain of a libvirtd of our own."""

    device = "ua-vm0"
    agent: str | None = "libvirt"

    def __init__(self, daemon: Libvirtd) -> None:
        super().__init__()
        self.connect = self.beside = daemon.connect("one")
        self._daemon = daemon
        self._guest: LibvirtGuest | None = None

    def set_by_another(self, size: int) -> None:
        self._daemon.virsh("update-memory-device", "one", "--requested-size", f"{size >> 10}KiB")

    def lose(self) -> None:
        if self._on:
            self._on = False
            self._daemon.virsh("destroy", "one")

    def close(self) -> None:
        """Leave it to the daemon, which ends it."""
        if self._guest is not None:
            self._guest.close()

    def _boot(self) -> None:
        if self._guest is None:
            self._guest = LibvirtGuest(self._daemon, "one")
        else:
            self._guest.start()

    def _reset(self) -> None:
        assert self._guest is not None
        self._guest.reset()

    def _shell(self, text: str) -> None:
        assert self._guest is not None
        self._guest.ask("sh", text)

    def _use(self, size: int) -> None:
        assert self._guest is not None
        self._guest.ask("use", "pinned", str(size), "unmovable")


@pytest.fixture(scope="module")
def in_qemu(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QemuRig]:
    rig = QemuRig(tmp_path_factory.mktemp("qmp"), setup)
    yield rig
    rig.close()


@pytest.fixture(scope="module")
def in_libvirt() -> Iterator[LibvirtRig]:
    require_libvirt()
    with Libvirtd() as daemon:
        rig = LibvirtRig(daemon)
        yield rig
        rig.close()


class TestQmp(Contract):
    @pytest.fixture
    def rig(self, in_qemu: QemuRig) -> Rig:
        in_qemu.fresh()
        return in_qemu


class TestLibvirt(Contract):
    @pytest.fixture
    def rig(self, in_libvirt: LibvirtRig) -> Rig:
        in_libvirt.fresh()
        return in_libvirt
