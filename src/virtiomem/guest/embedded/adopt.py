"""Bring a guest into the state that a snapshot of a running real one shows.

The kernel boots on what was boot memory, the driver is loaded, and every memory block of a virtio-mem device that the
snapshot shows is plugged, added and put online in its zone. What a snapshot does not tell is taken for what is usual:
in a partly plugged block the lowest sub-blocks are the plugged ones, and nothing is in use. Memory that other drivers or
DIMMs had added counts as boot memory.
"""

from collections.abc import Sequence

from virtiomem.abi import OnlineType
from virtiomem.errors import Errno, KernelError, UsageError
from virtiomem.guest.base import DeviceConfig
from virtiomem.guest.embedded.hardware import AttachedDevice
from virtiomem.guest.embedded.kernel import Kernel
from virtiomem.kdump.loader import Loader
from virtiomem.memory import store_state
from virtiomem.recording.values import CrashHeader, MemoryBlock, Snapshot
from virtiomem.resource import iomem
from virtiomem.resource.names import VIRTIO_MEM_RAM
from virtiomem.resource.tree import Resource, ResourceTree
from virtiomem.units import format_size


def is_running(snapshot: Snapshot, devices: Sequence[DeviceConfig]) -> bool:
    """True when the snapshot shows a loaded virtio_mem driver."""
    tree = iomem.loads(snapshot.iomem)
    return any(_region(tree, device) for device in devices)


def boot_listing(snapshot: Snapshot, devices: Sequence[DeviceConfig]) -> str:
    """The listing as it was before the driver was loaded.

    Raises UsageError for a virtio-mem region that belongs to none of the devices, or is larger than its device.
    """
    tree = iomem.loads(snapshot.iomem)
    for device in devices:
        if region := _region(tree, device):
            if region.size > device.max_size:
                raise UsageError(
                    f"{region.name} has {format_size(region.size)}, more than device {device.id} with max-size"
                    f" {format_size(device.max_size)}"
                )
            # With everything inside: the driver claims the region again and adds its memory once more.
            tree.release_resource(region)
    for _, node in tree.walk():
        # What is left would be taken for boot memory, which never goes.
        if node.name == VIRTIO_MEM_RAM:
            raise UsageError(f"the guest has virtio-mem memory at {node.start:#x} that belongs to no device here")
    return iomem.dumps(tree)


def _region(tree: ResourceTree, device: DeviceConfig) -> Resource | None:
    """The device's region, when it stands in the listing."""
    return next((node for _, node in tree.walk() if node.name == device.name and node.start == device.memaddr), None)


def adopt(kernel: Kernel, devices: list[AttachedDevice], snapshot: Snapshot) -> None:
    """Plug, add and put online what the snapshot shows; the driver has been loaded.

    Raises UsageError when that is impossible.
    """
    # Not online by default, for each block goes to the zone that the snapshot shows; and every block may be plugged at
    # first, else the device would refuse it. The real size comes last, and its notification makes the driver's first pass.
    policy = kernel.memory.policy
    default, policy.default_state = policy.default_state, OnlineType.OFFLINE
    for device in devices:
        device.owner.set_requested_size(device.region.size)
        for block in snapshot.memory_blocks:
            _adopt_block(kernel, device, block)
        device.owner.set_requested_size(_requested(kernel, device, snapshot))
    # Before the driver's first pass, which runs only now and may add memory of its own.
    policy.default_state = default
    kernel.clock.run_until_idle()


def adopt_header(kernel: Kernel, header: CrashHeader) -> None:
    """Load a crash kernel whose header has what the snapshot's had. Raises UsageError where no kernel would load one."""
    try:
        kernel.load_crash_kernel(Loader.of(header.syscall), header.ranges)
    except KernelError as refusal:
        raise UsageError(f"the guest has a crash kernel that cannot be loaded: {refusal}") from None


def _requested(kernel: Kernel, device: AttachedDevice, snapshot: Snapshot) -> int:
    """The requested-size to go on with: the real one, except where a shrink is stuck.

    What holds it up is not in the snapshot; here it would go through at once.
    """
    plugged = device.owner.size()
    theirs = snapshot.virtio_mem
    real = next((other.requested_size for other in theirs if other.memaddr == device.region.start), plugged)
    # With unplug_online off a shrink stops at online memory here as it did there.
    stuck = real < plugged and all(driver.parameters.unplug_online for driver in kernel.devices)
    return plugged if stuck else min(real, device.region.size)


def _adopt_block(kernel: Kernel, device: AttachedDevice, block: MemoryBlock) -> None:
    """Take over one memory block if it belongs to the device; in big-block mode it may be there already."""
    driver = next((driver for driver in kernel.devices if driver.name == device.name), None)
    span = kernel.memory.span_of(block.block)
    if driver is None or not device.region.contains(span):
        return
    # Blocks of one big block come together with its first.
    if block.block not in kernel.memory.blocks:
        plugged = block.plugged if isinstance(block.plugged, int) else span.size
        if rc := driver.adopt(span.start, plugged):
            raise UsageError(f"memory block {block.block} cannot be taken over: {rc.name}")
    if block.is_online:
        how = OnlineType.ONLINE_MOVABLE if block.is_movable else OnlineType.ONLINE_KERNEL
        rc = store_state(kernel.memory, block.block, how)
        if rc is not Errno.OK:
            raise UsageError(f"memory block {block.block} cannot be put online: {rc.name}")
