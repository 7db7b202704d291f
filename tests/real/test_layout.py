"""The built-in layout against a kernel that boots on the same machine."""

import re

import pytest

from tests.real.needs import series
from virtiomem import scenario
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.guest.linux.kernels import KernelImage
from virtiomem.releases.linux import LINUX
from virtiomem.releases.qemu import QEMU

pytestmark = pytest.mark.real

DEVICES = '[[device]]\nid = "vm0"\nmax-size = "1G"\n[[device]]\nid = "vm1"\nmax-size = "2G"\n'


@pytest.mark.on(linux="every", qemu="every")
@pytest.mark.proves("layouts")
@pytest.mark.parametrize("machine", ['machine = "q35"\nmemory = "4097M"\n', 'machine = "pc"\nmemory = "3585M"\n'])
def test_built_in_layout_is_what_a_kernel_prints(kernel: KernelImage, setup: Setup, machine: str) -> None:
    if LINUX.stands_in_for(kernel.release):
        pytest.skip(f"Linux {series(kernel.release)} is modelled as {LINUX.release(kernel.release).name}")
    told = f'[guest]\nkernel = "{series(kernel.release)}"\n{machine}'
    played = scenario.loads(f"{told}{DEVICES}")
    with LinuxGuest(played.guest, played.devices, setup=setup) as guest:
        printed, qemu = guest.boot.iomem, guest.info["qemu"]
    if QEMU.stands_in_for(qemu):
        pytest.skip(f"QEMU {qemu} is modelled as {QEMU.release(qemu).name}")
    made = scenario.loads(f'{told}qemu = "{qemu}"\n{DEVICES}').boot_iomem
    assert predictable(made) == predictable(printed)


def predictable(listing: str) -> list[str]:
    """A listing without what depends on the kernel's build, on PCI drivers, and on what the firmware left in its memory.

    An adapter's ROM is what looks like one from 0xc8000 up; no card is there that has one, so such a line is chance.
    """
    own = r" : (Kernel \w+|virtio-pci-modern|Adapter ROM)$"
    return [line for line in listing.splitlines() if not re.search(own, line)]
