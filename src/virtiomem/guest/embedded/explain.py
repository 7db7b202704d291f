"""Why devices of an embedded guest are not at their requested sizes: the driver's reasons, then the device's own."""

from collections.abc import Iterator

from virtiomem.device.decisions import ANSWERS
from virtiomem.driver import VirtioMem
from virtiomem.driver.outcome import errno_of
from virtiomem.errors import Errno
from virtiomem.guest.embedded.hardware import AttachedDevice
from virtiomem.guest.embedded.kernel import Kernel
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.wire.mem import RequestType


def reasons(kernel: Kernel, devices: list[AttachedDevice]) -> list[Reason]:
    """Every reason, device by device."""
    return [reason.of(one.id) for one in devices if not one.info.settled for reason in _reasons(kernel, one)]


def _reasons(kernel: Kernel, device: AttachedDevice) -> Iterator[Reason]:
    if kernel.module is None:
        yield Reason(ReasonKind.NO_DRIVER)
        return
    driver = next((driver for driver in kernel.module.devices if driver.name == device.name), None)
    if driver is None:
        errno = kernel.module.failed.get(device.name, Errno.ENODEV)
        yield Reason(
            ReasonKind.REGION_TAKEN if errno is Errno.EBUSY else ReasonKind.SETUP_FAILED, {"errno": errno.name}
        )
        return
    # Imported when there is a shortage to explain, which most runs never have.
    from virtiomem.driver import shortfall

    yield from shortfall.reasons(driver)
    yield from _refusal(device, driver)


def _refusal(device: AttachedDevice, driver: VirtioMem) -> Iterator[Reason]:
    """Why the device refused, where that is how the driver's last pass ended."""
    refusal = device.refusal
    # The device remembers its last refusal for good; only the errno of the last pass tells whether it still matters.
    if refusal is not None and driver.work.last_rc is errno_of(RequestType.PLUG, ANSWERS[refusal.kind]):
        yield refusal
