"""Listings from real machines, read in place: they are other people's, and are not copied into this repository."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from virtiomem.errors import ListingError, MaskedListingError
from virtiomem.listing import repair
from virtiomem.listing.ram import system_ram
from virtiomem.resource import iomem

SHARED = Path(os.environ.get("VIRTIOMEM_SHARED", Path(__file__).parents[3] / "shared")) / "iomem"
ENTRIES: list[dict[str, Any]] = []
if (SHARED / "index.json").exists():
    ENTRIES = [entry for entry in json.loads((SHARED / "index.json").read_text())["listings"] if "strict" in entry]
SOUND = [entry["file"] for entry in ENTRIES if entry["strict"]]
MASKED = [entry["file"] for entry in ENTRIES if entry["masked"]]
DAMAGED = {entry["file"]: entry["damage"] for entry in ENTRIES if not entry["strict"] and not entry["masked"]}

if not ENTRIES:
    pytest.skip(f"no listings in {SHARED}", allow_module_level=True)


def _damaged_lines(file: str) -> list[int]:
    return sorted({int(damage.partition(":")[0]) for damage in DAMAGED[file]})


@pytest.mark.parametrize("file", SOUND)
def test_a_sound_listing_comes_back_byte_for_byte(file: str) -> None:
    text = (SHARED / file).read_bytes()
    tree = iomem.loads(text)
    tree.check()
    assert iomem.dumps(tree).encode("utf-8", "surrogateescape") == text


@pytest.mark.parametrize("file", SOUND)
def test_a_sound_listing_needs_no_repair(file: str) -> None:
    reading = repair.loads((SHARED / file).read_bytes())
    assert (reading.repairs, reading.masked) == ([], False)


@pytest.mark.parametrize("file", SOUND)
def test_ranges_alone_give_a_sound_listing_its_nesting(file: str) -> None:
    text = (SHARED / file).read_text("utf-8", "surrogateescape")
    flat = "".join(f"{line.lstrip(' ')}\n" for line in text.splitlines())
    reading = repair.loads(flat)
    assert iomem.dumps(reading.tree) == text
    assert len(reading.repairs) == (1 if flat != text else 0)


@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_listing_is_refused_at_its_first_damaged_line(file: str) -> None:
    with pytest.raises(ListingError) as refused:
        iomem.loads((SHARED / file).read_bytes(), source=file)
    assert refused.value.line == _damaged_lines(file)[0]
    assert str(refused.value).startswith(f"{file}:{refused.value.line}: ")


@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_listing_is_read_leniently_with_each_damaged_line_reported(file: str) -> None:
    reading = repair.loads((SHARED / file).read_bytes())
    reading.tree.check()
    assert sorted({repair.line for repair in reading.repairs}) == _damaged_lines(file)
    said = {f"{repair.line}: {repair.damage.value}" for repair in reading.repairs}
    expected = {damage for damage in DAMAGED[file] if damage.endswith(("outside its parent", "not a resource line"))}
    assert expected <= said


@pytest.mark.parametrize("file", DAMAGED)
def test_what_lenient_reading_gives_is_a_sound_listing(file: str) -> None:
    text = iomem.dumps(repair.loads((SHARED / file).read_bytes()).tree)
    assert iomem.dumps(iomem.loads(text)) == text


@pytest.mark.parametrize("file", MASKED)
def test_a_masked_listing_is_recognised(file: str) -> None:
    text = (SHARED / file).read_text()
    with pytest.raises(MaskedListingError, match="read it as root"):
        iomem.loads(text)
    assert iomem.dumps(iomem.loads(text, allow_masked=True)) == text
    reading = repair.loads(text)
    assert (reading.masked, reading.repairs) == (True, [])
    assert iomem.dumps(reading.tree) == text


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("file", SOUND)
def test_a_sound_listing_is_whole_however_it_is_read(file: str, lenient: bool) -> None:
    text = (SHARED / file).read_text("utf-8", "surrogateescape")
    reading = repair.read(text, source=file, lenient=lenient)
    assert (iomem.dumps(reading.tree), reading.repairs, reading.at_least) == (text, [], False)


@pytest.mark.parametrize("file", DAMAGED)
def test_a_listing_with_lines_cut_out_of_it_is_at_least(file: str) -> None:
    reading = repair.loads((SHARED / file).read_bytes())
    marked = any("a mark that lines are missing here" in one.what for one in reading.repairs)
    assert reading.at_least or not marked


# -- cases: small inputs that people would bring ------------------------------------------------------------------------

CASES = SHARED.parent / "cases"


def test_remarks_behind_names_take_no_ram_away() -> None:
    text = _case("remark-behind-a-name.iomem")
    with pytest.raises(ListingError, match=r"^map:2: a remark behind 'System RAM': '# below the hole' \(--lenient"):
        repair.read(text, source="map", lenient=False)
    reading = repair.read(text, source="map", lenient=True)
    ram = list(system_ram(reading.tree))
    assert (len(ram), sum(one.resource.size for one in ram), reading.at_least) == (5, 8589537280, False)
    assert [one.line for one in reading.repairs] == [2, 5, 6]


def test_numbers_before_lines_are_taken_off_and_said() -> None:
    text = _case("numbered-lines.txt")
    reading = repair.read(text, source="map", lenient=True)
    assert len(list(reading.tree.walk())) == 5
    assert not reading.at_least
    without = repair.read(text.replace("  163  ", ""), source="map", lenient=True)
    assert iomem.dumps(without.tree) == iomem.dumps(reading.tree)


def _case(file: str) -> str:
    if not (CASES / file).exists():
        pytest.skip(f"no {file} in {CASES}")
    return (CASES / file).read_text()
