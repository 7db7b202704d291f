"""A device that lies, changes its mind, or talks nonsense: the driver never raises, never loops, never breaks the tree."""

import random
import struct
from collections.abc import Callable
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.clock import Clock
from virtiomem.device.mem import MemDevice
from virtiomem.driver import Parameters, VirtioMemModule
from virtiomem.errors import Errno
from virtiomem.memory import Memory, OnlineType, Policy
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.transport.loopback import Loopback
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Config, ResponseType

BASE = 6 * GiB
FIELDS = [field.name for field in fields(Config)]


def boot(state: OnlineType = OnlineType.ONLINE_MOVABLE) -> Memory:
    iomem = ResourceTree()
    iomem.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
    return Memory(iomem, policy=Policy(default_state=state))


class Hostile(Loopback):
    """A real device behind a wire that another client holds."""

    def __init__(self, device: MemDevice) -> None:
        super().__init__(device)
        self.device = device
        self.tamper_config: Callable[[Config], Config | bytes] = lambda config: config
        self.tamper_answer: Callable[[bytes], bytes] = lambda answer: answer

    def send(self, request: bytes) -> bytes:
        return self.tamper_answer(super().send(request))

    def config(self) -> bytes:
        tampered = self.tamper_config(self.device.config)
        return tampered if isinstance(tampered, bytes) else tampered.pack()


def start(memory: Memory, hostile: Hostile, **parameters: bool) -> tuple[VirtioMemModule, Clock]:
    clock = Clock()
    module = VirtioMemModule(memory, clock, [("virtio0", hostile)], Parameters(**parameters))
    clock.run_until_idle()
    return module, clock


@pytest.fixture
def hostile() -> Hostile:
    return Hostile(MemDevice(addr=BASE, region_size=4 * GiB, requested_size=1 * GiB))


def replaced(**fields: int) -> Callable[[Config], Config]:
    if "node_id" in fields:
        fields["node_id"] &= 0xFFFF
    return lambda config: replace(config, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"block_size": 0},
        {"block_size": 3 * MiB},
        {"region_size": 0},
        {"addr": (1 << 64) - MiB},
        {"addr": 5 * GiB},
    ],
    ids=["no block", "odd block", "no region", "region wraps", "region over boot memory"],
)
def test_impossible_device_is_refused_at_probe(hostile: Hostile, fields: dict[str, int]) -> None:
    memory = boot()
    hostile.tamper_config = replaced(**fields)
    module, _ = start(memory, hostile)
    assert list(module.failed) == ["virtio0"]
    memory.check()
    assert not any("virtio0" in node.name for _, node in memory.iomem.walk())


def test_short_configuration_reads_as_zeros_and_is_refused(hostile: Hostile) -> None:
    hostile.tamper_config = lambda config: config.pack()[:5]
    module, _ = start(boot(), hostile)
    assert module.failed == {"virtio0": Errno.EINVAL}


def test_device_that_always_answers_nack_stops_the_driver_after_a_while(hostile: Hostile) -> None:
    hostile.tamper_answer = lambda _: struct.pack("<H8x", ResponseType.NACK)
    module, clock = start(boot(), hostile)
    assert module.devices[0].work.last_rc is Errno.EAGAIN
    assert clock.next_due is None
    module.check()


def test_unknown_answer_to_plug_is_tried_again_later(hostile: Hostile) -> None:
    hostile.tamper_answer = lambda _: b"\x2a" + bytes(9)
    module, clock = start(boot(), hostile)
    assert module.devices[0].work.last_rc is Errno.ENOMEM
    assert clock.next_due == 50.0


def test_short_answer_leaves_the_rest_of_the_last_one(hostile: Hostile) -> None:
    answers = iter([struct.pack("<H8x", ResponseType.BUSY)])
    hostile.tamper_answer = lambda _: next(answers, b"\x02")
    module, _ = start(boot(), hostile)
    assert module.devices[0].work.last_rc is Errno.ETXTBSY


def test_error_answer_breaks_the_device_for_good(hostile: Hostile) -> None:
    memory = boot()
    hostile.tamper_answer = lambda _: struct.pack("<H8x", ResponseType.ERROR)
    module, clock = start(memory, hostile)
    assert module.devices[0].work.broken
    hostile.tamper_answer = lambda answer: answer
    hostile.device.requested_size = 2 * GiB
    clock.advance(10_000)
    assert hostile.device.plugged_size == 1 * GiB - 896 * MiB  # the one request that it took but denied
    memory.check()


def test_silent_device_is_waited_for_forever(hostile: Hostile) -> None:
    memory = boot()
    hostile.tamper_answer = lambda _: b""
    module, clock = start(memory, hostile)
    assert module.devices[0].work.hung
    hostile.device.requested_size = 0
    clock.advance(10_000)
    assert module.devices[0].work.hung
    memory.check()


def test_requested_size_below_plugged_shrinks_at_the_next_look(hostile: Hostile) -> None:
    module, clock = start(boot(), hostile)
    hostile.device.requested_size = 0
    clock.run_until_idle()
    assert hostile.device.plugged_size == 0
    module.check()


def assert_inside(memory: Memory) -> None:
    """Every piece of the driver's memory has the claimed region for a parent."""
    for _, res in memory.iomem.walk():
        if res.name == "System RAM (virtio_mem)":
            assert res.parent is not None
            assert res.parent.name == "virtio0", f"{res} is outside the claimed region"


@pytest.mark.parametrize("bbm", [False, True], ids=["sbm", "bbm"])
@pytest.mark.parametrize("region_size", [64 * MiB, 256 * MiB, 320 * MiB])
def test_device_that_understates_its_region_gets_no_memory_outside_it(
    hostile: Hostile, region_size: int, bbm: bool
) -> None:
    memory = boot()
    hostile.tamper_config = replaced(region_size=region_size)
    module, clock = start(memory, hostile, force_bbm=bbm)
    module.check()
    assert_inside(memory)
    assert hostile.device.plugged_size == region_size // (128 * MiB) * (128 * MiB)
    assert module.devices[0].work.last_rc is Errno.ENOSPC
    hostile.device.requested_size = 0
    clock.run_until_idle()
    assert hostile.device.plugged_size == 0
    module.unload()
    assert not any(res.name == "virtio0" for _, res in memory.iomem.walk())


@pytest.mark.parametrize("bbm", [False, True], ids=["sbm", "bbm"])
@pytest.mark.parametrize(
    "lies",
    [
        {"region_size": 64 * GiB},
        {"region_size": 128 * MiB},
        {"addr": 1 * GiB},
        {"addr": 64 * GiB},
        {"block_size": 256 * MiB},
        {"usable_region_size": 1 << 40},
        {"usable_region_size": (1 << 64) - 1},
        {"usable_region_size": 1 << 40, "region_size": 1 << 40, "addr": 0, "block_size": 0},
    ],
    ids=str,
)
def test_what_the_probe_read_holds_whatever_a_later_configuration_says(
    hostile: Hostile, lies: dict[str, int], bbm: bool
) -> None:
    memory = boot()
    hostile.device.requested_size = 256 * MiB
    module, clock = start(memory, hostile, force_bbm=bbm)
    hostile.tamper_config = replaced(**lies, requested_size=16 * GiB)
    hostile.device.requested_size = 4 * GiB
    clock.run_until_idle()
    module.check()
    memory.check()
    assert_inside(memory)
    assert hostile.device.plugged_size == 4 * GiB
    hostile.tamper_config = replaced(**lies, requested_size=0)
    hostile.device.requested_size = 0
    clock.run_until_idle()
    assert hostile.device.plugged_size == 0
    module.unload()
    memory.check()


@given(seed=st.integers(0, 2**32), state=st.sampled_from(list(OnlineType)), bbm=st.booleans())
def test_random_lies_leave_the_core_consistent(seed: int, state: OnlineType, bbm: bool) -> None:
    chance = random.Random(seed)
    memory = boot(state)
    hostile = Hostile(MemDevice(addr=BASE, region_size=4 * GiB))

    def lie(config: Config) -> Config | bytes:
        field = chance.choice(FIELDS)
        value = chance.choice([0, 1, 5 * MiB, 256 * MiB, 3 * GiB, BASE, 1 << 40, (1 << 64) - 1])
        return replaced(**{field: value})(config) if chance.random() < 0.3 else config

    def garble(answer: bytes) -> bytes:
        if chance.random() < 0.02:
            return b""
        if chance.random() < 0.1:
            return bytes(10)  # ACK, whatever the device did
        return chance.randbytes(chance.randint(1, 40)) if chance.random() < 0.1 else answer

    hostile.tamper_config, hostile.tamper_answer = lie, garble
    module, clock = start(memory, hostile, force_bbm=bbm)
    for _ in range(12):
        hostile.device.requested_size = chance.randrange(0, 4 * GiB, 2 * MiB)
        clock.advance(chance.choice([0, 60, 400]))
        memory.check()
        module.check()
        assert_inside(memory)
    module.unload()
    memory.check()
