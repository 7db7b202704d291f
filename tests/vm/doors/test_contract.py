"""The contract of doors, on a simulated machine and on scripted hypervisors."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.doors.contract import STALL, Contract, Rig
from tests.vm.doors.fake_libvirt import URI, Daemon, modules
from tests.vm.doors.machine import DEVICE, SCENARIO, Played
from tests.vm.doors.servers import CloudHypervisorServer, FirecrackerServer, QmpServer, Server
from virtiomem.units import MiB


@pytest.fixture(autouse=True)
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    machine = Played(tmp_path, "vm0")
    yield machine
    machine.close()


class SimRig:
    """A simulated machine."""

    device = "vm0"
    agent: str | None = None
    inside = True
    same_machine = False
    stall = STALL

    def __init__(self, path: Path) -> None:
        path.write_text(SCENARIO.format(default="online") + DEVICE.format(name="vm0") + '[[step]]\ndo = "load"\n')
        self.connect = self.beside = f"one=sim:{path}"

    def hold(self) -> None:
        raise NotImplementedError

    def set_by_another(self, size: int) -> None:
        raise NotImplementedError

    def lose(self) -> None:
        raise NotImplementedError


class PlayedRig:
    """A scripted hypervisor."""

    agent: str | None = None
    inside = False
    same_machine = True
    stall = STALL

    def __init__(self, connect: str, device: str, played: Played, server: Server | None = None) -> None:
        self.connect = self.beside = connect
        self.device, self.played, self.server = device, played, server

    def hold(self) -> None:
        self.played.set("vm0", 512 * MiB)
        self.played.use(64 * MiB)

    def set_by_another(self, size: int) -> None:
        self.played.set("vm0", size)

    def lose(self) -> None:
        assert self.server is not None
        self.server.lose()


class LibvirtRig(PlayedRig):
    """A scripted libvirt."""

    agent: str | None = "libvirt"

    def __init__(self, daemon: Daemon, played: Played) -> None:
        super().__init__(f"libvirt:{URI}/one", "ua-vm0", played)
        self.daemon = daemon

    def lose(self) -> None:
        if "one" in self.daemon.domains:
            self.daemon.stop("one", 1)


class TestSim(Contract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        return SimRig(tmp_path / "one.toml")


class Served(Contract):
    """A scripted hypervisor on a socket."""

    kind: type[Server]
    scheme: str
    device: str

    @pytest.fixture
    def rig(self, tmp_path: Path, played: Played) -> Iterator[Rig]:
        server = self.kind(tmp_path / "one.sock", played)
        yield PlayedRig(f"{self.scheme}:{tmp_path}/one.sock", self.device, played, server)
        server.close()


class TestQmp(Served):
    kind, scheme, device = QmpServer, "qmp", "vm0"


class TestFirecracker(Served):
    kind, scheme, device = FirecrackerServer, "firecracker", "mem"


class TestCloudHypervisor(Served):
    kind, scheme, device = CloudHypervisorServer, "cloud-hypervisor", "mem0"


class TestLibvirt(Contract):
    @pytest.fixture
    def rig(self, played: Played, monkeypatch: pytest.MonkeyPatch) -> Rig:
        daemon = Daemon(one=played)
        for name, module in modules(daemon).items():
            monkeypatch.setitem(sys.modules, name, module)
        return LibvirtRig(daemon, played)
