"""Why devices of an embedded guest are not at their requested sizes: the driver's reasons, then the device's own."""

from collections.abc import Iterator

from virtiomem.device.decisions import ANSWERS
from virtiomem.driver import VirtioMem, rest
from virtiomem.driver.outcome import errno_of
from virtiomem.errors import Errno
from virtiomem.guest.embedded.hardware import Slot
from virtiomem.guest.embedded.kernel import Kernel
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.wire.mem import RequestType


def reasons(kernel: Kernel, slots: list[Slot]) -> list[Reason]:
    """Every reason, device by device."""
    return [reason.of(slot.config.id) for slot in slots if not slot.settled for reason in _reasons(kernel, slot)]


def _reasons(kernel: Kernel, slot: Slot) -> Iterator[Reason]:
    if kernel.module is None:
        yield Reason(ReasonKind.NO_DRIVER)
        return
    driver = next((device for device in kernel.module.devices if device.name == slot.name), None)
    if driver is None:
        errno = kernel.module.failed.get(slot.name, Errno.ENODEV)
        yield Reason(
            ReasonKind.REGION_TAKEN if errno is Errno.EBUSY else ReasonKind.SETUP_FAILED, {"errno": errno.name}
        )
        return
    yield from rest.reasons(driver)
    yield from _refusal(slot, driver)


def _refusal(slot: Slot, driver: VirtioMem) -> Iterator[Reason]:
    """Why the device refused, where that is how the driver's last pass ended."""
    refusal = slot.handle.refusal
    if refusal is not None and driver.work.last_rc is errno_of(RequestType.PLUG, ANSWERS[refusal.kind].type):
        yield refusal
