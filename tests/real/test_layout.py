"""The built-in layout against a kernel that boots on the same machine."""

import re

import pytest

from tests.real.conftest import real_guest
from virtiomem import scenario
from virtiomem.guest.linux import LinuxGuest
from virtiomem.releases.linux import LINUX

pytestmark = pytest.mark.real

DEVICES = '[[device]]\nid = "vm0"\nmax-size = "1G"\n[[device]]\nid = "vm1"\nmax-size = "2G"\n'


@pytest.mark.parametrize("machine", ['machine = "q35"\nmemory = "4097M"\n', 'machine = "pc"\nmemory = "3585M"\n'])
@pytest.mark.parametrize("release", LINUX.proven)
def test_built_in_layout_is_what_a_kernel_prints(qemu: str, release: str, machine: str) -> None:
    played = scenario.loads(f'[guest]\nkernel = "{release}"\n{machine}{DEVICES}')
    guest = LinuxGuest(played.guest, played.devices, setup=real_guest(qemu, release))
    printed = guest.boot.iomem
    guest.close()
    assert predictable(played.boot_iomem) == predictable(printed)


def predictable(listing: str) -> list[str]:
    """A listing without what depends on the kernel's build, and on PCI drivers."""
    return [line for line in listing.splitlines() if not re.search(r" : (Kernel \w+|virtio-pci-modern)$", line)]
