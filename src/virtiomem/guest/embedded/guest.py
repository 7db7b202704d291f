"""The embedded guest: plays steps on the modelled machine and kernel."""

from collections.abc import Sequence
from typing import Any, assert_never

from msgspec import UNSET, structs

from virtiomem import border
from virtiomem.abi import OnlineType, Sleep
from virtiomem.architecture import DEFAULT
from virtiomem.driver.parameters import Parameters
from virtiomem.errors import ArgumentValueError, DeviceError, Errno, KernelError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, hotplug_parameters, name_devices
from virtiomem.guest.embedded import adopt, explain, snapshot, taken
from virtiomem.guest.embedded.hardware import (
    REQUEST_FAULTS,
    AttachedDevice,
    Devices,
    Dimm,
    EmbeddedDevices,
)
from virtiomem.guest.embedded.kernel import Kernel
from virtiomem.guest.embedded.other_drivers import AcpiMemory, OtherDrivers
from virtiomem.guest.embedded.refusing import RefusingNotifier
from virtiomem.guest.embedded.waiting import wait
from virtiomem.guest.machine import MachineLayout
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.room import elfcorehdr_size
from virtiomem.memory import FaultPoint, memmap, memory_failure, store_state
from virtiomem.memory.faults import MAX_TIMES
from virtiomem.memory.refusal import why_not_offline
from virtiomem.reasons import Reason
from virtiomem.recording import values
from virtiomem.recording.values import DeviceInfo, Request, Snapshot, Step, StepRecord
from virtiomem.releases.linux import LINUX
from virtiomem.text import quoted
from virtiomem.units import Span

_FAULT_POINTS = {
    "add_memory": FaultPoint.ARCH_ADD,
    "online": FaultPoint.GOING_ONLINE,
    "offline": FaultPoint.GOING_OFFLINE,
    "remove": FaultPoint.OFFLINE_AND_REMOVE,
}
"""Where the `at` of an inject step fails; `request` fails on the wire."""

_WORDS = {
    Errno.EPERM: "Operation not permitted",
    Errno.ENOENT: "No such file or directory",
    Errno.ENXIO: "No such device or address",
    Errno.ENOMEM: "Cannot allocate memory",
    Errno.EBUSY: "Device or resource busy",
    Errno.ENODEV: "No such device",
    Errno.EINVAL: "Invalid argument",
    Errno.EHWPOISON: "Memory page has hardware error",
}
"""What a shell says about an errno."""


class EmbeddedGuest:
    """A whole guest in this process, on virtual time; see `guest.base.Guest`."""

    def __init__(
        self,
        config: GuestConfig,
        driver: DriverConfig,
        devices: Sequence[DeviceConfig],
        boot_iomem: str,
        *,
        boot: Snapshot | None = None,
        hardware: Devices | None = None,
    ) -> None:
        """Boot; every device has its address, and one without a name gets the name that Linux would give it.

        `boot`: a real guest's snapshot to start from, instead of `boot_iomem`; one with a virtio_mem driver at work is
        taken over as it is (see `adopt`). `hardware`: the devices themselves, ours when None.

        Raises ListingError for an impossible listing, ArgumentError for a table, ScenarioError for a name, DeviceError for
        a device, UsageError for a snapshot.
        """
        config, driver, devices = taken.tables(config, driver, devices)
        # Before anything is made, since names decide which region in a snapshot is whose.
        devices = name_devices(devices)
        self._config = config
        self._driver = driver
        self._real_boot = boot
        self._requests: list[Request] = []
        self._holding: list[Reason] = []
        """Why memory that this step added, and that does not belong to a virtio-mem device, stays offline."""
        self._room = MachineLayout.of(config, devices).device_memory()
        if config.capture is None:  # else another machine's map decides where devices are
            for device in devices:
                self._room.place(device.id, device.max_size, alignment=device.block_size, memaddr=device.memaddr)
        self._hardware = hardware or EmbeddedDevices(devices, config)
        self.devices = [AttachedDevice(device, self._hardware, self._requests) for device in devices]
        """The virtio-mem devices, in order."""
        self._dimms: dict[str, Dimm] = {}
        # Without the driver's regions: a reboot starts from memory that the driver has yet to add.
        self._boot_iomem = boot_iomem if boot is None else adopt.boot_listing(boot, devices)
        self._start_kernel()
        if boot is not None and adopt.is_running(boot, devices):
            self._load()
            adopt.adopt(self.kernel, self.devices, boot)
        if boot is not None and boot.crash_header is not UNSET:
            adopt.adopt_header(self.kernel, boot.crash_header)
        # Last, for a captured guest is only now as it was captured.
        self._boot = self.snapshot()

    def _start_kernel(self) -> None:
        self.kernel = Kernel(self._config, self._boot_iomem, self._real_boot)
        self._acpi = AcpiMemory(self.kernel.memory)
        self._others = OtherDrivers(self.kernel.memory)
        self._notifier = RefusingNotifier(self.kernel.memory)
        for dimm in sorted(self._dimms.values(), key=lambda dimm: dimm.addr):
            self._acpi.add(dimm)

    def __repr__(self) -> str:
        devices = ", ".join(f"{device.id} ({device.name})" for device in self.devices) or "no virtio-mem device"
        return f"<EmbeddedGuest: Linux {self._config.release.name}, {devices}>"

    @property
    def info(self) -> dict[str, Any]:
        """The recording's `guest`."""
        qemu = {} if self._hardware.qemu is None else {"qemu": self._hardware.qemu}
        config = structs.replace(self._config, default_state=self._config.added_state)
        asked = config.kernel
        other = {"stands-in-for": asked} if asked is not None and LINUX.stands_in_for(asked) else {}
        size = elfcorehdr_size(config.release, config.build, config.architecture)
        return {
            "kind": "embedded",
            "kernel": config.release.name,
            **other,
            **({"kernel-assumed": True} if asked is None and self._real_boot is not None else {}),
            **qemu,
            "command-line": " ".join(hotplug_parameters(config)),
            "default-state": config.added_state,
            **({} if size is None else {"crash-elfcorehdr-size": size}),
            **({} if config.architecture is DEFAULT else {"architecture": config.architecture.family}),
            "page-size": config.architecture.page_size,
        }

    @property
    def parameters(self) -> Parameters:
        """Parameters with which the driver is loaded."""
        return self._driver.parameters

    @property
    def boot(self) -> Snapshot:
        """The guest before the first step."""
        return self._boot

    def close(self) -> None:
        """Let go of the devices."""
        self._hardware.close()

    def play(self, step: Step, *, lasts: float = 0) -> StepRecord:
        """Do one step and run until idle: nothing left to do, or only the driver's retry timer. It lasts at least
        `lasts` seconds.

        What device or kernel refuse is in the record; raises BackendError when a device's QEMU is lost, ArgumentError
        for an impossible step.
        """
        step, started = taken.step(step), self.kernel.clock.now
        error = self._act(step)
        # A real guest took its time for this step, and a retry timer may have expired within it.
        if (left := started + lasts - self.kernel.clock.now) > 0:
            wait(self.kernel, self._requests, left)
        return self._record(step, error, started)

    def foresee(self, step: Step) -> Reason | None:
        """Predict the cost of a device or DIMM that adds memory; see `guest.base.Guest`."""
        from virtiomem.guest.foresight import cost_of
        from virtiomem.memory.forecast import Means

        memory = self.kernel.memory
        # Struct pages that lie in the added memory itself cost nothing of what is free.
        inside = isinstance(step, values.PlugDimm) and memmap.pageblocks_inside(memory, int(step.size))
        if inside or (isinstance(step, values.Resize) and not self.kernel.devices):
            return None
        return cost_of(step, self.memory_devices, lambda node: Means.of(memory, node) if node in memory.nodes else None)

    def act(self, step: Step) -> str | None:
        """Do one step as `play` does, and say only what refused it: nothing is recorded."""
        return self._act(taken.step(step))

    def _act(self, step: Step) -> str | None:
        # Cleared and not replaced: every device's channel appends to this list.
        self._requests.clear()
        self.kernel.log.clear()
        try:
            error = self._do(step)
        except (DeviceError, KernelError) as refusal:
            error = str(refusal)
        # After a refusal as well: what was done before it has consequences.
        self.kernel.clock.run_until_idle()
        return error

    @property
    def requests_sent(self) -> int:
        """Number of requests that the drivers sent in the last step."""
        return len(self._requests)

    @property
    def retry_in(self) -> float | None:
        """Seconds until a driver tries again; None when no timer runs."""
        clock = self.kernel.clock
        return None if clock.next_due is None else clock.next_due - clock.now

    @property
    def memory_devices(self) -> list[DeviceInfo]:
        """The virtio-mem devices and DIMMs as they are now."""
        return [*(device.info for device in self.devices), *(dimm.info() for dimm in self._dimms.values())]

    def snapshot(self) -> Snapshot:
        """The guest as it is now."""
        return snapshot.take(self.kernel, self.memory_devices)

    def reasons(self) -> list[Reason]:
        """Why devices are not at their requested sizes, and DIMMs not in Linux; empty when all are."""
        return [
            *explain.reasons(self.kernel, self.devices),
            *(reason.of(dimm) for dimm, reason in self._acpi.refused.items()),
        ]

    def _record(self, step: Step, error: str | None, started: float) -> StepRecord:
        now, retry_in = self.snapshot(), self.retry_in
        settled = all(device.settled for device in now.devices) and not self._acpi.refused
        reasons, self._holding = [*self._holding, *([] if settled else self.reasons())], []
        return StepRecord(
            step=step,
            settled=settled,
            error=error,
            requests=list(self._requests),
            snapshot=now,
            retry_in=UNSET if retry_in is None else retry_in,
            held_up=UNSET if settled and not reasons else [str(reason) for reason in reasons],
            reasons=UNSET if settled and not reasons else [reason.to_json() for reason in reasons],
            log=list(self.kernel.log) or UNSET,
            elapsed=max(self.kernel.clock.now - started, 0.0),
        )

    def _do(self, step: Step) -> str | None:
        """Do the step; a refusal is raised, or returned as text where the shell has words for it."""
        match step:
            case values.Load():
                self._load()
            case values.Unload():
                self._unload()
            case values.Resize(device=name, requested_size=size):
                self._device(name).owner.set_requested_size(int(size))
            case values.SetState(blocks=blocks, state=state):
                return self._set_state(blocks, OnlineType(state))
            case values.Reboot():
                self._new_kernel(reset=True)
            case values.Kexec():
                self._new_kernel(reset=False)
            case values.Suspend(to=to):
                if rc := self.kernel.suspend(Sleep(to), self._hardware.wake_up if to == "memory" else lambda: None):
                    return f"suspend: write error: {_WORDS[rc]}"
            case values.LoadCrashKernel(syscall=syscall):
                self.kernel.load_crash_kernel(Loader.of(syscall))
            case values.PlugDimm():
                self._plug_dimm(step)
            case values.UnplugDimm(id=name):
                self._unplug_dimm(name)
            case values.AddMemory(kind=kind, size=size, memaddr=memaddr, node=node):
                self._require_free(0 if memaddr is UNSET else memaddr, size)
                self._others.add(kind, None if memaddr is UNSET else memaddr, size, node)
            case values.Use(id=name, size=size, kind=kind, seed=seed, scatter=scatter):
                scatter = 1.0 if scatter is UNSET else scatter
                self.kernel.memory.users.use(name, size, movable=kind == "movable", seed=seed, scatter=scatter)
            case values.Free(id=name):
                self.kernel.memory.users.free(name)
            case values.Poison(memaddr=memaddr):
                if rc := memory_failure(self.kernel.memory, int(memaddr)):
                    return f"hard_offline_page: write error: {_WORDS[rc]}"
            case values.Refuse(event=event, error=error):
                border.one_of("error", error, Errno.__members__)
                self._notifier.refuse(event, Errno[error])
            case values.Wait(seconds=seconds):
                wait(self.kernel, self._requests, seconds)
            case values.Inject():
                self._inject(step)
            case _:
                assert_never(step)
        return None

    def _device(self, name: str) -> AttachedDevice:
        """The device with that id. Raises ArgumentValueError when no device has it."""
        for device in self.devices:
            if device.id == name:
                return device
        there = ", ".join(device.id for device in self.devices) or "none"
        raise ArgumentValueError(f"device must be one of this guest's ({there}), not {quoted(name)}")

    def _load(self) -> None:
        if self.kernel.module is not None:
            raise KernelError(Errno.EEXIST, "load: virtio_mem is loaded already")
        self.kernel.load([(device.name, device.channel) for device in self.devices], self._driver)

    def _unload(self) -> None:
        if self.kernel.module is None:
            raise KernelError(Errno.ENOENT, "unload: virtio_mem is not loaded")
        self.kernel.unload()

    def _set_state(self, blocks: list[int], how: OnlineType) -> str | None:
        """Write to one block after another; what a shell says about those that refuse, when all have been tried."""
        # All are looked at before any is changed.
        for id_ in blocks:
            border.integer("a block", id_)
        memory, refusals = self.kernel.memory, []
        for id_ in blocks:
            if rc := store_state(memory, id_, how):
                if how is OnlineType.OFFLINE and id_ in memory.blocks:
                    self._holding += filter(None, [why_not_offline(memory, memory.blocks[id_], rc)])
                refusals.append(f"memory{id_}: write error: {_WORDS.get(rc, rc.name)}")
            # After each block, as between two writes of a shell: the driver may act on the first before the second.
            self.kernel.clock.run_until_idle()
        return "; ".join(refusals) or None

    def _new_kernel(self, *, reset: bool) -> None:
        # First, for what the reset notifies is not for the driver of the kernel that is gone.
        self.kernel.halt()
        if reset:
            self._hardware.system_reset()
        self._start_kernel()

    def _plug_dimm(self, step: values.PlugDimm) -> None:
        """Plug a DIMM; QEMU's refusals are raised, a failure inside the guest kernel is only logged there."""
        self._check_dimm(step)
        memaddr = None if step.memaddr is UNSET else int(step.memaddr)
        addr = self._room.place(step.id, step.size, memaddr=memaddr)
        # In its slot whatever Linux makes of it: device_add has succeeded by then, and the DIMM can be unplugged again.
        dimm = self._dimms[step.id] = Dimm(step.id, addr, int(step.size), step.node)
        if rc := self._acpi.add(dimm):
            self.kernel.log.append(f"err: {step.id}: add_memory failed: {-rc}")

    def _check_dimm(self, step: values.PlugDimm) -> None:
        if step.id in self._dimms or step.id in {device.id for device in self.devices}:
            raise DeviceError(f"Duplicate device ID '{step.id}'")
        nodes = max(len(self._config.nodes), 1)
        if not 0 <= step.node < nodes:
            raise DeviceError(
                f"'DIMM property node has value {step.node}' which exceeds the number of numa nodes: {nodes}"
            )
        if not self._config.slots:
            raise DeviceError("no slots where allocated, please specify the 'slots' option")
        if not self._config.has_acpi:
            raise DeviceError("memory hotplug is not enabled: missing acpi-ged device")
        if len(self._dimms) >= self._config.slots:
            raise DeviceError("no free slots available")

    def _require_free(self, memaddr: int, size: int) -> None:
        """Refuse memory where a virtio-mem device has its region, as QEMU refuses a DIMM there."""
        wanted = Span.sized(memaddr, size)
        for device in self.devices:
            if device.region.overlaps(wanted):
                raise DeviceError(f"address range conflicts with memory device id='{device.id}'")

    def _unplug_dimm(self, name: str) -> None:
        dimm = self._dimms.get(name)
        if dimm is None:
            raise DeviceError(f"Device '{name}' not found")
        if rc := self._acpi.remove(dimm):
            # Kept for the record of this step: once it is over, nothing else remembers what held the DIMM.
            self._holding = [reason.of(name) for reason in self._acpi.holding]
            raise KernelError(rc, f"{name}: the guest does not give it up")
        self._room.remove(name)
        del self._dimms[name]

    def _inject(self, step: values.Inject) -> None:
        border.integer("times", step.times, 1, MAX_TIMES)
        border.one_of("error", step.error, REQUEST_FAULTS if step.at == "request" else Errno.__members__)
        if step.at == "request":
            for device in self.devices:
                device.channel.faults.extend([step.error] * step.times)
        else:
            self.kernel.memory.faults.inject(_FAULT_POINTS[step.at], Errno[step.error], step.times)

    def check(self) -> None:
        """Assert that device, driver, core and tree agree."""
        self.kernel.check()
        if isinstance(self._hardware, EmbeddedDevices):
            self._hardware.check()
        for driver in self.kernel.devices:
            device = next(device for device in self.devices if device.name == driver.name)
            # A request that was never answered leaves the driver waiting: what the device did with it the driver cannot
            # know.
            if not driver.work.hung:
                assert driver.plugged_size == device.owner.size(), f"{driver.name}: plugged sizes differ"
                # What an earlier kernel left plugged is not in the bitmap of this driver before its UNPLUG_ALL.
                known = 0 if driver.unplug_all_required else driver.plugged_size
                assert driver.mode.plugged_bytes() == known, f"{driver.name}: bitmap and size differ"
