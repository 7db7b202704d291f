"""Fixtures for every package: files as a kernel shows them, made where a test needs them."""

import gc
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings

from tests import schemas
from virtiomem.cli import main as command_line

# A busy machine takes its time for an example, and that is not a failure. Continuous integration tries the same examples
# every time; everybody else's machine finds new ones. `make long` tries ten times as many.
settings.register_profile(
    "fast",
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.register_profile("long", settings.get_profile("fast"), max_examples=200)
settings.load_profile("fast")


def pytest_collection_finish() -> None:
    """Keep what is collected, which stays to the end, from being searched for garbage again and again."""
    gc.collect()
    gc.freeze()


# A shell ignores Ctrl-C for what it runs in the background, and so would the suite.
signal.signal(signal.SIGINT, signal.default_int_handler)

setattr(command_line, "_run", schemas.checking(command_line._run))  # noqa: B010 - mypy takes a function for a constant


class SysfsBlock(NamedTuple):
    """A memoryN directory; None leaves the file out."""

    number: int
    state: str | None = "online"
    removable: str | None = "1"
    valid_zones: str | None = "Movable"
    nodes: tuple[int, ...] = (0,)


MakeSysfs = Callable[..., Path]


@pytest.fixture
def block() -> type[SysfsBlock]:
    """A memory block for `make_sysfs`: an online, movable one on node 0 unless told otherwise."""
    return SysfsBlock


@pytest.fixture
def make_sysfs(tmp_path: Path) -> MakeSysfs:
    """Lay out /sys/devices/system/memory below a directory, as drivers/base/memory.c does."""

    def make(blocks: Iterable[SysfsBlock], block_size: str = "8000000", root: str = "sysroot") -> Path:
        memory = tmp_path / root / "sys/devices/system/memory"
        memory.mkdir(parents=True)
        (memory / "block_size_bytes").write_text(f"{block_size}\n")
        (memory / "auto_online_blocks").write_text("online_movable\n")
        for block in blocks:
            directory = memory / f"memory{block.number}"
            directory.mkdir()
            for name in ("state", "removable", "valid_zones"):
                if (text := getattr(block, name)) is not None:
                    (directory / name).write_text(f"{text}\n")
            for node in block.nodes:
                (directory / f"node{node}").symlink_to(f"../../node/node{node}")
        return tmp_path / root

    return make
