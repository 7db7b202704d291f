"""A kernel running in QEMU: asked through its agent, changed through QMP, its requests read from QEMU's trace."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgspec import structs

from virtiomem.architecture import DEFAULT
from virtiomem.device.board import BOARDS
from virtiomem.driver.messages import is_driver_line
from virtiomem.errors import BackendError, BackendTimeout, ProtocolError, UsageError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.guest.linux import command, initramfs, kernels, serial_console
from virtiomem.guest.linux.devices import MemoryDevices
from virtiomem.guest.linux.look import Look, parse
from virtiomem.guest.linux.shell_agent import Reply, ShellAgent
from virtiomem.qemu import MemoryFile, QemuProcess, accel
from virtiomem.qemu.qmp import QmpSession
from virtiomem.qemu.trace import TraceReader
from virtiomem.recording import Request
from virtiomem.recording.complaints import is_complaint
from virtiomem.units import Size

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Options of a run; None means the default of this machine. `timeout`: seconds for a boot, and for a step.

    `kernel` is an image, or a release such as ``6.1`` that is looked for. Raises UsageError for modules without the
    image that they are of.
    """

    kernel: Path | str | None = None
    modules: Path | None = None
    qemu: str | None = None
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    append: str = ""
    console: str | None = None
    busybox: Path | None = None
    timeout: float = 300.0
    load: tuple[str, ...] = ()
    """More modules that the guest loads when it boots, by name."""
    programs: Mapping[str, bytes] = field(default_factory=dict)
    """More static programs in the guest, by path."""

    def __post_init__(self) -> None:
        if self.modules is not None and not isinstance(self.kernel, Path):
            raise UsageError(f"--modules {self.modules} needs --kernel FILE: modules are of one kernel")


class RunningLinux:
    """A Linux that has come up; `info` says which, `memory` has its memory devices, `qmp` is QEMU's monitor.

    `kexec` puts the kernel and kexec-tools into it; `say` receives what is being started. Raises BackendError (or
    BackendTimeout) when something is missing, with its Debian package, or the kernel does not come up.
    """

    def __init__(
        self,
        config: GuestConfig,
        devices: Sequence[DeviceConfig],
        driver: DriverConfig,
        setup: Setup,
        *,
        kexec: bool,
        say: Say,
    ) -> None:
        self._setup = setup
        self._board, self._architecture = BOARDS[config.machine], config.architecture
        self._binary = setup.qemu or self._board.program
        self._kernel = kernels.choose(setup.kernel or config.kernel, setup.modules, self._architecture)
        with ExitStack() as stack:
            self._boot(stack, config, devices, driver, kexec, say)
            self._resources = stack.pop_all()

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._qemu.pid

    @property
    def timeout(self) -> float:
        """Seconds for a boot, and for a step."""
        return self._setup.timeout

    def ask(self, verb: str, *arguments: str, doing: str, timeout: float | None = None) -> Reply:
        """Let the agent do something; see `ShellAgent.ask`."""
        return self._agent.ask(verb, *arguments, doing=doing, timeout=timeout or self.timeout)

    def suspend(self, to: str, doing: str) -> Reply:
        """Put the guest to sleep and wake it up.

        A suspend to disk is refused once its image is made, because the guest has no swap.
        """
        # An old SUSPEND would wake the guest up before it sleeps.
        self.qmp.forget_events()
        # A wake-up while the image is made ends it without an error: create_image() in kernel/power/hibernate.c returns 0.
        wake = (lambda: None) if to == "disk" else self._wake
        return self._agent.ask("suspend", to, doing=doing, timeout=self.timeout, each_second=wake)

    def _wake(self) -> None:
        """Wake it up, if it sleeps: a machine through QEMU, a processor through the agent's line."""
        if self.qmp.next_event("SUSPEND", timeout=0.05) is not None:
            self.qmp.execute("system_wakeup")
        self._agent.nudge()

    def follow(self, seconds: float, doing: str) -> None:
        """Let time pass."""
        self._agent.follow(seconds, doing)

    def look(self, doing: str) -> Look:
        """Take one look at the guest."""
        return parse(self.ask("snapshot", doing=doing).text)

    def take_requests(self) -> list[Request]:
        """The requests since the last call."""
        return self._trace.read(self._qemu.output.take())

    def take_log(self) -> list[str]:
        """Return the driver's lines in the kernel log since the last call, and those in which the kernel complains of
        itself.
        """
        return [line for line in self._console.take() if is_driver_line(line) or is_complaint(line)]

    @property
    def starved(self) -> bool:
        """True if the kernel ran out of memory since the last call of `take_log`."""
        return self._console.starved

    def last_words(self) -> str:
        """The last lines of the console since the last call of `take_log`."""
        return self._console.last_words()

    def read_memory(self, address: int, size: int) -> bytes:
        """Read the machine's memory at a physical address. Raises DeviceError where QEMU finds no memory."""
        self.qmp.execute("pmemsave", {"val": address, "size": size, "filename": self._memory.path})
        return self._memory.read(size)

    def reset(self) -> None:
        """Reset the machine, and wait for the kernel."""
        self.qmp.execute("system_reset")
        self.await_agent()

    def await_agent(self) -> int:
        """Wait for the agent of a kernel that has been started; returns its page size."""
        release, page_size = self._agent.wait_for_hello(self.timeout)
        # A kexec may have started something else, and modules are of one release.
        if release != self._kernel.release:
            raise ProtocolError(f"the guest runs kernel {release}, not {self._kernel.release}")
        return page_size

    def close(self) -> None:
        """Kill it and let go of everything; harmless when repeated."""
        self._resources.close()

    def _boot(
        self,
        stack: ExitStack,
        config: GuestConfig,
        devices: Sequence[DeviceConfig],
        driver: DriverConfig,
        kexec: bool,
        say: Say,
    ) -> None:
        """Start QEMU and wait for the agent."""
        kernel, setup = self._kernel, self._setup
        # Before anything is started: a missing piece ends it at once, with its package.
        parts = initramfs.gather(kernel, busybox=setup.busybox, kexec=kexec, load=setup.load, programs=setup.programs)
        root = initramfs.build(parts)
        accelerator = self._accelerator(say)
        words = command.kernel_command_line(config, driver, built_in=kernel.driver_built_in, append=setup.append)
        initrd = stack.enter_context(MemoryFile("initramfs", root))
        # pmemsave writes into a file: an inherited one in memory, so that no guest memory lies on a disk.
        self._memory = stack.enter_context(MemoryFile("memory", b""))
        arguments = command.qemu_arguments(config, self._first(devices), accelerator)
        arguments += ["-kernel", str(kernel.image), "-initrd", initrd.path, "-append", words]
        say(f"booting Linux {kernel.release} ({accelerator})")
        copy = stack.enter_context(serial_console.open_file(setup.console)) if setup.console else None
        self._console = serial_console.Console(copy)
        self._qemu = stack.enter_context(
            QemuProcess(arguments, binary=self._binary, sockets=command.SOCKETS, files=[initrd, self._memory])
        )
        self._agent = ShellAgent(self._qemu, self._console)
        self.qmp = self._connect()
        stack.callback(self.qmp.close)
        self.memory = MemoryDevices(self.qmp)
        self._trace = TraceReader(self.memory.regions())
        page_size = self.await_agent()
        for device in devices if kernel.driver_built_in else []:
            self.memory.set_requested_size(device.id, device.requested_size)
        self.info: dict[str, Any] = {
            "kind": "linux",
            "kernel": kernel.release,
            "qemu": self.qmp.version(),
            "command-line": words,
            "driver": "stock",
            "accel": accelerator,
            **({} if self._architecture is DEFAULT else {"architecture": self._architecture.family}),
            "page-size": page_size,
        }

    def _accelerator(self, say: Say) -> str:
        """The accelerator that was asked for, or the one that works."""
        if self._setup.accel != "auto":
            return self._setup.accel
        if self._board.has_device_tree:  # another processor than this machine's, most of the time
            return "tcg"
        say(f"looking for an accelerator that runs Linux {self._kernel.release}")
        return accel.choose(self._kernel.image, binary=self._binary)

    def _first(self, devices: Sequence[DeviceConfig]) -> Sequence[DeviceConfig]:
        """The devices as they are started: a built-in driver must find nothing to do until it is "loaded"."""
        if not self._kernel.driver_built_in:
            return devices
        return [structs.replace(device, requested_size=Size(0)) for device in devices]

    def _connect(self) -> QmpSession:
        """QMP; a QEMU that does not like its command line is gone before it greets."""
        try:
            return QmpSession(self._qemu.sockets[command.QMP], lost=self._qemu.lost)
        # Not a refusal of the command line: QEMU runs and says nothing.
        except BackendTimeout:
            raise
        except BackendError:
            raise self._qemu.lost("starting") from None
