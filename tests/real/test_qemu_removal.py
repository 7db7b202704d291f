"""What a QEMU answers when its device is to be removed, and when the host lacks the memory to plug."""

import itertools
from pathlib import Path
from typing import Literal

import pytest

from virtiomem.conformance.targets import realize
from virtiomem.device import MemDevice
from virtiomem.errors import DeviceError
from virtiomem.releases.qemu import QEMU
from virtiomem.transport.qemu_device import MachineSpec, QemuMachine
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import VringChannel
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Config, Request, RequestType, Response, State

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.proves("removals and lacks of host memory")]

BLOCK = 2 * MiB
HUGE = """#!/bin/sh
# QEMU whose device takes memory when it is plugged, from huge pages
for word do
    shift
    case $word in
    memory-backend-ram,id=mem-*) word=memory-backend-memfd,hugetlb=on,hugetlbsize=2M,${{word#*,}} ;;
    virtio-mem-pci,*) word=$word,prealloc=on ;;
    esac
    set -- "$@" "$word"
done
exec {qemu} "$@"
"""


def request(machine: QemuMachine, kind: RequestType, first: int, count: int) -> Response:
    """Send one request through a driver of its own, with no reset of the device's memory."""
    driver = VringChannel(machine.devices["vm0"].transport)
    addr = Config.unpack(driver.config()).addr + first * BLOCK
    return Response.unpack(driver.send(Request(kind, addr, count).pack()))


@pytest.mark.parametrize(
    ("inaccessible", "requested", "plugged"), list(itertools.product(("on", "off"), (0, 2 * BLOCK), (0, 1)))
)
def test_removal_is_answered_as_the_model_of_this_release_answers(
    inaccessible: Literal["on", "off"], requested: int, plugged: int, qemu: str
) -> None:
    spec = DeviceSpec("vm0", GiB, BLOCK, 2 * BLOCK, unplugged_inaccessible=inaccessible)
    with QemuMachine([spec], MachineSpec(kind="pc"), binary=qemu) as machine:
        ours = realize(spec, QEMU.release(machine.version))
        if plugged:
            assert request(machine, RequestType.PLUG, 0, plugged) == ours.request(RequestType.PLUG, ours.addr, plugged)
        machine.devices["vm0"].set_requested_size(requested)
        ours.requested_size = requested
        assert answer_of_qemu(machine) == answer_of(ours)
        assert size_set_on_qemu(machine) == size_set_on(ours)


def answer_of_qemu(machine: QemuMachine) -> str | None:
    try:
        machine.qmp.execute("device_del", {"id": "vm0"})
    except DeviceError as error:
        return str(error)
    return None


def answer_of(device: MemDevice) -> str | None:
    try:
        device.ask_to_leave()
    except DeviceError as error:
        return str(error)
    return None


def size_set_on_qemu(machine: QemuMachine) -> str | None:
    try:
        machine.devices["vm0"].set_requested_size(BLOCK)
    except DeviceError as error:
        return str(error)
    return None


def size_set_on(device: MemDevice) -> str | None:
    try:
        device.requested_size = BLOCK
    except DeviceError as error:
        return str(error)
    return None


def test_memory_that_the_host_has_not_got_is_answered_busy_after_every_other_check(qemu: str, tmp_path: Path) -> None:
    if Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").read_text().strip() != "0":
        pytest.skip("this host has huge pages")
    wrapper = tmp_path / "qemu"
    wrapper.write_text(HUGE.format(qemu=qemu))
    wrapper.chmod(0o755)
    with QemuMachine([DeviceSpec("vm0", GiB, BLOCK, 4 * BLOCK)], binary=str(wrapper)) as machine:
        answers = [request(machine, RequestType.PLUG, 0, count).type.name for count in (0, 1, 4, 5)]
        assert answers == ["ERROR", "BUSY", "BUSY", "NACK"]
        assert request(machine, RequestType.STATE, 0, 4).state is State.UNPLUGGED
        assert request(machine, RequestType.UNPLUG_ALL, 0, 0).type.name == "ACK"
