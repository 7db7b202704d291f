"""The suite for every channel, over QEMU's own device; and QEMUs that are missing, too old, killed."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.transport.channels import ADDR, REGION, REQUESTED, Connection, EveryChannel
from virtiomem.errors import BackendError, DeviceError
from virtiomem.transport.channel import RequestChannel
from virtiomem.transport.qemu_device import MachineSpec, QemuDevice, QemuMachine
from virtiomem.transport.virtio_transport import DeviceSpec
from virtiomem.transport.vring import VringChannel
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Config, Request, RequestType, Response, ResponseType

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.usefixtures("qemu")]

DEVICE = DeviceSpec("vm0", REGION, requested_size=REQUESTED)


@dataclass
class QemuConnection:
    device: QemuDevice
    channel: RequestChannel

    def set_requested_size(self, size: int) -> None:
        self.device.set_requested_size(size)

    def size(self) -> int:
        return self.device.size()


class TestQemu(EveryChannel):
    @pytest.fixture(params=[False, True], ids=["direct", "indirect"])
    def connection(self, request: pytest.FixtureRequest) -> Iterator[Connection]:
        with QemuMachine([DEVICE]) as machine:
            device = machine.devices["vm0"]
            yield QemuConnection(device, device.channel(indirect=request.param))


def test_two_devices_of_two_nodes_keep_apart() -> None:
    specs = [
        DeviceSpec("vm0", REGION, requested_size=GiB),
        DeviceSpec("vm1", REGION, requested_size=GiB, memaddr=ADDR + 4 * GiB, node=1, block_size=4 * MiB),
    ]
    with QemuMachine(specs, MachineSpec(kind="pc", nodes=2)) as machine:
        channels = {name: device.channel() for name, device in machine.devices.items()}
        configs = {name: Config.unpack(connection.config()) for name, connection in channels.items()}
        for name, config in configs.items():
            answer = channels[name].send(Request(RequestType.PLUG, config.addr, 3).pack())
            assert Response.unpack(answer).type is ResponseType.ACK
        assert (configs["vm1"].addr, configs["vm1"].node_id) == (ADDR + 4 * GiB, 1)
        assert [device.size() for device in machine.devices.values()] == [6 * MiB, 12 * MiB]


def test_interrupts_come_over_the_line() -> None:
    with QemuMachine([DEVICE]) as machine:
        device = machine.devices["vm0"]
        channel = device.channel()
        before = sum(machine.qtest.raised.values())
        channel.send(Request(RequestType.UNPLUG_ALL).pack())
        device.set_requested_size(GiB)
        assert sum(machine.qtest.raised.values()) == before + 2


def test_a_migrating_machine_is_busy_and_then_is_not() -> None:
    with QemuMachine([DEVICE]) as machine:
        device = machine.devices["vm0"]
        channel = device.channel()
        moments = ((True, ResponseType.BUSY), (False, ResponseType.ACK), (True, ResponseType.BUSY))
        for number, (busy, expected) in enumerate(
            moments
        ):  # newer QEMUs have nothing to do for an UNPLUG_ALL of nothing
            device.set_busy(busy)
            answer = Response.unpack(channel.send(Request(RequestType.PLUG, ADDR + number * 2 * MiB, 1).pack()))
            assert answer.type is expected


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (DeviceSpec("vm0", GiB, requested_size=3 * MiB), "'requested-size' property has to be multiples of"),
        (DeviceSpec("vm0", GiB, block_size=3 * MiB), "'block-size' property has to be a power of two"),
        (DeviceSpec("vm0", GiB, node=3), "'node' property has value '3', which exceedsthe number of numa nodes: 1"),
        (DeviceSpec("vm0", GiB, memaddr=ADDR + MiB), "address must be aligned to 0x200000 bytes"),
    ],
)
def test_a_device_that_cannot_be_is_refused_in_qemus_words(device: DeviceSpec, said: str) -> None:
    with pytest.raises(DeviceError, match=f"^{said}"):
        QemuMachine([device])


def test_a_killed_qemu_is_reported_and_leaves_nothing() -> None:
    with QemuMachine([DEVICE]) as machine:
        channel = machine.devices["vm0"].channel()
        os.kill(machine.process.pid, signal.SIGKILL)
        with pytest.raises(BackendError, match="QEMU was killed by SIGKILL while answering qtest"):
            channel.send(bytes(24))
    assert not Path(f"/proc/{machine.process.pid}").exists()


def test_a_missing_qemu_is_reported() -> None:
    with pytest.raises(BackendError, match="no-such-qemu: No such file"):
        QemuMachine([DEVICE], binary="/no-such-qemu")


@pytest.mark.parametrize(
    "words", ["-object qtest: invalid object type: qtest", "'virtio-mem-pci' is not a valid device model name"]
)
def test_a_qemu_that_is_too_old_is_reported(tmp_path: Path, words: str) -> None:
    old = tmp_path / "qemu-system-x86_64"
    old.write_text(f'#!/bin/sh\necho "qemu-system-x86_64: {words}" >&2\nexit 1\n')
    old.chmod(0o755)
    with pytest.raises(BackendError, match="is too old, virtiomem needs QEMU"):
        QemuMachine([DEVICE], binary=str(old))


def test_a_program_that_is_not_a_qemu_is_reported(tmp_path: Path) -> None:
    other = tmp_path / "qemu"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    with pytest.raises(BackendError, match="QEMU exited with code 3 while starting"):
        QemuMachine([DEVICE], binary=str(other))


def test_a_stale_transport_reads_nothing_after_a_system_reset() -> None:
    with QemuMachine([DEVICE]) as machine:
        device = machine.devices["vm0"]
        old = device.channel()
        old.send(Request(RequestType.PLUG, ADDR, 4).pack())
        device.system_reset()
        assert device.size() == 0
        assert isinstance(device.channel(), VringChannel)
