"""What the real tests run on: a QEMU, and real guests of whatever release or of one that a test asks for by name."""

import pytest

from tests.real.needs import missing, require
from virtiomem.errors import BackendError
from virtiomem.guest.embedded.kernel import VERSION
from virtiomem.guest.linux import Setup, initramfs, kernels
from virtiomem.qemu import BINARY, PACKAGE, accel


@pytest.fixture(scope="session")
def qemu() -> str:
    """The QEMU that is installed."""
    return require(BINARY, PACKAGE)


@pytest.fixture(scope="session")
def setup(qemu: str) -> Setup:
    """How to run a real guest with the newest kernel that is here, and the accelerator that works."""
    return real_guest(qemu)


@pytest.fixture(scope="session")
def setup_6_1(qemu: str) -> Setup:
    """The same with the release that the embedded guest models and that was recorded."""
    return real_guest(qemu, VERSION)


def real_guest(qemu: str, release: str = "") -> Setup:
    """How to run a real guest of a release; see `missing` for when that cannot be."""
    try:
        kernel = kernels.find(release)
        initramfs.gather(kernel, kexec=True)
    except BackendError as error:
        missing(str(error))
    return Setup(kernel=kernel.image, qemu=qemu, accel=accel.choose(kernel.image, binary=qemu))
