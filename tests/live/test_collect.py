import os
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from virtiomem.abi import PageFlag
from virtiomem.errors import BackendError
from virtiomem.kdump import elfcore
from virtiomem.kdump.elfcore import Inputs, KernelText, Note, ProgramHeader, segments
from virtiomem.live import script
from virtiomem.live.capture import Capture, dumps, loads
from virtiomem.live.collect import _kernel_log, collect, is_wanted, last_of_each
from virtiomem.live.sources import PARAMETERS, SOURCES
from virtiomem.recording.page_use import FLAGS_SIZE, BlockPages, UseOfPage
from virtiomem.units import GiB, MiB, TiB

IOMEM = """\
00000000-00000fff : Reserved
00100000-3fffffff : System RAM
  38000000-3bffffff : Crash kernel
40000000-13fffffff : virtio0
  40000000-407fffff : System RAM (virtio_mem)
140000000-17fffffff : PCI Bus 0000:00
"""
OTHERS = "hunter2"


@pytest.fixture
def linux(make_sysfs: Any, block: Any) -> Path:
    """The files of a Linux with one virtio-mem device, and a few private ones."""
    root: Path = make_sysfs([*(block(at) for at in range(8)), block(8, "offline", "1", "Movable Normal")])

    def put(path: str, text: str) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    put("proc/iomem", IOMEM)
    put(
        "proc/cmdline",
        f'root=UUID=1 crashkernel=256M memhp-default-state=online x="y mem={OTHERS}" virtio_mem.unplug_online=0\n',
    )
    put(
        "proc/zoneinfo",
        "Node 0, zone   Normal\n  pages free     1\n        spanned  9\n        present  8\n        managed  7\n      nr_free_pages 1\n",
    )
    put("proc/sys/kernel/osrelease", "6.1.0\n")
    put("proc/sys/kernel/hostname", f"{OTHERS}\n")
    put("sys/kernel/vmcoreinfo", "0x17bd54000 1024\n")
    put("sys/kernel/kexec_crash_loaded", "1\n")
    put("sys/module/virtio_mem/parameters/unplug_online", "Y\n")
    for cpu in (0, 1, 10):
        put(f"sys/devices/system/cpu/cpu{cpu}/crash_notes", f"17bc3960{cpu:x}\n")
        put(f"sys/devices/system/cpu/cpu{cpu}/crash_notes_size", "368\n")
    put("sys/devices/system/cpu/possible", "0-10\n")
    for name, number in (("virtio0", 24), ("virtio1", 2)):
        home = f"sys/devices/pci0000:00/0000:00:0{number % 8}.0"
        put(f"{home}/numa_node", "-1\n")
        put(f"{home}/{name}/device", f"{number:#06x}\n")
        (root / "sys/bus/virtio/devices").mkdir(parents=True, exist_ok=True)
        (root / "sys/bus/virtio/devices" / name).symlink_to(root / home / name)
    (root / "sys/bus/virtio/drivers/virtio_mem").mkdir(parents=True)
    for name, blocks in (("PNP0C80:00", (8,)), ("PNP0C80:01", ()), ("PNP0C0A:00", (7,))):
        put(f"sys/bus/acpi/devices/{name}/status", "15\n")
        for at in blocks:
            link = root / "sys/bus/acpi/devices" / name / f"physical_node{at or ''}"
            link.symlink_to(root / f"sys/devices/system/memory/memory{at}")
    for name, value in (("resource", "0x690000000"), ("size", "2147483648"), ("target_node", "1")):
        put(f"sys/bus/dax/devices/dax0.0/{name}", f"{value}\n")
    (root / "sys/bus/virtio/devices/virtio0/driver").symlink_to(root / "sys/bus/virtio/drivers/virtio_mem")
    return root


def kpageflags(root: Path, *units: list[int]) -> None:
    """Flags for the 2 MiB units from 0x40000000 on, each a list of one flag for all its pages or one a page."""
    flags = [0] * (0x40000000 // 4096)
    for unit in units:
        flags += unit * (512 if len(unit) == 1 else 1)
    (root / "proc/kpageflags").write_bytes(struct.pack(f"<{len(flags)}Q", *flags))


def test_everything_is_found_and_the_headings_are_the_manifest(linux: Path) -> None:
    capture = collect(linux, by="virtiomem 9")
    assert list(capture.sections) == [source.heading for source in SOURCES]
    assert capture.iomem == IOMEM
    assert capture.section("sys/devices/system/memory").lines == [
        *("block_size_bytes 8000000", "auto_online_blocks online_movable"),
        *("0-7 online 1 0 Movable", "8 offline 1 0 Movable/Normal"),
    ]
    assert capture.section("proc/zoneinfo").lines[1:] == [
        *("        spanned  9", "        present  8", "        managed  7"),
    ]
    assert capture.section("sys/bus/virtio/devices").lines == ["virtio0 driver=virtio_mem parent=0000:00:00.0 node=-1"]
    assert capture.section("sys/devices/system/cpu").lines[:3] == [
        *("possible 0-10", "cpu0/crash_notes 17bc39600", "cpu0/crash_notes_size 368"),
    ]
    assert capture.section("proc/kpageflags").remark == "not collected"
    assert loads(dumps(capture)).sections == capture.sections


def test_nothing_secret_is_taken(linux: Path) -> None:
    capture = collect(linux)
    assert OTHERS not in dumps(capture)
    assert capture.section("proc/cmdline").remark == "3 of 5 parameters"
    assert (
        capture.section("proc/cmdline").text
        == "crashkernel=256M memhp-default-state=online virtio_mem.unplug_online=0\n"
    )


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        *(("mem=1G", True), ('"mem=1G"', True), ("virtio-mem.force_bbm", True), ("memory_hotplug.x.y=1", True)),
        *(("nokaslr", True), ("member=1", False), ("virtio_mem", False), ("root=mem", False), ("", False)),
    ],
)
def test_a_parameter_is_known_by_its_whole_name(word: str, wanted: bool) -> None:
    assert is_wanted(word, PARAMETERS) is wanted


def test_the_last_of_messages_that_repeat_stays() -> None:
    assert last_of_each(["a: 1", "b: 1", "a: 2", "no value", "b: c: 3"]) == ["a: 2", "b: 1", "no value", "b: c: 3"]


def test_what_is_absent_or_denied_is_remarked(tmp_path: Path) -> None:
    (tmp_path / "proc/iomem").mkdir(parents=True)
    capture = collect(tmp_path, pages=True)
    assert capture.section("proc/iomem").remark == "Is a directory"
    assert capture.section("proc/cmdline").remark == "absent"
    assert "No such file" in capture.section("sys/devices/system/memory").remark
    with pytest.raises(BackendError, match="no such directory"):
        collect(tmp_path / "nowhere")


def test_pages_tell_what_is_plugged(linux: Path) -> None:
    balloon = [PageFlag.OFFLINE] * 511 + [0]
    kpageflags(linux, [0], [PageFlag.OFFLINE], balloon, [PageFlag.NOPAGE])
    assert collect(linux, pages=True).section("proc/kpageflags").lines[:4] == [
        "40000000-401fffff plugged",
        "40200000-403fffff unplugged",
        "40400000-405fffff plugged",
        "40600000-407fffff unknown",
    ]


def test_only_what_is_asked_for_is_read(linux: Path) -> None:
    assert list(collect(linux, only=("proc/iomem",)).sections) == ["proc/iomem"]


def test_pages_are_found_also_where_the_map_is_not_asked_for(linux: Path) -> None:
    kpageflags(linux, [0], [PageFlag.OFFLINE], [0], [0])
    collected = collect(linux, pages=True, only={"proc/kpageflags"}).sections
    assert list(collected) == ["proc/kpageflags"]
    assert collected["proc/kpageflags"] == collect(linux, pages=True).sections["proc/kpageflags"]
    (linux / "proc/iomem").unlink()
    assert collect(linux, pages=True, only={"proc/kpageflags"}).section("proc/kpageflags").remark == "absent"


OTHER_SHELLS = [["bash"], ["dash"], ["busybox", "sh"]]
SHELLS = [["sh"], *(pytest.param(shell, marks=pytest.mark.long) for shell in OTHER_SHELLS)]


def run_script(shell: list[str], root: Path, tmp_path: Path, *options: str, whole: bool = True) -> Capture:
    program = tmp_path / "capture.sh"
    program.write_text(script.text("9"))
    command = [*shell, str(program), "--sysroot", str(root), *options]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr == "") == ((0, True) if whole else (64, False))
    return loads(done.stdout)


def put_uses(root: Path, blocks: Iterable[int]) -> None:
    """Pages of every use, in runs of random lengths and alone, in memory blocks of 128M."""
    chance = Random(7)
    flags = [0, *PageFlag, PageFlag.ANON | PageFlag.MMAP, PageFlag.LRU | PageFlag.SWAPBACKED]
    flags += [
        PageFlag.ANON | PageFlag.TAIL,
        PageFlag.TAIL,
        PageFlag.HUGE | PageFlag.TAIL,
        PageFlag.ANON | PageFlag.MLOCKED,
    ]
    with (root / "proc/kpageflags").open("r+b") as file:
        for block in blocks:
            pages: list[int] = []
            while len(pages) < 32768:
                pages += [chance.choice(flags)] * chance.choice((1, 1, 2, 3, 512, 4000))
            file.seek(block * 32768 * 8)
            file.write(struct.pack("<32768Q", *pages[:32768]))


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_shell_program_captures_what_we_capture(shell: list[str], linux: Path, tmp_path: Path) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    kpageflags(linux, [0], [PageFlag.OFFLINE], [PageFlag.OFFLINE] * 511 + [0], [PageFlag.NOPAGE | PageFlag.OFFLINE])
    put_uses(linux, range(8))
    theirs, ours = run_script(shell, linux, tmp_path, "--pages"), collect(linux, pages=True)
    assert theirs.sections == ours.sections
    assert run_script(shell, linux, tmp_path).sections == collect(linux).sections


@pytest.mark.parametrize("shell", SHELLS[:1], ids=" ".join)
def test_pages_are_counted_from_the_highest_block_down_until_time_is_up(
    shell: list[str], linux: Path, tmp_path: Path
) -> None:
    kpageflags(linux)
    ours = collect(linux, pages=True, seconds=-1).section("proc/kpageflags")
    remark = "what is plugged, for those blocks there was time for; pages of the blocks above memory7"
    assert (ours.remark, ours.lines, ours.refused) == (remark, ["40000000-407fffff unknown"], True)
    theirs = run_script(shell, linux, tmp_path, "--pages", "--seconds", "-1", whole=False)
    assert theirs.section("proc/kpageflags") == ours


def test_terabyte_without_time_costs_no_more_than_a_look_at_one_block(
    linux: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """512 blocks of 2G, and 2 GiB of flags: what there is to read."""
    add_terabyte(linux)
    read: list[int] = []

    def pread(handle: int, size: int, at: int) -> bytes:
        read.append(size)
        return os_pread(handle, size, at)

    os_pread = os.pread
    monkeypatch.setattr(os, "pread", pread)
    section = collect(linux, pages=True, seconds=-1).section("proc/kpageflags")
    assert sum(read) <= 2 * GiB // 4096 * FLAGS_SIZE
    assert section.lines == ["10000000000-1ffffffffff unknown"]


def test_line_of_a_block_is_short_whatever_is_in_it() -> None:
    """A machine of 1 TiB in blocks of 128M is 8192 lines."""
    uses = BlockPages(8191, dict.fromkeys(UseOfPage, 128 * MiB // 4096), 64)
    assert len(f" {uses}\n") * 8192 < 2 * MiB


def add_terabyte(root: Path) -> None:
    """Another 1 TiB, all of it virtio-mem's; its flags are zeros."""
    memory = root / "sys/devices/system/memory"
    (memory / "block_size_bytes").write_text("80000000\n")
    for block in range(512, 1024):
        (memory / f"memory{block}").mkdir()
        (memory / f"memory{block}/state").write_text("online\n")
    (root / "proc/iomem").write_text("10000000000-1ffffffffff : System RAM (virtio_mem)\n")
    (root / "proc/kpageflags").touch()
    os.truncate(root / "proc/kpageflags", 2 * TiB // 4096 * FLAGS_SIZE)


def put_header(root: Path, table: list[ProgramHeader]) -> None:
    """A /proc/kcore whose memory has a crash header where the map has the crash kernel."""
    ram = ProgramHeader(1, 7, 0x3000, 0xFFFF888000100000, 0x100000, 1 << 30, 1 << 30)
    text = ProgramHeader(1, 7, 0x7000000000, 0xFFFFFFFF81000000, 0x1000000, 1 << 20, 1 << 20)
    nowhere = ProgramHeader(1, 7, 0x7000001000, 0xFFFFC90000000000, (1 << 64) - 1, 1 << 20, 1 << 20)
    with (root / "proc/kcore").open("wb") as file:
        file.write(elfcore.encode([ProgramHeader(4, 0, 0, 0, 0, 0, 0), text, nowhere, ram]))
        file.seek(0x3000 + 0x38000000 - 0x100000)
        file.write(elfcore.encode(table) if table else b"\0" * 4096)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("count", [0, 1, pytest.param(200, marks=pytest.mark.long)])
def test_crash_header_in_memory_is_captured_without_its_addresses(
    shell: list[str], count: int, linux: Path, tmp_path: Path
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    ranges = [((1 << 32) + (at << 20), (1 << 32) + (at << 20) + 0xFFFF) for at in range(count)]
    text = KernelText(0xFFFFFFFF81000000, 0x1000000, 0x2000000)
    put_header(linux, segments(ranges, Inputs(notes=[Note(0x1000, 368)], text=text)) if count else [])
    ours = collect(linux)
    assert ours.section("proc/kcore").lines == [f"{start:08x}-{end:08x}" for start, end in ranges]
    assert ours.section("proc/kcore").remark == ("" if count else "no crash header")
    assert run_script(shell, linux, tmp_path).sections == ours.sections
    (linux / "sys/kernel/kexec_crash_loaded").write_text("0\n")
    assert collect(linux).section("proc/kcore").remark == "no crash header"
    assert run_script(shell, linux, tmp_path).sections == collect(linux).sections


def test_this_kernels_page_size_is_taken_and_that_of_a_copy_is_not_known(linux: Path, tmp_path: Path) -> None:
    assert collect("/", only=()).said_page_size == os.sysconf("SC_PAGE_SIZE")
    assert collect(linux, only=()).said_page_size is None
    assert run_script(["sh"], linux, tmp_path).said_page_size is None


@pytest.mark.parametrize("getconf", ["exec /usr/bin/getconf PAGESIZE", "exit 127"], ids=["getconf", "busybox"])
def test_shell_program_takes_the_page_size_with_getconf_and_without(getconf: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin/getconf"
    tool.write_text(f"#!/bin/sh\n{getconf}\n")
    tool.chmod(0o755)
    run = subprocess.run(
        ["sh"],
        input=script.text("9"),
        env=os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert loads(run.stdout).said_page_size == os.sysconf("SC_PAGE_SIZE")


def test_shell_program_remarks_what_is_absent(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    capture = run_script(["sh"], tmp_path / "empty", tmp_path, "--pages", whole=False)
    assert {section.remark for section in capture.sections.values()} == {"absent"}


@pytest.fixture
def traps(linux: Path) -> Path:
    """The files of a Linux, some of which are pipes without a writer, loops, and devices without an end."""
    for name in ("proc/cmdline", "sys/devices/system/memory/memory0/state", "sys/kernel/vmcoreinfo"):
        (linux / name).unlink(missing_ok=True)
        os.mkfifo(linux / name)
    for name in ("proc/zoneinfo", "proc/kpageflags"):
        (linux / name).unlink(missing_ok=True)
        (linux / name).symlink_to("/dev/zero")
    devices = linux / "sys/bus/virtio/devices"
    (devices / "virtio8").symlink_to("virtio9")
    (devices / "virtio9").symlink_to("virtio8")
    (linux / "sys/devices/system/cpu/cpu1x").mkdir(parents=True)
    (linux / f"sys/devices/system/memory/memory{'9' * 200}").mkdir()
    return linux


def test_pipes_loops_and_endless_files_in_a_tree_are_remarked(traps: Path) -> None:
    found = collect(traps, pages=True)
    assert found.section("proc/cmdline").remark == found.section("proc/zoneinfo").remark == "not a file"
    assert found.section("proc/kpageflags").remark == "not a file"
    assert "0 unknown 1 0 Movable" in found.section("sys/devices/system/memory").lines
    assert found.iomem == IOMEM
    assert loads(dumps(found)).sections == found.sections


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero"])
def test_kernel_log_that_is_another_device_has_an_end(device: str) -> None:
    assert not any(_kernel_log(Path(device)))


def test_file_that_is_too_long_is_remarked(linux: Path) -> None:
    with (linux / "proc/iomem").open("r+b") as file:
        file.truncate(1 << 40)
    assert collect(linux).section("proc/iomem").remark == "longer than 64M"


def test_pages_behind_the_last_there_is_are_unknown(linux: Path) -> None:
    (linux / "proc/iomem").write_text("00000000-ffffffffff : System RAM (virtio_mem)\n")
    (linux / "proc/kpageflags").write_bytes(struct.pack("512Q", *[0] * 512))
    lines = collect(linux, pages=True).section("proc/kpageflags").lines
    assert lines == ["00000000-001fffff plugged", "00200000-ffffffffff unknown"]
    (linux / "proc/iomem").write_text("00000000-ffffffffffffffff : System RAM (virtio_mem)\n")
    assert collect(linux, pages=True).section("proc/kpageflags").remark == "more than 64T of virtio-mem"


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_shell_program_does_not_end_well_where_something_is_hidden(
    shell: list[str], linux: Path, tmp_path: Path
) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    (linux / "proc/cmdline").unlink()
    (linux / "proc/cmdline").mkdir()  # there, and not to be read, by root neither
    denied = run_script(shell, linux, tmp_path, whole=False)
    assert denied.section("proc/cmdline").refused
    (linux / "proc/cmdline").rmdir()
    run_script(shell, linux, tmp_path)
    (linux / "proc/iomem").write_text("00000000-00000000 : System RAM (face)\n")
    run_script(shell, linux, tmp_path, whole=False)


def test_crash_notes_that_are_denied_are_not_said_to_be_absent(linux: Path) -> None:
    for notes in linux.glob("sys/devices/system/cpu/cpu*/crash_notes"):
        notes.unlink()
        notes.mkdir()
    section = collect(linux).section("sys/devices/system/cpu")
    assert (section.remark, section.refused) == ("crash notes denied", True)
