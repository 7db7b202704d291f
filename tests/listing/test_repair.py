"""Reading damaged listings: what is made of the kinds of damage that people's pastes have."""

import sys
import time
from collections.abc import Iterator
from types import FrameType

import pytest

from virtiomem.errors import ListingError
from virtiomem.listing import damage, repair
from virtiomem.listing.damage import Damage
from virtiomem.resource import iomem

LINE = "00001000-0009fbff : System RAM\n"

# -- however deep and long ----------------------------------------------------------------------------------------------


def test_name_of_a_million_digits_is_read_in_little_time() -> None:
    name = "9" * 1_000_000
    began = time.process_time()
    reading = repair.loads(f"a map\n00001000-0009fbff : {name}\n")
    assert [node.name for node in reading.tree.children] == [name]
    assert time.process_time() - began < 5, "to look on from each digit took minutes"


def _nests(count: int, depth: int) -> Iterator[str]:
    """Resources one inside the other, `count` times next to one another, below a line that is not a resource."""
    yield "a map\n"
    for nest in range(count):
        for level in range(depth):
            start, end = (nest << 16) + level, (nest << 16) + 0xFFFF - level
            yield f"{'  ' * min(level, 5)}{start:08x}-{end:08x} : level {level}\n"


def _calls(text: str) -> int:
    """How many calls reading makes: its time, as no other program's load can change it."""
    calls = 0

    def count(_frame: FrameType, _event: str, _argument: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        reading = repair.loads(text)
    finally:
        sys.setprofile(None)
    assert len(reading.repairs) == 1
    return calls


@pytest.mark.parametrize("indented", [True, False])
def test_twice_the_depth_takes_about_twice_the_time(indented: bool) -> None:
    def text(depth: int) -> str:
        return "".join(line if indented else line.lstrip() for line in list(_nests(3, depth))[not indented :])

    assert _calls(text(200)) < 3 * _calls(text(100))


def test_a_deep_nest_is_read_as_it_was_written() -> None:
    lines = list(_nests(3, 100))
    assert iomem.dumps(repair.loads("".join(lines)).tree) == "".join(lines[1:])


def test_empty_lines_in_a_row_are_one_repair() -> None:
    reading = repair.loads(LINE + "\n \n\t\n" * 1000 + "00100000-00ffffff : a\n")
    assert [str(one) for one in reading.repairs] == ["2-3001: an empty line: left out"]
    assert reading.damaged_lines == 3000
    assert len(reading.tree.children) == 2


def test_repairs_beyond_a_hundred_are_counted() -> None:
    reading = repair.loads("".join(f"junk {number}\n" for number in range(5000)) + LINE)
    said = list(reading.told("map"))
    assert said[99:101] == ["map:100: not a resource line: 'junk 99': left out", "map: 4900 more repairs"]
    assert reading.damaged_lines == 5000


@pytest.mark.parametrize("line", ["junk\n", "00001000-0009fbff : \tRAM\n", LINE])
def test_text_with_too_much_to_put_right_is_refused(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (damage, repair):
        monkeypatch.setattr(module, "MAX_REPAIRS", 1000)
    with pytest.raises(ListingError, match=r"^map:\d+: more than 1000 lines need repair: cut the listing out"):
        repair.loads("?\n" + line * 1002, source="map")


@pytest.mark.parametrize("name", ["x" * 300, "\x1b[2J", "\udcf9"])
def test_any_name_that_a_kernel_may_print_is_kept(name: str) -> None:
    assert [node.name for node in repair.loads(f"?\n00001000-0009fbff : {name}\n").tree.children] == [name]


# -- what is there twice ------------------------------------------------------------------------------------------------

NESTED = f"""\
{LINE}100000000-1ffffffff : PCI Bus 0000:00
  100000000-13fffffff : 0000:00:01.0
    100000000-13fffffff : virtio-pci-modern
  140000000-17fffffff : 0000:00:02.0
"""


@pytest.mark.parametrize("flat", [False, True])
def test_a_listing_pasted_twice_is_read_once(flat: bool) -> None:
    text = "".join(line.lstrip() for line in NESTED.splitlines(keepends=True)) if flat else NESTED
    reading = repair.loads(text + text)
    assert iomem.dumps(reading.tree) == NESTED
    twice = [repair.line for repair in reading.repairs if repair.damage is Damage.DUPLICATE]
    assert twice == [6, 7, 8, 9, 10]
    assert len(reading.repairs) == 5 + flat


def test_two_equal_lines_are_a_duplicate_not_a_nest() -> None:
    reading = repair.loads(LINE + LINE)
    assert iomem.dumps(reading.tree) == LINE
    assert [str(repair) for repair in reading.repairs] == ["2: 00001000-0009fbff : System RAM is there twice: left out"]


def test_like_inside_like_below_the_deepest_indent_is_no_duplicate() -> None:
    nest = "".join(f"{'  ' * min(level, 5)}00000000-0000ffff : like\n" for level in range(8))
    assert iomem.dumps(repair.loads(f"a map\n{nest}").tree) == nest


# -- what is wrapped ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrapped", "name"),
    [
        ("00001000-0009fbff : System\nRAM\n", "System RAM"),
        ("00001000-0009fbff :\nSystem RAM\n", "System RAM"),
        ("00001000-0009fbff : System RAM\n(virtio_mem)\n", "System RAM (virtio_mem)"),
        ("> 00001000-0009fbff : PCI Bus\n> 0000:00\n", "PCI Bus 0000:00"),
        (f"> 00001000-0009fbff : {'n' * 40}\n> made by hand\n", f"{'n' * 40} made by hand"),
        (f"00001000-0009fbff : {'n' * 42}\nmade\u00a0by hand\n", f"{'n' * 42} made by hand"),
        ("00001000-0009fbff : System RAM\nhello\n", "System RAM"),
        ("00001000-0009fbff : System RAM\n> 2G of RAM\n", "System RAM"),
        ("00001000-0009fbff : System RAM\n(snip)\n", "System RAM"),
        (f"> 00001000-0009fbff : {'n' * 40}\n> [...]\n", "n" * 40),
        (f"00001000-0009fbff : {'n' * 42}\n? 00200000-002fffff : level\n", "n" * 42),
    ],
)
def test_a_wrapped_name_is_joined_and_a_remark_is_not(wrapped: str, name: str) -> None:
    (node,) = repair.loads(wrapped).tree.children
    assert node.name == name


@pytest.mark.parametrize("between", [" :", ": ", " : ", " :  "])
def test_lines_joined_behind_a_loose_colon_are_taken_apart_for_good(between: str) -> None:
    reading = repair.loads(f"fed1c000-fed1ffff{between}fee00000-fee00fff : Local APIC\n")
    text = iomem.dumps(reading.tree)
    assert text == "fed1c000-fed1ffff : \nfee00000-fee00fff : Local APIC\n"
    assert iomem.dumps(repair.loads(text).tree) == text


# -- what is cut --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "remedies"),
    [
        ("00100000-7ffdffff : Vid", ["2: no newline at the end, and 'Vid' may be cut short: read as it is"]),
        (
            "00100000-7ff",
            ["2: digits are missing in 00100000-7ff: left out: which are lost is not known"],
        ),
        ("", []),
    ],
)
def test_the_end_of_a_cut_listing_is_reported_once(end: str, remedies: list[str]) -> None:
    assert [str(repair) for repair in repair.loads(LINE + end).repairs] == remedies


# -- what is not a listing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "<html>\n<body>\n</body>\n",
        f"+{LINE}+{LINE}",
        f"[    0.000000] BIOS-e820: [mem 0x0000000000001000-0x000000000009fbff] usable\n[    0.0] {LINE}",
        LINE.encode("utf-16").decode("utf-8", "surrogateescape"),
        "\n\n",
        "0009fbff-00001000 : System RAM\n",
    ],
)
def test_what_is_not_a_listing_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ListingError, match=r"^map:1: ") as refused:
        repair.read(text, source="map", lenient=True)
    assert "\n" not in str(refused.value)


def test_nothing_is_an_empty_listing() -> None:
    assert repair.read("", source="map", lenient=True).repairs == []


def test_no_cure_is_promised_where_nothing_near_can_be_read() -> None:
    text = "[   12.345678] 00001000-0009ffff : System RAM\n"
    with pytest.raises(ListingError, match=r"\(nor can --lenient read anything near it\)$"):
        repair.read(text, source="map", lenient=False)
    with pytest.raises(ListingError, match="not a resource line"):
        repair.read(text, source="map", lenient=True)
