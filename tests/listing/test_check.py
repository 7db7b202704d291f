"""What a map costs its readers."""

import pytest

from virtiomem.architecture import ARM64, X86_64, Architecture
from virtiomem.kdump.ranges import KEXEC_TOOLS_RANGES
from virtiomem.listing.check import KEXEC_TOOLS_RANGES_ARM, Consumer, MapReport, check, table, values
from virtiomem.listing.ram import system_ram, totals
from virtiomem.resource import iomem
from virtiomem.units import MiB

HEAD = "00001000-0009fbff : System RAM\n00100000-7ffdffff : System RAM\n  2a000000-39ffffff : Crash kernel\n"
BLOCK = 128 * MiB
ROOM = 8192


def blocks(count: int, *, merged: bool = False, step: int = 1) -> str:
    base = 0x100_0000_0000
    spans = [(0, count)] if merged else [(i * step, 1) for i in range(count)]
    lines = [f"{base:08x}-{base + count * step * BLOCK - 1:08x} : virtio0\n"]
    for first, length in spans:
        start = base + first * BLOCK
        lines.append(f"  {start:08x}-{start + length * BLOCK - 1:08x} : System RAM (virtio_mem)\n")
    return "".join(lines)


def report(text: str, row: Architecture = X86_64, table_size: int = KEXEC_TOOLS_RANGES) -> MapReport:
    return check(iomem.loads(HEAD + text), BLOCK, row, table=table_size, room=ROOM)


def consumer(found: MapReport, name: str) -> Consumer:
    return next(one for one in found.consumers if one.name == name)


def test_a_merged_map_has_nothing_wrong_and_says_what_merging_saves() -> None:
    found = report(blocks(16, merged=True))
    assert found.findings == []
    kernel = consumer(found, "kernel crash header")
    assert (kernel.sees, kernel.unmerged, kernel.limit) == (3, 18, 8192)
    assert kernel.headroom(BLOCK) == (8192 - 3) * BLOCK


def test_touching_blocks_of_a_device_are_a_finding() -> None:
    (finding,) = report(blocks(16)).findings
    assert "virtio0 shows touching blocks" in finding
    assert "15 ranges too many" in finding


def test_blocks_with_gaps_are_as_the_kernel_has_them() -> None:
    assert report(blocks(16, step=2)).findings == []


@pytest.mark.parametrize(
    ("count", "row", "table_size", "words"),
    [
        (9000, X86_64, KEXEC_TOOLS_RANGES, ["has room for 8192"]),
        pytest.param(
            40000, X86_64, KEXEC_TOOLS_RANGES, ["has room for 8192", "kexec -p refuses"], marks=pytest.mark.long
        ),
        (40, X86_64, KEXEC_TOOLS_RANGES_ARM, ["kexec -p refuses"]),
        pytest.param(
            *(70000, ARM64, KEXEC_TOOLS_RANGES, ["its header would say", "is NOT in a dump"]),
            marks=pytest.mark.long,
        ),
        pytest.param(
            *(70000, X86_64, KEXEC_TOOLS_RANGES, ["has room for 8192", "its header would say", "kexec -p refuses"]),
            marks=pytest.mark.long,
        ),
    ],
)
def test_more_ranges_than_a_consumer_has_room_for_are_findings(
    count: int, row: Architecture, table_size: int, words: list[str]
) -> None:
    found = report(blocks(count, step=2), row, table_size)
    findings = found.findings
    assert all(any(word in finding for finding in findings) for word in words)
    assert len(findings) == len(words)
    assert consumer(found, "kexec-tools, crash").headroom(BLOCK) in (None, 0, (32768 - 9003) * BLOCK)


def test_too_much_plain_ram_for_an_ordinary_kexec_is_a_finding() -> None:
    text = "".join(f"{i << 28:08x}-{(i << 28) + BLOCK - 1:08x} : System RAM\n" for i in range(256, 256 + 2100))
    assert [finding.split(" for ")[0] for finding in report(text).findings] == ["2102 ranges"]


def test_the_report_is_a_table_and_json() -> None:
    found = report(blocks(16, merged=True))
    lines = table(found).splitlines()
    assert lines[1].split()[:7] == ["kernel", "crash", "header", "3", "18", "8192", "1023.6G"]
    assert lines[1].endswith("since 6.6, in Debian's build")
    assert values(found)["consumers"][0]["headroom"] == (8192 - 3) * BLOCK


def test_ram_is_counted_once_by_where_it_comes_from() -> None:
    text = (
        "00100000-7ffdffff : System RAM\n  03000000-0c8fffff : System RAM\n"
        "100000000-17fffffff : virtio0\n  100000000-107ffffff : System RAM\n"
        "200000000-2ffffffff : dax0.0\n  200000000-2ffffffff : System RAM (kmem)\n"
    )
    kinds = totals(list(system_ram(iomem.loads(text))))
    assert kinds == {"boot or DIMM": (1, 0x7FEE0000), "kmem": (1, 4096 * MiB), "virtio_mem": (1, BLOCK)}
