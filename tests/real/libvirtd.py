"""A libvirtd of the tests' own, and real guests in its domains."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Self

from tests.real.agents import QEMU_GA, agent_archive
from tests.real.needs import missing, require
from tests.waiting import PATIENCE, wait_until
from virtiomem.errors import BackendError
from virtiomem.guest.base import DriverConfig, GuestConfig
from virtiomem.guest.linux import cpio, initramfs, kernels
from virtiomem.guest.linux.command import kernel_command_line
from virtiomem.guest.linux.serial_console import Console
from virtiomem.guest.linux.shell_agent import Reply, ShellAgent
from virtiomem.units import MiB, Size

NOBODY = 65534
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where a daemon looks for QEMU: the installed one, not one that another test has put before it."""
SYSTEM_USER = "libvirt-qemu"
"""Whom a system libvirtd looks up, the one that is to run QEMU."""
START_AGENT = (
    "for port in /sys/class/virtio-ports/*; do "
    f"grep -q guest_agent $port/name && {QEMU_GA} -d -m virtio-serial -p /dev/${{port##*/}} -t /run -f /run/qemu-ga.pid; done"
)
DEVICE = """
<memory model='virtio-mem'><target><size unit='GiB'>2</size><node>{node}</node><block unit='MiB'>2</block>
<requested unit='MiB'>0</requested></target>{alias}</memory>"""
DOMAIN = """
<domain type='qemu'><name>{name}</name><memory unit='MiB'>{memory}</memory><maxMemory slots='4' unit='GiB'>16</maxMemory>
<vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type>{boot}</os><features><acpi/></features>
<cpu mode='maximum'><numa>{cells}</numa></cpu>
<devices>{serial}<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<memballoon model='none'/>{devices}</devices></domain>"""
SERIAL = "<serial type='unix'><source mode='bind' path='{path}'/><target port='{port}'/></serial>"


def require_libvirt() -> None:
    """Skip, or fail, where libvirtd or its binding is missing."""
    require("libvirtd", "libvirt-daemon, libvirt-daemon-driver-qemu")
    require("virsh", "libvirt-clients")
    try:
        import libvirt  # noqa: F401
    except ImportError:
        missing("libvirt's Python binding (make libvirt, with Debian's libvirt-dev and pkg-config)")


class Libvirtd:
    """A private session daemon, which runs as nobody where we are root; or a system daemon, with all in its own folder."""

    def __init__(self, *, system: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="virtiomem-libvirt-"))
        self.folder.chmod(0o755)
        self.run, self.home = self.folder / "run", self.folder / "home"
        (self.home / "c/libvirt").mkdir(parents=True)
        self.run.mkdir(mode=0o700)
        self.system = system
        self._privileged = os.geteuid() == 0
        (self.home / "c/libvirt/qemu.conf").write_text('stdio_handler = "file"\n')
        if self._privileged and not system:
            for path in (self.run, *self.home.rglob("*"), self.home):
                os.chown(path, NOBODY, NOBODY)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def uri(self) -> str:
        """How to connect."""
        mode = "system" if self.system else "session"
        return f"qemu+unix:///{mode}?socket={self.socket}"

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.run / ("libvirt-sock" if self.system else "libvirt/libvirt-sock")

    def connect(self, domain: str) -> str:
        """What --connect takes for a domain; without a name, for all."""
        uri, _, query = self.uri.partition("?")
        return f"libvirt:{uri}/{domain}?{query}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["libvirtd"]
        if self.system:
            (self.folder / "libvirtd.conf").write_text(f'unix_sock_dir = "{self.run}"\nauth_unix_rw = "none"\n')
            command += ["-f", f"{self.folder}/libvirtd.conf", "-p", f"{self.folder}/pid"]
        elif self._privileged:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        environment = os.environ | {
            "PATH": SYSTEM_PATH,
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.run),
            "XDG_CONFIG_HOME": str(self.home / "c"),
            "XDG_CACHE_HOME": str(self.home / "k"),
        }
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, lambda: f"libvirtd did not start: {(self.folder / 'log').read_text()[-500:]}")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-500:]
        return (
            self.socket.exists()
            and subprocess.run(
                ["virsh", "-c", self.uri, "uri"], capture_output=True, timeout=PATIENCE, check=False
            ).returncode
            == 0
        )

    def kill(self) -> None:
        """Kill it; its domains go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def virsh(self, *words: str) -> str:
        """What virsh prints; a refusal fails the test, with what the daemon said."""
        command = ["virsh", "-c", self.uri, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, f"virsh {' '.join(words)}: {done.stderr}\nlibvirtd said:\n{self.said()}"
        return done.stdout

    def said(self) -> str:
        """The end of the daemon's log."""
        return (self.folder / "log").read_text()[-2000:]

    def define(self, xml: str) -> None:
        """Define a domain."""
        path = self.folder / "domain.xml"
        path.write_text(xml)
        self.virsh("define", str(path))

    def tiny(self, name: str, nodes: Sequence[int] = (0,), memory: int = 64) -> None:
        """A domain without a guest, paused."""
        self.define(domain(name, nodes, memory=memory))
        self.virsh("start", name, "--paused")

    def qemu(self, name: str) -> int:
        """The process of a domain."""
        found = self.run.rglob(f"{name}.pid") if not self.system else Path("/run/libvirt/qemu").rglob(f"{name}.pid")
        return int(next(iter(found)).read_text())

    def close(self) -> None:
        """End its domains, then it."""
        with suppress(AssertionError):
            if self.process is not None and self.process.poll() is not None:
                self.start()
            for name in self.virsh("list", "--name").split():
                with suppress(ProcessLookupError, StopIteration):
                    os.kill(self.qemu(name), signal.SIGCONT)
                self.virsh("destroy", name)
            for name in self.virsh("list", "--all", "--name").split() if self.system else ():
                self.virsh("undefine", name)
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def domain(
    name: str, nodes: Sequence[int] = (0,), *, memory: int = 512, boot: str = "", serial: str = "", alias: bool = True
) -> str:
    """A domain's XML, with as much boot memory on each node, in MiB, and a virtio-mem device of 2 GiB there."""
    cells = [
        f"<cell id='{node}' memory='{memory}' unit='MiB'{' cpus=' + repr('0') if not node else ''}/>" for node in nodes
    ]
    devices = [DEVICE.format(node=node, alias=f"<alias name='ua-vm{node}'/>" if alias else "") for node in nodes]
    return DOMAIN.format(
        name=name,
        memory=(memory + 2048) * len(nodes),
        boot=boot,
        serial=serial,
        cells="".join(cells),
        devices="".join(devices),
    )


class LibvirtGuest:
    """A real Linux in a domain of libvirt, with a line to a shell in it, and a guest agent on libvirt's channel."""

    def __init__(self, daemon: Libvirtd, name: str, nodes: Sequence[int] = (0,)) -> None:
        require("qemu-ga", "qemu-guest-agent")
        self.daemon, self.name = daemon, name
        try:
            kernel = kernels.find("")
            parts = initramfs.gather(kernel)
        except BackendError as error:
            missing(str(error))
        extra = [module for module in kernel.load_order("virtio_console") if module not in parts.boot_modules]
        root = daemon.folder / "root"
        root.write_bytes(initramfs.build(parts) + agent_archive() + _modules(extra))
        config = GuestConfig(memory=Size(512 * MiB), default_state="online_movable")
        words = kernel_command_line(config, DriverConfig(), built_in=kernel.driver_built_in)
        boot = f"<kernel>{kernel.image}</kernel><initrd>{root}</initrd><cmdline>{words}</cmdline>"
        lines = (self._line(port) for port in ("console", "agent"))
        serial = "".join(SERIAL.format(path=path, port=port) for port, path in enumerate(lines))
        daemon.define(domain(name, nodes, boot=boot, serial=serial))
        self._agent: ShellAgent | None = None
        self._sockets: dict[str, socket.socket] = {}
        self.start()

    def _line(self, port: str) -> Path:
        return self.daemon.run / f"{self.name}-{port}"

    def start(self) -> None:
        """Boot it, and load the driver."""
        self.daemon.virsh("start", self.name, "--paused")
        self.close()
        sockets = self._sockets = {port: socket.socket(socket.AF_UNIX) for port in ("console", "agent")}
        for port, line in sockets.items():
            line.connect(str(self._line(port)))

        def lost(doing: str) -> BackendError:
            return BackendError(f"the domain ended while {doing}")

        self._agent = ShellAgent(SimpleNamespace(sockets=sockets, lost=lost), Console(None))  # type: ignore[arg-type]
        self.daemon.virsh("resume", self.name)
        self.booted()

    def booted(self) -> None:
        """Wait for the shell, start the guest agent, and load the driver."""
        assert self._agent is not None
        self._agent.wait_for_hello(PATIENCE)
        self.ask("sh", START_AGENT)
        self.ask("load")

    def ask(self, verb: str, *arguments: str) -> Reply:
        """Let the shell in the guest do something."""
        assert self._agent is not None
        reply = self._agent.ask(verb, *arguments, doing=verb, timeout=PATIENCE)
        assert reply.status == 0, f"{verb}: {reply.text}"
        return reply

    def blocks(self) -> int:
        """How many memory blocks are online."""
        return int(self.ask("sh", "grep -l online /sys/devices/system/memory/memory*/state | wc -l").text)

    def close(self) -> None:
        """Leave the lines to it; the domain is the daemon's."""
        for line in self._sockets.values():
            line.close()

    def reset(self) -> None:
        """Reset the machine, and wait until it is there again."""
        self.daemon.virsh("reset", self.name)
        self.booted()


def _modules(modules: Sequence[kernels.Module]) -> bytes:
    """More modules, loaded behind the others."""
    return cpio.archive([cpio.file(f"modules/9{n}-{module.name}.ko", module.data) for n, module in enumerate(modules)])
