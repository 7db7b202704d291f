import re
from pathlib import Path

import pytest

from virtiomem import scenario
from virtiomem.errors import ArgumentError, ScenarioError
from virtiomem.guest.machine import MachineLayout
from virtiomem.units import GiB, KiB, MiB

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*/boot.iomem"))
NEWER = sorted((Path(__file__).parents[1] / "data").glob("recordings-[67].*/*/boot.iomem"))
CRASH_KERNEL = re.compile("^.*: Crash kernel\n", re.MULTILINE)
LAYOUTS = Path(__file__).parents[1] / "data" / "layout"
ODD = sorted(LAYOUTS.glob("*.iomem"))
QEMU_10 = sorted(LAYOUTS.glob("qemu-10.0/*.iomem"))
TWO_DEVICES = '[[device]]\nid = "vm0"\nmax-size = "1G"\n[[device]]\nid = "vm1"\nmax-size = "1G"\n'


@pytest.mark.parametrize("listing", [*RECORDINGS, *NEWER], ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_built_in_layout_is_what_the_kernel_printed(listing: Path) -> None:
    played = scenario.load(listing.with_name("scenario.toml"))
    made = scenario.boot_listing(
        MachineLayout.of(played.guest, played.devices),
        len(played.devices),
        played.guest.release,
        crashkernel=played.guest.crashkernel or 0,
    )
    assert CRASH_KERNEL.sub("", made) == CRASH_KERNEL.sub("", listing.read_text())
    if played.guest.crashkernel and played.guest.kernel == "6.12":  # 6.1's initramfs lies where it would be
        assert made == listing.read_text()


def test_crash_kernel_that_leaves_no_room_for_the_kernel_is_refused() -> None:
    machine = MachineLayout("q35", 256 * MiB, 4 * GiB, 0)
    assert "  07000000-0effffff : Crash kernel\n" in scenario.boot_listing(machine, 1, crashkernel=128 * MiB)
    with pytest.raises(ArgumentError, match="192M for a crash kernel leaves no room for the kernel itself"):
        scenario.boot_listing(machine, 1, crashkernel=192 * MiB)
    with pytest.raises(ScenarioError, match=r"guest.crashkernel: 192M for a crash kernel"):
        scenario.loads('[guest]\nmemory = "256M"\ncrashkernel = "192M"\n')


@pytest.mark.parametrize("listing", ODD, ids=lambda path: path.stem)
def test_built_in_layout_of_an_odd_machine_is_what_the_kernel_printed(listing: Path) -> None:
    kind, memory = listing.stem.split("-")
    played = scenario.loads(f'[guest]\nkernel = "6.1"\nmachine = "{kind}"\nmemory = "{memory}"\n{TWO_DEVICES}')
    assert played.boot_iomem == listing.read_text()


@pytest.mark.parametrize("listing", QEMU_10, ids=lambda path: path.stem)
def test_built_in_layout_in_qemu_10_is_what_the_kernel_printed(listing: Path) -> None:
    kind, memory = listing.stem.split("-")
    guest = f'[guest]\nkernel = "6.12"\nqemu = "10.0"\nmachine = "{kind}"\nmemory = "{memory}"\nmax-memory = "20G"\n'
    assert scenario.loads(f"{guest}{TWO_DEVICES}").boot_iomem == listing.read_text()


# what `info pci` said about QEMU 10.0.13 and 11.1.3, and where the 64-bit window started
@pytest.mark.parametrize(
    ("memory", "limit", "devices", "window", "bars"),
    [
        ("2G", "20G", 2, 0x580000000, ["febf4000", "febf8000", "febfd000", "febfe000"]),
        ("4097M", "820G", 2, 0xC000000000, ["febfd000", "febfe000", "c000000000", "c000004000"]),
        ("4097M", "760G", 1, 0xC000000000, ["febfe000", "c000000000"]),
        ("4097M", "20G", 0, 0x5C0000000, []),
    ],
)
@pytest.mark.parametrize("qemu", ["10.0", "11.1"])
def test_firmware_of_a_newer_qemu_puts_bars_high_where_memory_is(
    qemu: str, memory: str, limit: str, devices: int, window: int, bars: list[str]
) -> None:
    words = "".join(f'[[device]]\nid = "vm{number}"\nmax-size = "1G"\n' for number in range(devices))
    made = scenario.loads(f'[guest]\nqemu = "{qemu}"\nmemory = "{memory}"\nmax-memory = "{limit}"\n{words}').boot_iomem
    assert re.findall(r"^  (\w+)-\w+ : 0000:00:0", made, re.MULTILINE) == bars
    assert f"{window:x}-{window + 32 * GiB - 1:x} : PCI Bus 0000:00\n" in made


def test_ram_that_ends_inside_64m_has_a_buffer_behind_it() -> None:
    listing = scenario.boot_listing(MachineLayout("q35", 4 * GiB + MiB, 20 * GiB, 0), 1)
    assert "180100000-183ffffff : RAM buffer\n" in listing
    assert "RAM buffer" not in scenario.boot_listing(MachineLayout("q35", 4224 * MiB, 20 * GiB, 0), 1)


@pytest.mark.parametrize("memory", [64 * MiB, 3 * GiB, 64 * GiB, 4096 * GiB])
@pytest.mark.parametrize("kind", ["q35", "pc"])
def test_lines_are_in_order_and_never_overlap(kind: str, memory: int) -> None:
    made = MachineLayout("q35" if kind == "q35" else "pc", memory, memory + 16384 * GiB, 0)
    top = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) : ", scenario.boot_listing(made, 3), re.MULTILINE)
    bounds = [int(bound, 16) for line in top for bound in line]
    assert bounds == sorted(bounds)
    assert len(set(bounds)) == len(bounds)


RECORDINGS_ARM64 = sorted((Path(__file__).parents[1] / "data" / "recordings-arm64").glob("*/boot.iomem"))


@pytest.mark.parametrize("listing", RECORDINGS_ARM64, ids=lambda path: path.parts[-2])
def test_built_in_layout_of_a_virt_is_what_the_kernel_printed_except_what_it_reserves(listing: Path) -> None:
    played = scenario.load(listing.with_name("scenario.toml"))
    made = scenario.boot_listing(
        MachineLayout.of(played.guest, played.devices),
        len(played.devices),
        played.guest.release,
        crashkernel=played.guest.crashkernel or 0,
        guest=played.guest,
    )
    told = listing.read_text()
    if played.guest.has_acpi:  # firmware keeps pieces of RAM, and puts the kernel somewhere else
        assert re.sub(r"(?m)^(?:  )?0?[0-9a-f]{8,9}-.*(?:RAM|Kernel.*|reserved)\n", "", told) == re.sub(
            r"(?m)^(?:  )?[0-9a-f]{8,9}-.*(?:RAM|Kernel.*|reserved)\n", "", made
        )
        return
    moved = "reserved" if played.guest.architecture.page_size == 4 * KiB else "reserved|Crash kernel"
    assert set(made.splitlines()) - set(told.splitlines()) <= _reserved_at_the_top(made, moved)
    assert re.sub(rf"(?m)^  .* : (?:{moved})\n", "", told) == re.sub(rf"(?m)^  .* : (?:{moved})\n", "", made)


def _reserved_at_the_top(listing: str, names: str) -> set[str]:
    """What CMA and bounce buffers take; Linux puts them a little lower where RAM ends below 4G, or with larger pages.

    A crash kernel, then the bounce buffers, lie below the CMA, so with larger pages they are lower, too.
    """
    found = [line for line in listing.splitlines() if re.fullmatch(rf"  .* : (?:{names})", line)]
    return set(found[-1:] if names == "reserved" else found[-3:])


def test_crash_kernel_of_a_virt_lies_below_the_contiguous_memory_allocator() -> None:
    played = scenario.loads('[guest]\nmachine = "virt"\ncrashkernel = "256M"\n')
    assert "  ec000000-fbffffff : Crash kernel\n" in played.boot_iomem
    assert "  fc000000-ffffffff : reserved\n" in played.boot_iomem
