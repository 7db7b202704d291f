import shutil
import subprocess

import pytest

from virtiomem.guest.linux import cpio

ENTRIES = [
    cpio.directory("bin"),
    cpio.file("bin/agent", b"#!/bin/sh\n", executable=True),
    cpio.symlink("bin/cat", "busybox"),
    cpio.character_device("console", 5, 1),
    cpio.file("odd", b"12345"),
]


def test_every_member_starts_on_a_multiple_of_four() -> None:
    data = cpio.archive(ENTRIES)
    starts = [i for i in range(len(data)) if data.startswith(b"070701", i)]
    assert len(starts) == len(ENTRIES) + 1
    assert all(start % 4 == 0 for start in starts)
    assert len(data) % 4 == 0


def test_the_header_carries_mode_size_device_and_name() -> None:
    data = cpio.archive([cpio.character_device("console", 5, 1)])
    fields = [int(data[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
    inode, mode, _, _, links, _, size, _, _, major, minor, name_size, check = fields
    assert (inode, mode, links, size, major, minor, name_size, check) == (1, 0o20600, 1, 0, 5, 1, 8, 0)
    assert data[110:118] == b"console\0"


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio program to read the archive (Debian package cpio)")
def test_gnu_cpio_reads_it() -> None:
    listing = subprocess.run(["cpio", "-tv"], input=cpio.archive(ENTRIES), capture_output=True, check=True)
    lines = [line.split() for line in listing.stdout.decode().splitlines()]
    assert [line[0] for line in lines] == ["drwxr-xr-x", "-rwxr-xr-x", "lrwxrwxrwx", "crw-------", "-rw-r--r--"]
    assert lines[2][-3:] == ["bin/cat", "->", "busybox"]
    assert lines[1][4] == "10"
