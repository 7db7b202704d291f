"""What the real guests are made of; without it their tests are skipped, loudly, and in continuous integration fail."""

import os
import shutil

import pytest

from virtiomem.errors import BackendError
from virtiomem.guest.linux import Setup, initramfs, kernels
from virtiomem.qemu import BINARY, PACKAGE, accel


@pytest.fixture(scope="session")
def setup() -> Setup:
    """How to run a real guest here, with the accelerator that works."""
    if missing := _missing():
        if "CI" in os.environ:
            pytest.fail(f"a real guest is required here: {missing}")
        pytest.skip(f"NO REAL GUEST HERE: {missing}")
    kernel = kernels.find()
    return Setup(kernel=kernel.image, accel=accel.choose(kernel.image))


def _missing() -> str | None:
    """What a real guest lacks on this machine."""
    if shutil.which(BINARY) is None:
        return f"{BINARY} (Debian package {PACKAGE})"
    try:
        initramfs.gather(kernels.find(), kexec=True)
    except BackendError as error:
        return str(error)
    return None
