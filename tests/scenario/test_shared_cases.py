"""Cases that people would bring, which lie next to the project: answered as the line next to each says."""

from pathlib import Path

import pytest

from virtiomem import scenario

CASES = Path(__file__).parents[3] / "shared" / "cases"


def held_up(name: str) -> list[str]:
    """What the steps of a case are short of, or refused with, at last."""
    if not (path := CASES / f"{name}.toml").exists():
        pytest.skip(f"NOT HERE: {path}")
    played = scenario.load(path)
    steps = scenario.play(played, scenario.embedded_guest(played)).steps
    return [record.error or " ".join(record.held_up or []) for record in steps]


def test_growth_that_cannot_be_paid_for_names_the_struct_pages() -> None:
    assert "out of memory for struct pages (needs 2M, node 0 has" in held_up("memmap-does-not-fit")[-1]


def test_memory_where_no_block_starts_says_so() -> None:
    dimm, hyperv, kmem = held_up("dimm-where-no-block-starts")
    assert dimm == "dimm1: 0x100200000 is not a multiple of the memory block, 128M"
    assert "0x140100000 is not a multiple of the memory block, 128M" in hyperv
    assert "0x180100000 is not a multiple of the memory block, 128M" in kmem


def test_a_dimm_that_is_not_given_up_names_block_zone_pages_and_owner() -> None:
    if not (path := CASES / "dimm-held-by-kernel-pages.toml").exists():
        pytest.skip(f"NOT HERE: {path}")
    played = scenario.load(path)
    steps = scenario.play(played, scenario.embedded_guest(played)).steps
    unplug, offline = (list(record.held_up or []) for record in steps[-2:])
    assert unplug[0] == "dimm1: memory33 (Normal): 1024 unmovable pages of 'slab'"
    assert len(unplug) == len(offline) == 5
    assert offline[-1] == "memory39 (Normal): 1536 unmovable pages of 'slab'"
