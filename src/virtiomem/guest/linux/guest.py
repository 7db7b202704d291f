"""A stock Linux in QEMU that plays steps."""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, assert_never

from msgspec import UNSET, structs

from virtiomem.abi import OnlinePolicy, OnlineType, ZoneType
from virtiomem.errors import BackendError, DeviceError, Errno, ProtocolError, ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, name_devices
from virtiomem.guest.foresight import cost_of
from virtiomem.guest.linux import crash_header, page_look
from virtiomem.guest.linux.rest import Rest, reasons, refused_dimms, settle
from virtiomem.guest.linux.running import RunningLinux, Say, Setup
from virtiomem.guest.linux.shell_agent import Reply
from virtiomem.kdump.loader import Loader
from virtiomem.memory.forecast import Means
from virtiomem.memory.settings import Policy
from virtiomem.memory.vmemmap import memmap_size
from virtiomem.qemu.qmp import QmpSession
from virtiomem.reasons import Reason
from virtiomem.recording import Snapshot, Step, StepRecord
from virtiomem.recording.complaints import BOOT_LOG, is_complaint
from virtiomem.recording.values import (
    AddMemory,
    Free,
    Inject,
    Kexec,
    Load,
    LoadCrashKernel,
    PlugDimm,
    Poison,
    Reboot,
    Refuse,
    Request,
    Resize,
    SetState,
    Suspend,
    Unload,
    UnplugDimm,
    Use,
    VirtioMemInfo,
    Wait,
)
from virtiomem.units import KiB, MiB, format_approx, format_size

MIN_MEMORY = 192 * MiB
"""Less does not hold a distribution's kernel and our initramfs."""

DEFAULT_STATE = "/sys/devices/system/memory/auto_online_blocks"
"""The guest's file that says what becomes of added memory."""
HARD_OFFLINE = "/sys/devices/system/memory/hard_offline_page"
"""The guest's file that poisons the page of an address."""
ELFCOREHDR_SIZE = "/sys/kernel/crash_elfcorehdr_size"
"""The guest's file that says how much a crash header that the kernel keeps up to date may have."""
CRASH_HOTPLUG = "/sys/devices/system/memory/crash_hotplug"
"""The guest's file that says whether the kernel keeps the loaded crash header up to date."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LOOKS = 5
_BETWEEN_LOOKS = 2.0
"""Seconds that a kernel without memory has for coming to rest."""
_LONGEST_REFUSAL = 500
_KILLED = 128
"""A shell's status for a program that a signal ended is this and the signal's number: the kernel may say why."""


def check_steps(steps: Iterable[Step]) -> None:
    """ScenarioError for a step that a real guest cannot play."""
    for index, step in enumerate(steps):
        if isinstance(step, Inject | AddMemory):
            raise ScenarioError(
                f"{_word(step)} is for the embedded guest, not for a real Linux", where=f"step[{index}]"
            )
        if isinstance(step, Use | Free) and not _FILE_NAME.fullmatch(step.id):
            raise ScenarioError(
                f"{step.id!r} is not a file name for a real Linux (letters, digits, . _ -)", where=f"step[{index}].id"
            )


def needs_kexec(steps: Iterable[Step]) -> bool:
    """Return whether these steps need kexec-tools and a kernel in the guest."""
    return any(isinstance(step, Kexec | LoadCrashKernel) for step in steps)


class LinuxGuest:
    """A running Linux with virtio-mem devices; see `virtiomem.guest.base.Guest`.

    `kexec` puts the kernel and kexec-tools into the guest, for steps that start or load a kernel; `pages` has every
    step end with a look at the pages of memory blocks that came to kernel zones; `progress` receives what is being
    started. Raises BackendError (or BackendTimeout) when something is missing, with its Debian package, or the guest
    does not come up, and ScenarioError for what no real guest can be.
    """

    def __init__(
        self,
        config: GuestConfig,
        devices: Sequence[DeviceConfig],
        driver: DriverConfig | None = None,
        *,
        setup: Setup | None = None,
        kexec: bool = False,
        pages: bool = False,
        progress: Say = lambda _: None,
    ) -> None:
        self._driver = driver or DriverConfig()
        self._pages = pages
        self._devices = name_devices(devices)
        _check(config, self._driver)
        self._config, self._architecture = config, config.architecture
        self._header: crash_header.FoundHeader | None = None
        self._linux = RunningLinux(config, self._devices, self._driver, setup or Setup(), kexec=kexec, say=progress)
        try:
            with self._linux.qmp.during("booting"):
                self._boot = self._first_snapshot(config)
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> dict[str, Any]:
        """The recording's `guest`."""
        return dict(self._linux.info)

    @property
    def boot(self) -> Snapshot:
        """The guest before the first step."""
        return self._boot

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        return self._linux.pid

    @property
    def qmp(self) -> QmpSession:
        """QEMU's monitor, for what no step does."""
        return self._linux.qmp

    def play(self, step: Step) -> StepRecord:
        """Do one step and wait until the guest is at rest; refusals are in the record."""
        check_steps([step])
        started = time.monotonic()
        doing = f"playing {_word(step)}"
        with self._out_of_memory(doing), self._linux.qmp.during(doing):
            error = self._do(step, doing)
            # The next kernel has loaded no crash kernel; what is left in memory of the old one is no header of its.
            if isinstance(step, Kexec | Reboot) and error is None:
                self._header = None
            rest = self._settle(doing)
        self._rest = rest
        # In this order: taking the log forgets what tells that the kernel starved.
        starved, log = self._linux.starved, self._linux.take_log()
        why = reasons(rest, self._devices, log, self._driver, self._architecture)
        why += refused_dimms(rest, self._architecture, starved=starved)
        return StepRecord(
            step=step,
            settled=not why and not rest.unsettled,
            error=error,
            requests=rest.requests,
            snapshot=self._seen(self._with_pages(rest, doing) if self._pages else rest.snapshot),
            retry_in=UNSET if rest.look.retry_in is None else round(rest.look.retry_in, 1),
            held_up=[str(reason) for reason in why] or UNSET,
            reasons=[reason.to_json() for reason in why] or UNSET,
            log=log or UNSET,
            elapsed=round(time.monotonic() - started, 3),
        )

    def foresee(self, step: Step) -> Reason | None:
        """Predict the cost of a device or DIMM that adds memory; see `guest.base.Guest`."""
        look, page = self._rest.look, self._architecture.page_size
        if self._config.memmap_on_memory != "N" or (isinstance(step, Resize) and not look.bound):
            return None
        zones = [(name, zone.present * page) for zones in look.zones.values() for name, zone in zones.items()]
        means = Means(
            free=sum(look.free.values()) * page,
            block_size=look.memory_block_size,
            policy=Policy(
                default_state=OnlineType(self._linux.info["default-state"]),
                online_policy=OnlinePolicy(self._config.online_policy),
                auto_movable_ratio=self._config.auto_movable_ratio,
            ),
            kernel=sum(size for name, size in zones if name != ZoneType.MOVABLE),
            movable=sum(size for name, size in zones if name == ZoneType.MOVABLE),
            architecture=self._architecture,
        )
        return cost_of(step, self._rest.devices, lambda _: means)

    def shell(self, text: str, *, timeout: float | None = None) -> Reply:
        """Run a shell command in the guest, one line, and return what it printed and its status."""
        return self._linux.ask("sh", text, doing=f"running {text!r}", timeout=timeout)

    def close(self) -> None:
        """Kill the guest and let go of everything; harmless when repeated."""
        self._linux.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _first_snapshot(self, config: GuestConfig) -> Snapshot:
        """The guest as it booted."""
        rest = self._rest = settle(self._linux, "booting", [])
        # Of the boot and not of the first step.
        if complaints := [line for line in self._linux.take_log() if is_complaint(line)]:
            self._linux.info[BOOT_LOG] = complaints
        free = re.search(r"MemFree: +(\d{1,15}) kB", self.shell("cat /proc/meminfo").text)
        self._linux.info |= {"free": int(free[1]) * KiB} if free else {}
        # Asked, since a build chooses it and a parameter may be ignored.
        self._linux.info["default-state"] = self.shell(f"cat {DEFAULT_STATE}").text.strip()
        if (size := self.shell(f"cat {ELFCOREHDR_SIZE}")).status == 0 and size.text.strip().isdecimal():
            self._linux.info["crash-elfcorehdr-size"] = int(size.text)
        block = config.memory_block_size
        if block is not None and block != rest.look.memory_block_size:
            raise ScenarioError(
                f"{format_size(block)} is not what this kernel chooses, {format_size(rest.look.memory_block_size)}",
                where="guest.memory-block-size",
            )
        return rest.snapshot

    def _settle(self, doing: str) -> Rest:
        """Wait until the guest is at rest; a look whose processes were killed for lack of memory is repeated."""
        requests: list[Request] = []
        for _ in range(_LOOKS):
            try:
                return settle(self._linux, doing, requests)
            except ProtocolError:
                # An answer out of shape is an error, unless the kernel has killed what made it.
                if not self._linux.starved:
                    raise
                self._linux.follow(_BETWEEN_LOOKS, doing)
        return settle(self._linux, doing, requests)

    @contextmanager
    def _out_of_memory(self, doing: str) -> Iterator[None]:
        """Report a lost guest as out of memory if its kernel said so."""
        try:
            yield
        except (BackendError, ProtocolError) as error:
            if not self._linux.starved:
                raise
            panicked = "its kernel panicked" if "panicked" in str(error) else "its kernel killed what answers here"
            words = f"the guest ran out of memory while {doing}: {panicked}{self._sizes()}"
            raise BackendError(words, said=getattr(error, "said", ())) from None

    def _sizes(self) -> str:
        """Describe what the devices had, and what struct pages cost of it."""
        try:
            devices = [device for device in self._linux.memory.query() if isinstance(device, VirtioMemInfo)]
        except (BackendError, DeviceError, ProtocolError):
            return ""
        sizes = [
            f"{device.id} had {format_size(device.size)} of {format_size(device.requested_size)}" for device in devices
        ]
        paid = memmap_size(sum(device.size for device in devices), self._architecture)
        free = self._linux.info.get("free", 0)
        told = f"struct pages took {format_approx(paid)} of the {format_approx(free)} that were free after boot"
        return f"; {', '.join(sizes)}, and {told}" if devices else ""

    def _with_pages(self, rest: Rest, doing: str) -> Snapshot:
        """The snapshot with the pages of hotplugged blocks in kernel zones, which alone can hold what does not move."""
        snapshot, block_size = rest.snapshot, rest.look.memory_block_size
        boot = {block.block for block in self._boot.memory_blocks}
        # Blocks of boot memory have pages of the kernel by nature and never go.
        wanted = [
            str(block.block)
            for block in snapshot.memory_blocks
            if block.zone is not None and not block.is_movable and block.block not in boot
        ]
        if not wanted:
            return snapshot
        reply = self._linux.ask(
            "pages", str(page_look.flags_size(block_size, self._architecture)), *wanted, doing=doing
        )
        pages = page_look.parse(reply.text, block_size, self._architecture)
        blocks = [structs.replace(block, pages=pages.get(block.block, UNSET)) for block in snapshot.memory_blocks]
        return structs.replace(snapshot, memory_blocks=blocks)

    def _do(self, step: Step, doing: str) -> str | None:
        """Do the step; return the text of a refusal, or None."""
        match step:
            case Load():
                return self._refusal("load", *self._driver.parameters.to_modprobe(), doing=doing)
            case Unload():
                return self._refusal("unload", doing=doing)
            case SetState(blocks=blocks, state=state):
                return self._refusal("set_state", state, *map(str, blocks), doing=doing)
            case Use(id=identifier, size=size, kind=kind):
                return self._refusal("use", identifier, str(int(size)), kind, doing=doing)
            case Free(id=identifier):
                return self._refusal("free", identifier, doing=doing)
            case Suspend(to=to):
                return self._told("suspend", self._linux.suspend(to, doing))
            case Kexec():
                if refusal := self._refusal("kexec", doing=doing):
                    return refusal
                self._linux.await_agent()
            case LoadCrashKernel(syscall=syscall):
                return self._load_crash_kernel(Loader.of(syscall), doing)
            case Reboot():
                self._linux.reset()
            case Poison(memaddr=memaddr):
                return self._refusal("sh", f"echo {memaddr:#x} >{HARD_OFFLINE}", doing=doing)
            case Refuse(event=event, error=error):
                return self._refusal("refuse", event.upper(), str(int(Errno[error])), doing=doing)
            case Wait(seconds=seconds):
                self._linux.follow(seconds, doing)
            case Resize() | PlugDimm() | UnplugDimm():
                return self._change_memory(step, doing)
            case Inject() | AddMemory():
                raise AssertionError("check_steps() has refused it")
            case _:
                assert_never(step)
        return None

    def _load_crash_kernel(self, loader: Loader, doing: str) -> str | None:
        """Load a crash kernel and find its header in memory; return the text of a refusal, or None."""
        refusal = self._refusal("crash_kernel", "-s" if loader is Loader.KERNEL else "-c", doing=doing)
        if refusal is None:
            kept = self.shell(f"cat {CRASH_HOTPLUG}").text.strip() == "1"
            self._header = crash_header.find(self._linux, loader, kept_up_to_date=kept, doing=doing)
        return refusal

    def _seen(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot, with what the crash header in memory has now."""
        header = UNSET if self._header is None else self._header.read()
        return structs.replace(snapshot, crash_header=header)

    def _refusal(self, verb: str, *arguments: str, doing: str) -> str | None:
        """Let the agent run a verb; return its words if it fails, else None."""
        return self._told(verb, self._linux.ask(verb, *arguments, doing=doing))

    def _told(self, verb: str, reply: Reply) -> str | None:
        """Return the agent's report of what has failed."""
        if reply.status == 0:
            return None
        said = "; ".join(line for line in reply.text.splitlines() if line)
        said = said[:_LONGEST_REFUSAL] or f"{verb} failed with status {reply.status}"
        # A program that a signal ended said nothing itself; the kernel may have, on the console.
        if reply.status <= _KILLED:
            return said
        return f"{said}; the console's last lines: {self._linux.last_words()[:_LONGEST_REFUSAL]}"

    def _change_memory(self, step: Resize | PlugDimm | UnplugDimm, doing: str) -> str | None:
        """Do a step through QEMU; returns QEMU's words when it refuses."""
        try:
            match step:
                case Resize(device=device, requested_size=size):
                    self._linux.memory.set_requested_size(device, size)
                case PlugDimm():
                    self._linux.memory.plug_dimm(step)
                # The console and the agent's line are read meanwhile, for the guest stops when nothing reads its ports.
                case UnplugDimm(id=identifier):
                    self._linux.memory.unplug_dimm(identifier, meanwhile=lambda: self._linux.follow(0.01, doing))
        except DeviceError as error:
            return str(error)
        return None


def _check(config: GuestConfig, driver: DriverConfig) -> None:
    """Refuse a configuration that a stock kernel in QEMU cannot have."""
    if not driver.merge_resources:
        raise ScenarioError(
            "a stock kernel merges; only the embedded guest can leave it out", where="driver.merge-resources"
        )
    if config.capture is not None:
        raise ScenarioError("a real guest boots its own memory; it cannot start from a capture", where="guest.capture")
    for name in ("crash_header_cpus", "crash_header_ranges"):
        if getattr(config, name) is not None:
            where = f"guest.{name.replace('_', '-')}"
            raise ScenarioError("a kernel that is built has its own; only the embedded guest can choose", where=where)
    if config.free is not None:
        raise ScenarioError(
            "a real guest has what its boot leaves free; only the embedded guest can choose", where="guest.free"
        )
    if config.address_bits is not None:
        raise ScenarioError(
            "an emulated processor has its own; only the embedded guest can choose", where="guest.address-bits"
        )
    if config.memory < MIN_MEMORY:
        raise ScenarioError(
            f"{format_size(config.memory)} is too little for a real Linux (at least {format_size(MIN_MEMORY)})",
            where="guest.memory",
        )


def _word(step: Step) -> str:
    """A step's name in a scenario."""
    return str(step.__struct_config__.tag)
