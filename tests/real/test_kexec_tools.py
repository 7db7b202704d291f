"""Our crash ranges next to those that the real kexec-tools works out of the same listing.

kexec reads /proc/iomem; in a mount namespace of its own it reads ours. It prints its ranges before it tries to load
anything, which it never does here: there is no kernel to load.
"""

import random
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.real.needs import missing, require
from virtiomem.errors import BackendError
from virtiomem.guest.linux import kernels
from virtiomem.kdump.ranges import kexec_tools_ranges
from virtiomem.resource import iomem

RAM = 0


pytestmark = [pytest.mark.real, pytest.mark.usefixtures("asking")]


@pytest.fixture(scope="module")
def asking() -> None:
    """Skips where kexec cannot be asked."""
    require("kexec", "kexec-tools")
    require("unshare", "util-linux")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("MAY NOT UNSHARE MOUNTS HERE: run as root")


@pytest.fixture(scope="module")
def kernel() -> Path:
    """Any kernel image: kexec wants one before it looks at the memory."""
    try:
        return kernels.find().image
    except BackendError as error:
        missing(str(error))


Line = tuple[int, int, int, str]


class Printed(NamedTuple):
    """What kexec -d said: RAM ranges, how many entries its table has; None when it gave up."""

    ram: list[tuple[int, int]] | None
    entries: int
    backup: tuple[int, int] | None


def kexec(text: str, tmp_path: Path, kernel: Path) -> Printed:
    (tmp_path / "iomem").write_text(text)
    load = f"exec kexec -p -c -d --command-line=quiet {kernel}"
    command = ["unshare", "--mount", "sh", "-c", f"mount --bind {tmp_path / 'iomem'} /proc/iomem && {load}"]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    _, found, tail = said.partition("CRASH MEMORY RANGES\n")
    rows = [
        (int(m[1], 16), int(m[2], 16), int(m[3])) for m in re.finditer(r"^(\w+)-(\w+) \((\d+)\)$", tail, re.MULTILINE)
    ]
    backup = re.search(r"get_backup_area: (\w+)-(\w+)", said)
    return Printed(
        [(start, end) for start, end, kind in rows if kind == RAM and start <= end] if found else None,
        len(rows),
        (int(backup[1], 16), int(backup[2], 16)) if backup else None,
    )


def listing(lines: list[Line]) -> str:
    return "".join(f"{'  ' * depth}{start:08x}-{end:08x} : {name}\n" for depth, start, end, name in lines)


def assert_same(lines: list[Line], tmp_path: Path, kernel: Path) -> None:
    ours, theirs = kexec_tools_ranges(iomem.loads(listing(lines))), kexec(listing(lines), tmp_path, kernel)
    ours.check()
    assert ours.refused is (theirs.ram is None)
    if theirs.ram is not None:
        assert (ours.ranges, ours.entries, ours.backup) == (theirs.ram, theirs.entries, theirs.backup)


def random_lines(rng: random.Random) -> list[Line]:
    """Ranges of every name that kexec-tools knows, crash kernels and a GART in odd places."""
    names = ("System RAM",) * 5 + ("Reserved", "reserved", "ACPI Tables", "Persistent Memory", "GART", "virtio0")
    inner = ("Crash kernel", "Crash kernel", "System RAM (virtio_mem)", "System RAM (kmem)", "Kernel code", "GART")
    lines: list[Line] = [(0, 0x1000, rng.choice((0x9FBFF, 0x9FFFF, 0xA0000)), "System RAM")]
    start = 0x100000
    for _ in range(rng.randint(1, 14)):
        start += rng.choice((0, 0, 0x10000, 0x8000000))
        end = start + rng.randint(2, 64) * 0x10000 - 1
        lines.append((0, start, end, rng.choice(names)))
        if rng.random() < 0.5:
            size = (end - start + 1) // 0x10000
            first = rng.choice((0, 0, rng.randrange(size)))
            last = rng.choice((size, size, rng.randint(first + 1, size)))
            lines.append((1, start + first * 0x10000, start + last * 0x10000 - 1, rng.choice(inner)))
        start = end + 1
    return [
        *lines,
        (0, start + 0x100000, start + 0x1FFFFF, "System RAM"),
        (1, start + 0x140000, start + 0x14FFFF, "Crash kernel"),
    ]


@pytest.mark.parametrize("seed", range(40))
def test_ranges_equal_those_of_kexec_tools(seed: int, tmp_path: Path, kernel: Path) -> None:
    assert_same(random_lines(random.Random(seed)), tmp_path, kernel)


def many(blocks: int) -> list[Line]:
    head: list[Line] = [(0, 0x100000, 0xFFFFFFF, "System RAM"), (1, 0x1000000, 0x1FFFFFF, "Crash kernel")]
    return head + [
        (0, (at << 27) + (1 << 32), (at << 27) + (1 << 32) + 0x7FFFFFF, "System RAM") for at in range(blocks)
    ]


@pytest.mark.parametrize("blocks", [32766, 32767, 40000])
def test_a_table_of_32768_entries_is_full_where_ours_is(blocks: int, tmp_path: Path, kernel: Path) -> None:
    assert_same(many(blocks), tmp_path, kernel)


def test_entries_beyond_the_table_are_lost_without_a_word(tmp_path: Path, kernel: Path) -> None:
    lines = many(40000)
    lines[1] = (1, 0x100000, 0x1FFFFFF, "Crash kernel")  # trims, needs no room
    assert_same(lines, tmp_path, kernel)
    assert len(kexec_tools_ranges(iomem.loads(listing(lines))).lost) == 40001 - 32768
