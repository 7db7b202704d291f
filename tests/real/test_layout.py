"""The built-in layout against a kernel that boots on the same machine."""

import re

import pytest

from virtiomem import scenario
from virtiomem.guest.linux import LinuxGuest, Setup

pytestmark = pytest.mark.real

DEVICES = '[[device]]\nid = "vm0"\nmax-size = "1G"\n[[device]]\nid = "vm1"\nmax-size = "2G"\n'


@pytest.mark.parametrize("machine", ['machine = "q35"\nmemory = "4097M"\n', 'machine = "pc"\nmemory = "3585M"\n'])
def test_built_in_layout_is_what_a_kernel_prints(setup_6_1: Setup, machine: str) -> None:
    played = scenario.loads(f"[guest]\n{machine}{DEVICES}")
    guest = LinuxGuest(played.guest, played.devices, setup=setup_6_1)
    printed = guest.boot.iomem
    guest.close()
    assert predictable(played.boot_iomem) == predictable(printed)


def predictable(listing: str) -> list[str]:
    """A listing without what depends on the kernel's build, and on PCI drivers."""
    return [line for line in listing.splitlines() if not re.search(r" : (Kernel \w+|virtio-pci-modern)$", line)]
