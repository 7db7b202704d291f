"""Vmcores that a real QEMU writes and a real makedumpfile rearranges: every format tells the same memory."""

import subprocess
from pathlib import Path

import pytest

from tests.real.needs import require
from virtiomem.live.kinds.values import RANGES
from virtiomem.live.reading import read_any

pytestmark = pytest.mark.real


def ranges(path: Path) -> list[tuple[int, int]]:
    """What a dump has, touching ranges as one."""
    found: list[tuple[int, int]] = []
    for line in read_any(path).capture.section(RANGES).lines:
        start, end = (int(one, 16) for one in line.split("-"))
        if found and found[-1][1] + 1 == start:
            start = found.pop()[0]
        found.append((start, end))
    return found


def test_every_format_of_a_dump_tells_the_same_memory(tmp_path: Path) -> None:
    qemu = require("qemu-system-x86_64", "qemu-system-x86")
    elf, packed, plain, text = (tmp_path / name for name in ("elf", "packed", "plain", "text"))
    command = [
        qemu,
        "-machine",
        "pc,accel=tcg",
        "-m",
        "64M",
        "-S",
        "-display",
        "none",
        "-nodefaults",
        "-monitor",
        "stdio",
    ]
    asked = f"dump-guest-memory {elf}\ndump-guest-memory -z {packed}\nquit\n"
    subprocess.run(command, input=asked, text=True, check=True, capture_output=True, timeout=60)
    makedumpfile = require("makedumpfile", "makedumpfile")
    with packed.open("rb") as flattened:
        subprocess.run([makedumpfile, "-R", str(plain)], stdin=flattened, check=True, capture_output=True, timeout=60)
    readelf = require("readelf", "binutils")
    text.write_text(subprocess.run([readelf, "-l", str(elf)], check=True, capture_output=True, text=True).stdout)
    assert [read_any(path).kind.name for path in (elf, packed, plain, text)] == ["elf", "kdump", "kdump", "readelf"]
    assert ranges(elf)[0] == (0, (64 << 20) - 1)
    assert ranges(packed) == ranges(plain) == ranges(text) == ranges(elf)
    facts = {(of, what): value for of, what, value in read_any(packed).facts}
    assert facts["dump", "memory in the file"] == sum(end - start + 1 for start, end in ranges(elf))
