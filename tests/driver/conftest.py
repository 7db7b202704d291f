from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from virtiomem.clock import Clock
from virtiomem.device.mem import MemDevice
from virtiomem.driver import Parameters, VirtioMem, VirtioMemModule
from virtiomem.errors import Errno
from virtiomem.memory import Memory, OnlineType, Policy, store_state
from virtiomem.memory.use import PageUse
from virtiomem.releases.linux import LINUX
from virtiomem.resource import iomem
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.transport.loopback import Loopback
from virtiomem.units import GiB, MiB
from virtiomem.wire.mem import Feature, Request

BASE = 8 * GiB


class Tapped(Loopback):
    """A loopback that keeps the requests, as ``PLUG +0M 64``."""

    def __init__(self, device: MemDevice) -> None:
        super().__init__(device)
        self.device = device
        self.said: list[str] = []
        self.then_busy = False
        """Each answer is the device's last before it becomes busy."""

    def send(self, request: bytes) -> bytes:
        sent = Request.unpack(request)
        self.said.append(f"{sent.type.name} +{(sent.addr - BASE) // MiB}M {sent.nb_blocks}")
        answer = super().send(request)
        self.device.busy |= self.then_busy
        return answer


@dataclass
class Rig:
    """Device, driver and core, wired up."""

    device: MemDevice
    memory: Memory
    parameters: Parameters = field(default_factory=Parameters)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.channel = Tapped(self.device)
        self.load()

    def load(self) -> None:
        self.log: list[str] = []
        self.module = VirtioMemModule(
            self.memory,
            self.clock,
            [("virtio0", self.channel)],
            self.parameters,
            lambda _, text: self.log.append(text),
        )
        self.clock.run_until_idle()

    @property
    def driver(self) -> VirtioMem:
        return self.module.devices[0]

    def resize(self, size: int) -> list[str]:
        """Set requested-size and return what the driver asked for."""
        self.channel.said.clear()
        self.device.requested_size = size
        self.clock.run_until_idle()
        self.module.check()
        self.memory.check()
        return list(self.channel.said)

    def pin(self, block: int, *pageblocks: int) -> None:
        """Put something that does not move into pageblocks of a memory block."""
        use = PageUse(f"pin{block}", movable=False)
        for index in pageblocks:
            self.memory.users._put(use, self.memory.blocks[block], index)
        self.memory.users._uses[use.id] = use

    def unpin(self, block: int) -> None:
        """Take it out again."""
        self.memory.users.free(f"pin{block}")

    def set_state(self, block: int, state: OnlineType) -> Errno:
        """Write to a block's state, and let the driver answer; what it asked for is in `transport.said`."""
        self.channel.said.clear()
        rc = store_state(self.memory, block, state)
        self.clock.run_until_idle()
        self.module.check()
        self.memory.check()
        return rc

    def wait(self, seconds: float) -> list[str]:
        """Let time pass and return what the driver asked for."""
        self.channel.said.clear()
        self.clock.advance(seconds)
        self.module.check()
        return list(self.channel.said)

    def listing(self) -> list[str]:
        return [line for line in iomem.dumps(self.memory.iomem).splitlines() if "virtio" in line]


MakeRig = Callable[..., Rig]


@pytest.fixture
def rig() -> MakeRig:
    """A device of `size` bytes at 8 GiB in a guest with 2 GiB of boot memory."""

    def make(
        state: OnlineType = OnlineType.ONLINE_MOVABLE,
        *,
        size: int = 4 * GiB,
        addr: int = BASE,
        block: int = 2 * MiB,
        requested: int = 0,
        memory_block: int | None = None,
        kernel: str = LINUX.oldest.name,
        features: Feature = Feature.ACPI_PXM,
        **parameters: bool | int,
    ) -> Rig:
        tree = ResourceTree()
        tree.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
        memory = Memory(
            tree, block_size=memory_block, policy=Policy(default_state=state), release=LINUX.release(kernel)
        )
        device = MemDevice(addr=addr, region_size=size, block_size=block, requested_size=requested, features=features)
        return Rig(device, memory, Parameters(**parameters))  # type: ignore[arg-type]

    return make


def plugs(kind: str, offsets: Iterable[int], blocks: int) -> list[str]:
    """Requests of one kind at offsets in MiB."""
    return [f"{kind} +{offset}M {blocks}" for offset in offsets]


@pytest.fixture(name="plugs")
def plugs_fixture() -> Callable[[str, Iterable[int], int], list[str]]:
    return plugs
