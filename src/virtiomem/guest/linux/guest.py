"""A stock Linux in QEMU that plays steps: started here, asked through its agent, resized through QMP.

A step is over when the guest is at rest: two looks in a row show the same, no task is in the driver or the hotplug
core, and QEMU has seen no request in between. Only the driver's retry timer may be left; it is read, and told.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, assert_never

from msgspec import UNSET, structs

from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError, UsageError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.guest.linux import command, console, initramfs, kernels
from virtiomem.guest.linux.agent import Agent, Reply
from virtiomem.guest.linux.devices import MemoryDevices
from virtiomem.guest.linux.look import Look, parse
from virtiomem.qemu import BINARY, MemoryFile, QemuProcess, accel
from virtiomem.qemu.qmp import Qmp
from virtiomem.qemu.trace import TraceReader
from virtiomem.recording import DeviceInfo, Request, Snapshot, Step, StepRecord, VirtioMemInfo
from virtiomem.recording.values import (
    AddMemory,
    Free,
    Inject,
    Kexec,
    Load,
    PlugDimm,
    Reboot,
    Resize,
    SetState,
    Unload,
    UnplugDimm,
    Use,
    Wait,
)
from virtiomem.units import GiB, MiB, Size, Span, format_size

QUIET = 3.0
"""Seconds without a change after which a kernel that does not show its tasks' stacks is taken to be at rest."""
MIN_MEMORY = 192 * MiB
"""Less does not hold a distribution's kernel and our initramfs."""

_BETWEEN_LOOKS = 0.1
_DRIVER_LOG = "virtio_mem "
_BROKEN = "marking device broken"
_OFFLINE_LIMIT = GiB
"""virtio-mem adds no further memory while so much of it is offline (VIRTIO_MEM_DEFAULT_OFFLINE_THRESHOLD, v6.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How to run a guest; None is what this machine has. `timeout`: seconds for a boot, and for a step."""

    kernel: Path | None = None
    modules: Path | None = None
    qemu: str = BINARY
    accel: Literal["auto", "kvm", "tcg"] = "auto"
    append: str = ""
    console: str | None = None
    busybox: Path | None = None
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class _Rest:
    """A guest at rest, and the requests that led there."""

    look: Look
    devices: list[DeviceInfo]
    requests: list[Request]


def check_steps(steps: Iterable[Step]) -> None:
    """UsageError for a step that only the embedded guest can play."""
    for index, step in enumerate(steps):
        if isinstance(step, Inject | AddMemory):
            raise UsageError(f"step[{index}]: {_word(step)} is for the embedded guest, not for a real Linux")


class LinuxGuest:
    """A running Linux with virtio-mem devices; see `virtiomem.guest.base.Guest`.

    `kexec` puts the kernel and kexec-tools into the guest; `progress` is told what is being started. Raises BackendError (or BackendTimeout) when something is
    missing, with its Debian package, or the guest does not come up, and UsageError for what no real guest can be.
    """

    def __init__(
        self,
        config: GuestConfig,
        devices: Sequence[DeviceConfig],
        driver: DriverConfig | None = None,
        *,
        setup: Setup | None = None,
        kexec: bool = False,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._devices = list(devices)
        self._driver = driver or DriverConfig()
        self._setup = setup or Setup()
        _check(self._config, self._driver)
        with ExitStack() as stack:
            self._start(stack, kexec, progress)
            self._boot = self._first_snapshot()
            self._resources = stack.pop_all()

    @property
    def info(self) -> dict[str, Any]:
        """What the recording's `guest` says."""
        return dict(self._info)

    @property
    def boot(self) -> Snapshot:
        """The guest before the first step."""
        return self._boot

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._qemu.pid

    def play(self, step: Step) -> StepRecord:
        """Do one step and wait until the guest is at rest; what is refused is told in the record."""
        started = time.monotonic()
        doing = f"playing {_word(step)}"
        error = self._do(step, doing)
        rest = self._settle(doing)
        waiting = _unsettled(rest.devices)
        log = [line for line in self._console.take() if line.startswith(_DRIVER_LOG)]
        return StepRecord(
            step=step,
            settled=not waiting,
            error=error,
            requests=rest.requests,
            snapshot=_snapshot(rest),
            retry_in=UNSET if rest.look.retry_in is None else round(rest.look.retry_in, 1),
            held_up=[f"{device.id}: {self._held_up(device, rest.look, log)}" for device in waiting] or UNSET,
            log=log or UNSET,
            elapsed=round(time.monotonic() - started, 3),
        )

    def shell(self, text: str, *, timeout: float | None = None) -> Reply:
        """Run a shell command in the guest, one line, and return what it printed and its status."""
        return self._ask("sh", text, doing=f"running {text!r}", timeout=timeout)

    def close(self) -> None:
        """Kill the guest and let go of everything; harmless when repeated."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # Starting

    def _start(self, stack: ExitStack, kexec: bool, progress: Callable[[str], None]) -> None:
        """Boot the kernel and wait for its agent."""
        setup = self._setup
        kernel = kernels.find() if setup.kernel is None else kernels.read(setup.kernel, setup.modules)
        self._kernel = kernel
        image = initramfs.build(initramfs.gather(kernel, busybox=setup.busybox, kexec=kexec))
        progress(f"looking for an accelerator that runs Linux {kernel.release}")
        chosen = accel.choose(kernel.image, binary=setup.qemu) if setup.accel == "auto" else setup.accel
        words = command.kernel_command_line(
            self._config, self._driver, built_in=kernel.driver_built_in, append=setup.append
        )
        arguments = command.qemu_arguments(self._config, self._first_devices(), chosen)
        initrd = stack.enter_context(MemoryFile("initramfs", image))
        arguments += ["-kernel", str(kernel.image), "-initrd", initrd.path, "-append", words]
        progress(f"booting Linux {kernel.release} ({chosen})")
        copy = stack.enter_context(console.open_file(setup.console)) if setup.console else None
        self._console = console.Console(copy)
        self._qemu = stack.enter_context(
            QemuProcess(arguments, binary=setup.qemu, sockets=command.SOCKETS, files=[initrd])
        )
        self._agent = Agent(self._qemu, self._console)
        self._qmp = self._connect()
        stack.callback(self._qmp.close)
        self._memory = MemoryDevices(self._qmp)
        self._trace = TraceReader(self._memory.regions())
        self._await_agent()
        self._info = {
            "kind": "linux",
            "kernel": kernel.release,
            "qemu": self._qmp.version(),
            "command-line": words,
            "driver": "stock",
            "accel": chosen,
        }

    def _connect(self) -> Qmp:
        """QMP; a QEMU that does not like its command line is gone before it greets."""
        try:
            return Qmp(self._qemu.sockets[command.QMP])
        except BackendTimeout:
            raise
        except BackendError:
            raise self._qemu.lost("starting") from None

    def _first_devices(self) -> list[DeviceConfig]:
        """The devices as they are started: a built-in driver must find nothing to do until it is "loaded"."""
        if not self._kernel.driver_built_in:
            return self._devices
        return [structs.replace(device, requested_size=Size(0)) for device in self._devices]

    def _first_snapshot(self) -> Snapshot:
        for device in self._devices if self._kernel.driver_built_in else []:
            self._memory.resize(device.id, device.requested_size)
        rest = self._settle("booting")
        block_size = self._config.memory_block_size
        if block_size is not None and block_size != rest.look.memory_block_size:
            raise UsageError(
                f"guest.memory-block-size: this guest's memory blocks have {format_size(rest.look.memory_block_size)},"
                f" not {format_size(block_size)}; the kernel chooses"
            )
        return _snapshot(rest)

    def _await_agent(self) -> str | None:
        """Wait for the agent of a kernel that has just been started; nothing refuses that."""
        release = self._agent.wait_for_hello(self._setup.timeout)
        if release != self._kernel.release:
            raise ProtocolError(f"the guest runs kernel {release}, not {self._kernel.release}")
        return None

    # Steps

    def _do(self, step: Step, doing: str) -> str | None:
        """Do it; a text says what refused it."""
        match step:
            case Load():
                return self._refusal("load", *command.module_parameters(self._driver), doing=doing)
            case Unload():
                return self._refusal("unload", doing=doing)
            case SetState(blocks=blocks, state=state):
                return self._refusal("set_state", state, *map(str, blocks), doing=doing)
            case Use(id=identifier, size=size, kind=kind):
                return self._refusal("use", identifier, str(int(size)), kind, doing=doing)
            case Free(id=identifier):
                return self._refusal("free", identifier, doing=doing)
            case Kexec():
                refusal = self._refusal("kexec", doing=doing)
                return refusal or self._await_agent()
            case Resize() | PlugDimm() | UnplugDimm():
                return self._change_memory(step, doing)
            case Reboot():
                self._qmp.execute("system_reset")
                return self._await_agent()
            case Wait(seconds=seconds):
                self._agent.follow(seconds, doing)
                return None
            case Inject() | AddMemory():
                raise UsageError(f"{_word(step)} is for the embedded guest, not for a real Linux")
            case _:
                assert_never(step)

    def _change_memory(self, step: Resize | PlugDimm | UnplugDimm, doing: str) -> str | None:
        """What is done through QEMU; its words when it refuses."""
        try:
            match step:
                case Resize(device=device, requested_size=size):
                    self._memory.resize(device, int(size))
                case PlugDimm():
                    self._memory.plug_dimm(step)
                case UnplugDimm(id=identifier):
                    self._memory.unplug_dimm(identifier, meanwhile=lambda: self._agent.follow(0.01, doing))
        except DeviceError as error:
            return str(error)
        return None

    def _ask(self, verb: str, *arguments: str, doing: str, timeout: float | None = None) -> Reply:
        return self._agent.ask(verb, *arguments, doing=doing, timeout=timeout or self._setup.timeout)

    def _refusal(self, verb: str, *arguments: str, doing: str) -> str | None:
        """Let the agent do it; what it says when it fails."""
        reply = self._ask(verb, *arguments, doing=doing)
        return None if reply.status == 0 else _one_line(reply.text) or f"{verb} failed with status {reply.status}"

    # Resting

    def _settle(self, doing: str) -> _Rest:
        """Wait until the guest is at rest; BackendTimeout when it never is."""
        requests: list[Request] = []
        limit = time.monotonic() + self._setup.timeout
        before, changed = self._look_around(requests, doing), time.monotonic()
        while time.monotonic() < limit:
            self._agent.follow(_BETWEEN_LOOKS, doing)
            now = self._look_around(requests, doing)
            if not _same(before, now):
                before, changed = now, time.monotonic()
            elif not now.look.busy and (now.look.busy is not None or time.monotonic() - changed >= QUIET):
                return now
        raise BackendTimeout(
            f"the guest did not come to rest within {self._setup.timeout:g} s while {doing}"
            f" ({len(requests)} requests so far)"
        )

    def _look_around(self, requests: list[Request], doing: str) -> _Rest:
        """One look at the guest, QEMU's devices, and the requests that came meanwhile."""
        look = parse(self._ask("snapshot", doing=doing).text)
        devices = self._memory.query()
        requests += self._trace.read(self._qemu.output.take())
        return _Rest(look, devices, list(requests))

    def _held_up(self, device: VirtioMemInfo, look: Look, log: list[str]) -> str:
        """What keeps a device from its requested size, as far as one can see from outside the kernel."""
        number = next(index for index, config in enumerate(self._devices) if config.id == device.id)
        name = self._devices[number].name or f"virtio{number}"
        if name not in look.bound:
            return "no driver is bound to it"
        if any(name in line and _BROKEN in line for line in log):
            return "the driver met an error that it does not know and has given up on the device until it is reloaded"
        if look.retry_in is not None:
            return f"the driver could not finish and will retry in {look.retry_in:.0f} s"
        offline = _offline_bytes(device, look)
        if device.size < device.requested_size and offline >= _OFFLINE_LIMIT:
            return f"{format_size(offline)} of its memory is offline; the driver adds no more until some is online"
        return "the driver sees nothing it could do; it waits for memory to be onlined or a new requested-size"


def _check(config: GuestConfig, driver: DriverConfig) -> None:
    """Refuse what a stock kernel in QEMU cannot be."""
    if not driver.merge_resources:
        raise UsageError("driver.merge-resources: a stock kernel merges; only the embedded guest can leave it out")
    if config.capture is not None:
        raise UsageError("guest.capture: a real guest boots its own memory; it cannot start from a capture")
    if config.memory < MIN_MEMORY:
        raise UsageError(
            f"guest.memory: {format_size(config.memory)} is too little for a real Linux (at least"
            f" {format_size(MIN_MEMORY)})"
        )


def _same(one: _Rest, other: _Rest) -> bool:
    return one.devices == other.devices and one.requests == other.requests and one.look.same_state(other.look)


def _snapshot(rest: _Rest) -> Snapshot:
    look = rest.look
    return Snapshot(iomem=look.iomem, memory_blocks=look.memory_blocks, zones=look.zones, devices=rest.devices)


def _unsettled(devices: list[DeviceInfo]) -> list[VirtioMemInfo]:
    mine = [device for device in devices if isinstance(device, VirtioMemInfo)]
    return [device for device in mine if device.size != device.requested_size]


def _offline_bytes(device: VirtioMemInfo, look: Look) -> int:
    """How much of a device's memory is in blocks that are offline."""
    size = look.memory_block_size
    region = Span.sized(device.memaddr, device.max_size)
    mine = (block for block in look.memory_blocks if Span.sized(block.block * size, size).overlaps(region))
    return size * sum(block.state == "offline" for block in mine)


def _word(step: Step) -> str:
    """A step's name in a scenario."""
    return str(step.__struct_config__.tag)


def _one_line(text: str) -> str:
    return "; ".join(line for line in text.splitlines() if line)[:500]
