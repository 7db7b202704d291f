"""What a QEMU's device answers whose memory comes and goes in slots (dynamic-memslots), and which slots it then has."""

import random
import re
from pathlib import Path

import pytest

from virtiomem.conformance.targets import realize
from virtiomem.errors import DeviceError
from virtiomem.qemu.validation import STRING
from virtiomem.releases.qemu import QEMU
from virtiomem.transport.qemu_device import MachineSpec, QemuMachine
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import VringChannel
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Request, RequestType, Response

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.proves("devices of dynamic memory slots")]

BLOCK = 2 * MiB
LIMIT = 400 * GiB + 64 * MiB
SLOTTED = """#!/bin/sh
# QEMU whose device has its memory in slots
for word do
    shift
    case $word in virtio-mem-pci,*) word=$word,dynamic-memslots=on ;; esac
    set -- "$@" "$word"
done
exec {qemu} "$@"
"""


@pytest.fixture
def slotted(qemu: str, tmp_path: Path) -> str:
    """The QEMU, with the property at every virtio-mem device."""
    wrapper = tmp_path / "slotted"
    wrapper.write_text(SLOTTED.format(qemu=qemu))
    wrapper.chmod(0o755)
    return str(wrapper)


def machine(slotted: str, spec: DeviceSpec) -> QemuMachine:
    """A machine with that device; skips where QEMU does not know the property yet."""
    try:
        return QemuMachine([spec], MachineSpec("q35", max_memory=LIMIT), binary=slotted)
    except DeviceError as error:
        if str(error) == "Property 'virtio-mem-pci.dynamic-memslots' not found":
            pytest.skip("this QEMU has no dynamic memory slots")
        raise


def test_slots_need_unplugged_memory_to_be_inaccessible(slotted: str) -> None:
    with pytest.raises(
        DeviceError, match=r"^'dynamic-memslots' property set to 'on' requires 'unplugged-inaccessible'"
    ):
        machine(slotted, DeviceSpec("vm0", GiB, BLOCK, unplugged_inaccessible="off"))


def test_answers_are_those_of_a_device_without_slots(slotted: str) -> None:
    spec, rng = DeviceSpec("vm0", 8 * GiB, BLOCK, 6 * GiB, unplugged_inaccessible="on"), random.Random(1)
    with machine(slotted, spec) as made:
        ours = realize(spec, QEMU.release(made.version))
        driver = VringChannel(made.devices["vm0"].transport)
        for _ in range(500):
            kind = rng.choice([RequestType.PLUG, RequestType.UNPLUG, RequestType.STATE])
            first, count = rng.randrange(spec.size // BLOCK), rng.choice([1, 2, 300, 600, 1024])
            addr = ours.addr + first * BLOCK
            answer = Response.unpack(driver.send(Request(kind, addr, count).pack()))
            assert answer == ours.request(kind, addr, count)
        assert driver.send(Request(RequestType.UNPLUG_ALL).pack()) == ours.request(RequestType.UNPLUG_ALL).pack()
        assert slots(made) == set()


@pytest.mark.parametrize(
    ("size", "block", "count"), [(8 * GiB, BLOCK, 5), (300 * GiB, BLOCK, 192), (GiB, BLOCK, 1), (8 * GiB, 2 * GiB, 4)]
)
def test_slots_are_there_while_something_in_them_is_plugged(slotted: str, size: int, block: int, count: int) -> None:
    spec = DeviceSpec("vm0", size, block, size, unplugged_inaccessible="on")
    with machine(slotted, spec) as made:
        addr, driver = realize(spec).addr, VringChannel(made.devices["vm0"].transport)
        assert slots(made) == set()
        for at, seen in ((0, {0}), (size - block, {0, count - 1})):
            driver.send(Request(RequestType.PLUG, addr + at, 1).pack())
            assert slots(made) == seen
        driver.send(Request(RequestType.UNPLUG, addr, 1).pack())
        assert slots(made) == {count - 1}


def slots(made: QemuMachine) -> set[int]:
    """Which of its slots the device has in the machine's memory."""
    tree = made.qmp.ask("human-monitor-command", {"command-line": "info mtree"}, shape=STRING)
    return {int(number) for number in re.findall(r"memslot-(\d+) @", tree)}
