"""The driver in a crash kernel, held against what a real one asked its device (tests/data/kdump)."""

import json
import re
from pathlib import Path

import pytest

from virtiomem.device.mem import MemDevice
from virtiomem.driver import VmcoreDriver
from virtiomem.transport.loopback import Loopback
from virtiomem.units import GiB, MiB, Span
from virtiomem.wire.mem import Request, RequestType

DATA = Path(__file__).parent.parent / "data/kdump"
READS = json.loads((DATA / "crash-kernel-reads.json").read_text())
REGION = Span.sized(0x180000000, 8 * GiB)
BLOCK = 2 * MiB


class Wire(Loopback):
    """A wire that remembers every request."""

    def __init__(self, device: MemDevice) -> None:
        super().__init__(device)
        self.asked: list[Request] = []

    def send(self, request: bytes) -> bytes:
        self.asked.append(Request.unpack(request))
        return super().send(request)


def crashed(name: str) -> MemDevice:
    """The device as it was when the kernel crashed: all that is in the map is plugged."""
    listing = json.loads((DATA / f"{name}.json").read_text())["iomem"]
    added = re.findall(r"^  ([0-9a-f]+)-([0-9a-f]+) : System RAM \(virtio_mem\)$", listing, re.MULTILINE)
    device = MemDevice(addr=REGION.start, region_size=REGION.size, block_size=BLOCK, requested_size=2 * GiB)
    for start, end in added:
        first, stop = int(start, 16), int(end, 16) + 1
        assert device.request(RequestType.PLUG, first, (stop - first) // BLOCK).type == 0
    return device


@pytest.mark.parametrize("name", READS)
def test_reads_of_a_vmcore_ask_what_a_real_crash_kernel_asked(name: str) -> None:
    wire = Wire(crashed(name))
    driver = VmcoreDriver(wire)
    assert all(driver.is_ram(int(address, 16)) for address in READS[name]["reads"])
    assert wire.asked == [Request(RequestType.STATE, int(address, 16), 1) for address in READS[name]["asked"]]


def test_recorded_reads_ask_less_often_than_they_read() -> None:
    counts = {name: (len(one["reads"]), len(one["asked"])) for name, one in READS.items()}
    assert counts.pop("none-file") == (0, 0)
    assert all(reads > asked > 30 for reads, asked in counts.values())
