"""What is said about a guest with no machine to ask; the reports' cases are read in place."""

import json
from pathlib import Path
from typing import Any

import pytest

from virtiomem.cli.main import main
from virtiomem.live.capture import Capture, Section, dump

CASES = Path(__file__).parents[3] / "shared" / "cases"

MEMORY = """\
auto_online_blocks online
block_size_bytes 8000000
0 online 1 0 None
1-7 online 1 0 DMA32
32-33 online 1 0 Normal
"""
IOMEM = """\
00001000-3fffffff : System RAM
100000000-13fffffff : {owner}
  100000000-10fffffff : System RAM ({driver})
"""
PAGES = """\
100000000-10fffffff plugged
memory32 free=30000 cache=2000 slab=768 held=3
memory33 free=32768
"""
LOG = """\
virtio_mem virtio0: start address: 0x100000000
virtio_mem virtio0: region size: 0x40000000
virtio_mem virtio0: device block size: 0x200000
virtio_mem virtio0: requested size: 0x0
"""


def case(name: str) -> str:
    if not (CASES / name).exists():
        pytest.skip(f"NOT HERE: {name}")
    return str(CASES / name)


def findings(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, Any]]:
    assert main([*argv, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["findings"]
    return found


def reasons(found: list[dict[str, Any]]) -> set[str]:
    return {one["reason"] for one in found if one["certainty"] != "advice"}


PAGETYPEINFO = """\
Page block order: 9
Pages per block:  512

Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic          CMA
Node 0, zone    DMA32           200          300            0            0            0
Node 0, zone   Normal            20          100           10            2            0
"""


def capture(tmp_path: Path, *, owner: str, driver: str, log: str = "", pages: str = PAGES) -> str:
    sections = {
        "proc/iomem": Section(IOMEM.format(owner=owner, driver=driver)),
        "sys/devices/system/memory": Section(MEMORY),
        "dev/kmsg": Section(log),
        "proc/kpageflags": Section(pages),
        "proc/pagetypeinfo": Section(PAGETYPEINFO),
        "proc/vmstat": Section("nr_foll_pin_acquired 12\nnr_foll_pin_released 2\n"),
    }
    dump(Capture(sections), tmp_path / "guest.capture")
    return str(tmp_path / "guest.capture")


@pytest.mark.parametrize("verb", [["explain"], ["blocks", "--explain"], ["vm", "explain", "--capture"]], ids=" ".join)
def test_stuck_guest_is_explained_with_no_machine_to_ask(
    verb: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = findings(capsys, *verb, case("stuck-seen-from-inside.capture"))
    texts = [one["text"] for one in found]
    assert texts[0] == "3G asked for, ? plugged by the device, 1G added by the driver, 0 online"
    assert {"blocks-offline", "too-much-offline", "new-blocks-offline"} <= reasons(found)
    assert "boot the guest with memhp_default_state=online_movable" in texts


def test_lsmems_output_says_what_is_offline_and_how_to_online_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", case("cxl-offline.lsmem")]) == 0
    said = capsys.readouterr().out
    assert "16 memory blocks (2G: 210-225) are in Linux but offline" in said
    assert "chmem -e -b 210-225" in said


def test_pages_of_a_device_that_should_shrink_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, "explain", capture(tmp_path, owner="virtio0", driver="virtio_mem", log=LOG))
    assert {"held-by-slab", "moves-cache", "kernel-zones", "pins-unseen"} <= reasons(found)
    texts = [one["text"] for one in found]
    assert (
        "memory32 (Normal): 3M of slab cannot move, in 3 of its 64 pieces of 2M; 7.8M of page cache can move; 117.2M free"
        in texts
    )
    assert any("drop_caches" in text for text in texts)


def test_where_not_all_pages_were_seen_the_zones_pageblocks_bound_what_is_held(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = findings(capsys, "explain", capture(tmp_path, owner="virtio0", driver="virtio_mem", log=LOG))
    part = PAGES.replace("memory33", "#")
    found = findings(capsys, "explain", capture(tmp_path, owner="virtio0", driver="virtio_mem", log=LOG, pages=part))
    assert "pageblocks" not in reasons(whole)
    (bound,) = [one for one in found if one["reason"] == "pageblocks"]
    assert bound["text"].startswith(
        "of 264M in zone Normal, 64M are pageblocks that the kernel uses for what cannot move"
    )


def test_pages_of_a_dax_device_are_named_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, "explain", capture(tmp_path, owner="dax0.0", driver="kmem"))
    assert found[0]["text"] == "256M added, 256M online, 256M in Normal"
    assert {one["device"] for one in found if one["reason"] == "held-by-slab"} == {"dax0.0"}


def test_capture_without_pages_says_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, "explain", capture(tmp_path, owner="virtio0", driver="virtio_mem", log=LOG, pages=""))
    assert "pages-not-read" in reasons(found)
    assert any("virtiomem capture --pages" in one["text"] for one in found)


def test_machine_without_hotplugged_memory_says_so(
    capsys: pytest.CaptureFixture[str], make_sysfs: Any, block: Any
) -> None:
    root = make_sysfs([block(at) for at in range(8)])
    assert main(["explain", "-s", str(root)]) == 0
    assert capsys.readouterr().out == (
        "fact    no hotplugged memory is known to be here, and no memory block is offline\n"
    )


def test_dimm_that_lies_where_no_block_starts_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sections = {
        "sys/devices/system/memory": Section(MEMORY),
        "sys/bus/acpi/devices": Section("PNP0C80:00 status=15 blocks=32,33\nPNP0C80:01 status=15 blocks=-\n"),
        "sys/bus/dax/devices": Section("dax0.0 driver=device_dax resource=0x200000000 size=1073741824 target_node=1\n"),
        "dev/kmsg": Section("Block size [0x8000000] unaligned hotplug range: start 0x100200000, size 0x40000000\n"),
    }
    dump(Capture(sections), tmp_path / "guest.capture")
    found = findings(capsys, "explain", str(tmp_path / "guest.capture"))
    texts = {one["device"]: one["text"] for one in found if one["certainty"] == "fact"}
    assert texts == {
        "PNP0C80:00": "256M added, 256M online, 256M in Normal",
        "PNP0C80:01": "ACPI has the memory device, enabled, and Linux has no memory block of it",
        "dax0.0": "1G of a DAX device whose driver is device_dax: not memory of Linux yet",
        None: "0x100200000 is not a multiple of the memory block, 128M",
    }
    assert "daxctl reconfigure-device --mode=system-ram dax0.0" in {one["text"] for one in found}


@pytest.mark.parametrize("blocks", ["32,,33", ",", "9" * 5000])
def test_dimm_whose_blocks_are_no_numbers_is_passed_over(
    blocks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = {
        "sys/devices/system/memory": Section(MEMORY),
        "sys/bus/acpi/devices": Section(f"PNP0C80:00 status=15 blocks={blocks}\n"),
    }
    dump(Capture(sections), tmp_path / "guest.capture")
    assert "PNP0C80:00" not in {one["device"] for one in findings(capsys, "explain", str(tmp_path / "guest.capture"))}
