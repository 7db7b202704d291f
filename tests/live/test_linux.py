from pathlib import Path
from typing import Any

import pytest

from virtiomem import LiveLinux
from virtiomem.errors import ArgumentError, UsageError
from virtiomem.units import MiB

EXAMPLE = Path(__file__).parents[2] / "examples/guest.capture"


def test_a_running_linux_says_in_a_line_what_it_holds() -> None:
    linux = LiveLinux.load(EXAMPLE)
    assert repr(linux) == f"<LiveLinux of {EXAMPLE}: 45 memory blocks, virtio0>"
    assert str(linux.memory) == "<MemorySysfs: 45 blocks of 128M: online 0-15, 32-51, 53-60; offline 52>"
    assert repr(linux.capture).startswith(f"<Capture of {EXAMPLE}: proc/iomem, sys/devices/system/memory, ")


def test_blocks_that_could_go_offline_are_planned_without_naming_the_only_device() -> None:
    plan = LiveLinux.load(EXAMPLE).plan_shrink(256 * MiB)
    assert [(loss.block.block, loss.removed) for loss in plan.losses] == [(52, True), (60, True), (59, False)]


def test_blocks_below_another_root_are_read_and_no_device_is_said_to_shrink(make_sysfs: Any, block: Any) -> None:
    root = make_sysfs([block(0), block(1, state="offline")])
    assert str(LiveLinux.here(root).memory) == "<MemorySysfs: 2 blocks of 128M: online 0; offline 1>"
    assert LiveLinux.here(root).hidden, "neither the bus nor the map is there to tell"
    (root / "sys/bus/virtio/devices").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"^there is no virtio-mem device here that could shrink$"):
        LiveLinux.here(root).plan_shrink(MiB)


@pytest.mark.parametrize("call", [LiveLinux.here, LiveLinux.load, LiveLinux.load(EXAMPLE).plan_shrink])
def test_an_argument_of_the_wrong_kind_is_refused(call: Any) -> None:
    for wrong in (None, 2.5, True, [1], b"1"):
        with pytest.raises(ArgumentError, match=r"^(path|sysroot|by) must be "):
            call(wrong)
