"""What the real tests run on: every QEMU, and real guests of whatever release or of one that a test asks for by name."""

import os
from collections.abc import Iterator

import pytest

from tests.real.needs import MODELLED_QEMU, found_qemus, missing, require
from virtiomem.errors import BackendError
from virtiomem.guest.linux import Setup, initramfs, kernels
from virtiomem.qemu import BINARY, PACKAGE, accel
from virtiomem.releases.linux import LINUX

QEMUS = found_qemus()


@pytest.fixture(scope="session", params=QEMUS, ids=[*QEMUS.values()])
def qemu(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Each QEMU that is here, one after the other, as the one that PATH has."""
    yield from first_in_path(require(request.param, PACKAGE), tmp_path_factory)


@pytest.fixture(scope="module")
def modelled_qemu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The QEMU whose device ours is modelled on, as the one that PATH has."""
    found = next((path for path, release in QEMUS.items() if release.startswith(f"{MODELLED_QEMU}.")), None)
    yield from first_in_path(found or missing(f"QEMU {MODELLED_QEMU} ({PACKAGE} of Debian 12)"), tmp_path_factory)


def first_in_path(program: str, folders: pytest.TempPathFactory) -> Iterator[str]:
    """Let BINARY mean a program."""
    folder = folders.mktemp("qemu")
    (folder / BINARY).symlink_to(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield program


@pytest.fixture(scope="session")
def setup(qemu: str) -> Setup:
    """How to run a real guest with the newest kernel that is here, and the accelerator that works."""
    return real_guest(qemu)


@pytest.fixture(scope="session")
def setup_6_1(qemu: str) -> Setup:
    """The same with the release that the embedded guest models and that was recorded."""
    return real_guest(qemu, LINUX.oldest.name)


def real_guest(qemu: str, release: str = "") -> Setup:
    """How to run a real guest of a release; see `missing` for when that cannot be."""
    try:
        kernel = kernels.find(release)
        initramfs.gather(kernel, kexec=True)
    except BackendError as error:
        missing(str(error))
    return Setup(kernel=kernel.image, qemu=qemu, accel=accel.choose(kernel.image, binary=qemu))
