"""On arm64 the kernel dumps what memblock has, and kexec-tools does not dump what a driver added."""

from pathlib import Path

import pytest
from msgspec import structs

from virtiomem import recording
from virtiomem.architecture import ARM64, ARM64_16K, ARM64_64K, X86_64
from virtiomem.cli.main import main
from virtiomem.kdump import elfcore, range_text
from virtiomem.kdump.elfcore import Inputs
from virtiomem.kdump.ranges import kernel_ranges, kexec_tools_ranges
from virtiomem.listing.guess import unlike_x86
from virtiomem.live.capture import Capture, Section, dump
from virtiomem.live.load import from_recording
from virtiomem.live.views import architecture_of
from virtiomem.resource import iomem

DATA = Path(__file__).parents[1] / "data" / "recordings-arm64"
CASE = Path(__file__).parents[3] / "shared" / "cases" / "arm64.capture"
BOOT = """\
40000000-13fffffff : System RAM
  40210000-4158ffff : Kernel code
  ec000000-fbffffff : Crash kernel
  fc000000-ffffffff : reserved
"""
PLUGGED = """\
140000000-33fffffff : virtio0
  140000000-147ffffff : System RAM (virtio_mem)
  148000000-14fffffff : System RAM (virtio_mem)
  158000000-15fffffff : System RAM (virtio_mem)
"""
BOTH_SIDES = [(0x40000000, 0xEBFFFFFF), (0xFC000000, 0x13FFFFFFF)]


def test_kexec_tools_dumps_with_memory_plugged_what_it_dumps_without() -> None:
    bare, plugged = (kexec_tools_ranges(iomem.loads(text), architecture=ARM64) for text in (BOOT, BOOT + PLUGGED))
    assert bare.ranges == plugged.ranges == BOTH_SIDES
    assert (bare.backup, bare.limit, plugged.unread[0]) == (None, None, (0x140000000, 0x147FFFFFF))
    assert (
        "384M of RAM that drivers added is NOT in a dump that kexec-tools prepares" in range_text.findings(plugged)[0]
    )
    assert not range_text.findings(bare)
    plugged.check()


def test_kernel_joins_neighbours_that_a_driver_added_and_leaves_out_the_crash_kernel_alone() -> None:
    found = kernel_ranges(iomem.loads(BOOT + PLUGGED), architecture=ARM64)
    assert found.ranges == [*BOTH_SIDES, (0x140000000, 0x14FFFFFFF), (0x158000000, 0x15FFFFFFF)]
    assert (found.excluded, found.limit) == ([(0xEC000000, 0xFBFFFFFF)], None)
    found.check()


def test_first_mib_is_left_out_on_x86_only() -> None:
    tree = iomem.loads("00010000-29ecffff : System RAM\n  20000000-27ffffff : Crash kernel\n")
    assert kernel_ranges(tree, architecture=ARM64_64K).ranges[0] == (0x10000, 0x1FFFFFFF)
    assert kernel_ranges(tree, architecture=X86_64).ranges[0] == (0x100000, 0x1FFFFFFF)


@pytest.mark.parametrize("name", ["a-movable", "nomerge-a-movable"])
def test_merging_makes_no_difference_to_the_kernels_ranges(name: str) -> None:
    snapshot = recording.load(DATA / name / "recording.json").steps[0].snapshot
    found = kernel_ranges(iomem.loads(snapshot.iomem), architecture=ARM64)
    assert found.ranges[-1] == (0x140000000, 0x1BFFFFFFF)


def test_header_says_its_machine_and_maps_memory_from_its_start(tmp_path: Path) -> None:
    found = kernel_ranges(iomem.loads(BOOT), architecture=ARM64)
    inputs = Inputs(machine=ARM64.elf_machine, direct_map=ARM64.map_base(0x40000000))
    core = tmp_path / "header"
    core.write_bytes(elfcore.header(found, inputs))
    assert elfcore.architecture_of(core) is ARM64
    assert elfcore.load(core)[0].vaddr == 0xFFFF000000000000


def test_listing_alone_is_guessed_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing = tmp_path / "iomem"
    listing.write_text(BOOT + PLUGGED)
    assert main(["kdump", str(listing)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[0] == "0000000040000000-00000000ebffffff"
    assert "taken for arm64 by the names in its map (--arch)" in err
    assert "384M of RAM that drivers added is NOT in a dump" in err
    main(["iomem", "check", str(listing)])
    assert "taken for arm64 by the names in its map (--arch)" in capsys.readouterr().err
    for command in (["kdump"], ["iomem", "check"]):
        main([*command, "--arch", "arm64", str(listing)])
        assert "taken for" not in capsys.readouterr().err


def test_recording_says_who_made_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    file = str(DATA / "r-crash-kernel" / "recording.json")
    assert main(["kdump", file]) == 1
    assert "kexec-tools: 2 ranges, 3.8G" in capsys.readouterr().out
    main(["kdump", file, "--as", "kernel"])
    assert "kernel: 3 ranges, 4G" in capsys.readouterr().out


def test_recording_says_its_architecture_and_its_pages(capsys: pytest.CaptureFixture[str]) -> None:
    file = DATA / "p-16k-crash-kernel" / "recording.json"
    assert architecture_of(from_recording(recording.load(file))) is ARM64_16K
    main(["kdump", str(file)])
    assert "taken for" not in capsys.readouterr().err


@pytest.mark.skipif(not CASE.exists(), reason="the captured machine is not here")
def test_captured_arm64_is_dumped_from_its_first_page_on(capsys: pytest.CaptureFixture[str]) -> None:
    main(["kdump", str(CASE)])
    out, err = capsys.readouterr()
    assert "0000000000010000-000000001fffffff" in out
    assert "0x0-0xfffff" not in out
    assert "taken for arm64" not in err
    main(["iomem", "check", str(CASE)])
    assert "8192" not in capsys.readouterr().out


def test_recording_of_an_architecture_without_a_row_is_taken_for_none() -> None:
    made = recording.load(DATA / "r-crash-kernel" / "recording.json")
    other = structs.replace(made, guest={**made.guest, "architecture": "riscv64"})
    assert architecture_of(from_recording(other)) is None


@pytest.mark.parametrize(
    ("listing", "why"),
    [
        ("00000000-2dfefffff : System RAM\n", "System RAM 00000000-2dfefffff has no hole at a0000-fffff"),
        ("20000000-9fffffff : System RAM\n  20008000-207fffff : Kernel code\n", "System RAM begins at 20000000"),
        ("100d0100-100d01ff : LOON0001:00\n90400000-fa17ffff : System RAM\n", "'LOON0001:00' is a device of loongarch"),
        ("00100000-0010ffff : /soc/dma@7e007000\n", "'/soc/dma@7e007000' is a name of a device tree"),
    ],
    ids=["s390x", "arm", "loongarch", "device tree"],
)
def test_map_of_another_architecture_is_not_taken_for_x86_without_a_word(
    listing: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "iomem"
    file.write_text(listing)
    for command in (["kdump"], ["iomem", "check"]):
        main([*command, str(file)])
        assert f"not a map of x86-64: {why}. Only x86-64 and arm64 are known" in capsys.readouterr().err
    main(["kdump", "--arch", "arm64", str(file)])
    assert "not a map of" not in capsys.readouterr().err


def test_maps_of_x86_and_parts_of_them_are_taken_for_what_they_are() -> None:
    pc = "00000000-0009fbff : System RAM\n00100000-7fffffff : System RAM\n  01000000-01ffffff : Kernel code\n"
    part = "100000000-13fffffff : System RAM\n140000000-1bfffffff : virtio0\n"
    assert [unlike_x86(iomem.loads(text)) for text in (pc, part, "")] == ["", "", ""]


def test_capture_of_an_architecture_without_a_row_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = {"proc/iomem": Section(BOOT), "proc/sys/kernel": Section.of(["arch s390x"])}
    dump(Capture(sections), tmp_path / "guest.capture")
    main(["kdump", str(tmp_path / "guest.capture")])
    assert "not a map of x86-64: its architecture is s390x" in capsys.readouterr().err
