"""The built-in layout against a kernel that boots on the same machine."""

import re

import pytest

from tests.real.needs import series
from virtiomem import scenario
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.guest.linux.kernels import KernelImage
from virtiomem.releases.linux import LINUX

pytestmark = pytest.mark.real

DEVICES = '[[device]]\nid = "vm0"\nmax-size = "1G"\n[[device]]\nid = "vm1"\nmax-size = "2G"\n'


@pytest.mark.on(linux="every", qemu="7.2")  # QEMU 10 places BARs otherwise: 16K each, and a window above
@pytest.mark.proves("layouts")
@pytest.mark.parametrize("machine", ['machine = "q35"\nmemory = "4097M"\n', 'machine = "pc"\nmemory = "3585M"\n'])
def test_built_in_layout_is_what_a_kernel_prints(kernel: KernelImage, setup: Setup, machine: str) -> None:
    if LINUX.stands_in_for(kernel.release):
        pytest.skip(f"Linux {series(kernel.release)} is modelled as {LINUX.release(kernel.release).name}")
    played = scenario.loads(f'[guest]\nkernel = "{series(kernel.release)}"\n{machine}{DEVICES}')
    guest = LinuxGuest(played.guest, played.devices, setup=setup)
    printed = guest.boot.iomem
    guest.close()
    assert predictable(played.boot_iomem) == predictable(printed)


def predictable(listing: str) -> list[str]:
    """A listing without what depends on the kernel's build, on PCI drivers, and on what the firmware left in its memory.

    An adapter's ROM is what looks like one from 0xc8000 up; no card is there that has one, so such a line is chance.
    """
    own = r" : (Kernel \w+|virtio-pci-modern|Adapter ROM)$"
    return [line for line in listing.splitlines() if not re.search(own, line)]
