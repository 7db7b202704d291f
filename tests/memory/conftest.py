from collections.abc import Callable

import pytest

from virtiomem.memory import Memory, OnlineType, Policy
from virtiomem.releases.linux import LINUX
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.units import GiB

Boot = Callable[..., Memory]


@pytest.fixture
def boot() -> Boot:
    """A kernel with 2 GiB of boot memory at 4 GiB."""

    def make(state: OnlineType = OnlineType.OFFLINE, *, kernel: str = LINUX.oldest.name, **policy: object) -> Memory:
        iomem = ResourceTree()
        iomem.request_region(4 * GiB, 2 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
        asked = Policy(default_state=state, **policy)  # type: ignore[arg-type]
        return Memory(iomem, policy=asked, release=LINUX.release(kernel))

    return make
