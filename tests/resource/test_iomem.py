"""The text of /proc/iomem, in and out."""

import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virtiomem.errors import ListingError, MaskedListingError
from virtiomem.resource import iomem
from virtiomem.resource.flags import (
    IORESOURCE_BUSY,
    IORESOURCE_EXCLUSIVE,
    IORESOURCE_IO,
    IORESOURCE_MEM,
    IORESOURCE_SYSRAM_DRIVER_MANAGED,
    IORESOURCE_SYSRAM_MERGEABLE,
    IORESOURCE_SYSTEM_RAM,
    Desc,
)
from virtiomem.resource.spoiled import what_is_spoiled
from virtiomem.resource.tree import Resource, ResourceTree

RAM = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY
LISTING = """\
00001000-0009fbff : System RAM
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
00100000-7ffdffff : System RAM
  2a000000-39ffffff : Crash kernel
  40e00000-41c01ef1 : Kernel code
80000000-afffffff : PCI Bus 0000:00
  80000000-800fffff : 0000:00:01.0
100000000-13fffffff : System RAM
140000000-33fffffff : virtio0
  140000000-1bfffffff : System RAM (virtio_mem)
"""


# -- text to tree to text -----------------------------------------------------------------------------------------------


def test_a_listing_gives_a_tree_and_the_tree_the_listing() -> None:
    tree = iomem.loads(LISTING)
    tree.check()
    assert [len(node.children) for node in tree.children] == [0, 1, 2, 1, 0, 1]
    assert iomem.dumps(tree) == LISTING
    assert iomem.dumps(iomem.loads(LISTING.encode())) == LISTING


def test_files_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "iomem"
    with path.open("w") as file:
        iomem.dump(iomem.loads(LISTING), file)
    with path.open("rb") as raw, path.open() as text:
        assert iomem.dumps(iomem.load(raw)) == iomem.dumps(iomem.load(text)) == LISTING


def test_an_error_names_the_file_it_was_read_from(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_text("nonsense\n")
    with path.open() as file, pytest.raises(ListingError, match=f"^{path}:1: "):
        iomem.load(file)
    with pytest.raises(ListingError, match=r"^iomem:1: "):
        iomem.load(io.StringIO("nonsense\n"))


def test_nothing_is_an_empty_tree() -> None:
    assert iomem.dumps(iomem.loads("")) == ""


def test_addresses_have_eight_digits_or_as_many_as_they_need() -> None:
    tree = ResourceTree()
    tree.request_region(0, 1, "low")
    tree.request_region(0xFFFF_FFFF, 2, "across")
    tree.request_region(0xFFFF_FFFF_FFFF_F000, 0x1000, "top")
    text = "00000000-00000000 : low\nffffffff-100000000 : across\nfffffffffffff000-ffffffffffffffff : top\n"
    assert iomem.dumps(tree) == text
    assert iomem.dumps(iomem.loads(text)) == text


def test_ports_have_four_digits() -> None:
    text = "0000-0cf7 : PCI Bus 0000:00\n  0020-0021 : pic1\n0cf8-0cff : PCI conf1\n"
    tree = iomem.loads(text)
    assert (tree.name, tree.end, tree.flags) == ("PCI IO", 0xFFFF, IORESOURCE_IO)
    assert iomem.dumps(tree) == text


def test_levels_from_the_sixth_on_share_an_indent_and_nest_by_their_ranges() -> None:
    tree = ResourceTree()
    parent: Resource = tree
    for level in range(8):
        inner = Resource(level, 0xFFFF - level, f"level {level}")
        tree.request_resource(parent, inner)
        if level >= 5:
            tree.request_resource(parent, Resource(0x10000 - level, 0x10000 - level, f"next to {level}"))
        parent = inner
    text = iomem.dumps(tree)
    assert [len(line) - len(line.lstrip()) for line in text.splitlines()] == [0, 2, 4, 6, 8, *[10] * 6]
    again = iomem.loads(text)
    again.check()
    assert [(depth, node.name) for depth, node in again.walk()] == [(depth, node.name) for depth, node in tree.walk()]


def test_names_may_be_odd() -> None:
    text = "00000000-00000fff : \n00001000-00001fff : <BAD>\n00002000-00002fff : a : \rb\u2028c\x1c\n"
    tree = iomem.loads(text)
    assert [node.name for node in tree.children] == ["", "<BAD>", "a : \rb\u2028c\x1c"]
    assert iomem.dumps(tree) == text


def test_bytes_that_are_not_text_come_back() -> None:
    raw = b"00000000-00000fff : \xff\xa0\xfe\xc2\xa0\xc3\n"
    assert iomem.dumps(iomem.loads(raw)).encode("utf-8", "surrogateescape") == raw


def test_equal_names_are_one_object_so_that_they_can_merge() -> None:
    text = "00000000-00000fff : System RAM (virtio_mem)\n00001000-00001fff : System RAM (virtio_mem)\n"
    low, high = iomem.loads(text).children
    assert low.name is high.name


# -- masked -------------------------------------------------------------------------------------------------------------


def test_an_unprivileged_reader_sees_zeros() -> None:
    tree = iomem.loads(LISTING)
    masked = iomem.dumps(tree, masked=True)
    assert masked.splitlines()[4] == "  00000000-00000000 : Crash kernel"
    with pytest.raises(MaskedListingError, match=r"^/proc/iomem:1: .* read it as root$"):
        iomem.loads(masked, source="/proc/iomem")
    outline = iomem.loads(masked, allow_masked=True)
    assert iomem.dumps(outline) == masked
    assert [(depth, node.name) for depth, node in outline.walk()] == [(depth, node.name) for depth, node in tree.walk()]


def test_a_masked_listing_as_deep_as_it_shows_comes_back() -> None:
    text = "".join(f"{'  ' * min(level, 5)}00000000-00000000 : level {level}\n" for level in range(8))
    assert iomem.dumps(iomem.loads(text, allow_masked=True)) == text


# -- what names mean ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flags", "desc"),
    [
        ("System RAM", RAM, Desc.NONE),
        ("System RAM (kmem)", RAM | IORESOURCE_SYSRAM_DRIVER_MANAGED, Desc.NONE),
        (
            "System RAM (virtio_mem)",
            RAM | IORESOURCE_SYSRAM_DRIVER_MANAGED | IORESOURCE_SYSRAM_MERGEABLE,
            Desc.NONE,
        ),
        ("Kernel code", RAM, Desc.NONE),
        ("Crash kernel", RAM, Desc.CRASH_KERNEL),
        ("virtio0", IORESOURCE_SYSTEM_RAM | IORESOURCE_EXCLUSIVE, Desc.NONE),
        ("dax0.0", IORESOURCE_SYSTEM_RAM, Desc.NONE),
        ("Reserved", IORESOURCE_MEM, Desc.RESERVED),
        ("Soft Reserved", IORESOURCE_MEM, Desc.SOFT_RESERVED),
        ("Persistent Memory (legacy)", IORESOURCE_MEM, Desc.PERSISTENT_MEMORY_LEGACY),
        ("CXL Window 3", IORESOURCE_MEM, Desc.CXL),
        ("PCI Bus 0000:00", IORESOURCE_MEM, Desc.NONE),
        ("0000:00:1f.2", IORESOURCE_MEM, Desc.NONE),
        ("ACPI Tables", IORESOURCE_MEM | IORESOURCE_BUSY, Desc.ACPI_TABLES),
        ("ACPI Non-volatile Storage", IORESOURCE_MEM | IORESOURCE_BUSY, Desc.ACPI_NV_STORAGE),
        ("RAM buffer", IORESOURCE_MEM | IORESOURCE_BUSY, Desc.NONE),
        ("virtio-pci-modern", IORESOURCE_MEM | IORESOURCE_BUSY, Desc.NONE),
        ("virtio0x", IORESOURCE_MEM | IORESOURCE_BUSY, Desc.NONE),
    ],
)
def test_a_name_tells_flags_and_desc(name: str, flags: int, desc: Desc) -> None:
    (node,) = iomem.loads(f"100000000-1ffffffff : {name}\n").children
    assert (node.flags, node.desc) == (flags, desc)


def test_what_the_firmware_reserves_below_one_megabyte_is_busy() -> None:
    low, high = iomem.loads("000f0000-000fffff : Reserved\n00100000-001fffff : Reserved\n").children
    assert (low.busy, high.busy) == (True, False)


def test_a_guest_goes_on_from_a_listing() -> None:
    tree = iomem.loads(LISTING)
    block = tree.request_region(
        0x1C000_0000,
        128 << 20,
        tree.children[5].children[0].name,
        IORESOURCE_SYSTEM_RAM | IORESOURCE_SYSRAM_DRIVER_MANAGED,
    )
    tree.merge_system_ram_resource(block)
    assert iomem.dumps(tree).splitlines()[-1] == "  140000000-1c7ffffff : System RAM (virtio_mem)"


# -- damage -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damaged", "line", "reason"),
    [
        ("00000000-00000fff : a", 1, "the last line has no newline, and 'a' may be cut short"),
        ("bad\n00000000-00000fff : a", 1, "not a resource line: 'bad'"),
        ("00000000-00000fff : a\n\n", 2, "an empty line"),
        ("00000000-00000fff: a\n", 1, "not a resource line: '00000000-00000fff: a'"),
        ("\t00000000-00000fff : a\n", 1, r"indented by '\t', not by spaces"),
        ("\u00a000000000-00000fff : a\n", 1, r"indented by '\xa0', not by spaces"),
        ("00000000-00000FFF : a\n", 1, "00000000-00000FFF is not written as the kernel does"),
        ("0-fff : a\n", 1, "0-fff is not written as the kernel does"),
        ("000000000-000000fff : a\n", 1, "000000000-000000fff is not written as the kernel does"),
        ("00000000-10000000000000000 : a\n", 1, "10000000000000000 is not a 64-bit address"),
        ("00000000-0000_fff : a\n", 1, "not a resource line"),
        ("0000-00000fff : a\n", 1, "0000-00000fff is not written as the kernel does"),
        ("0000-0fff : a\n00001000-00001fff : b\n", 2, "00001000-00001fff is not written as the kernel does"),
        ("00000000-00000fff : a\r\n", 1, "the line ends in a carriage return"),
        ("00000000-00000fff : a\n00001000-00001fff : \r\n", 2, "the line ends in a carriage return"),
        (
            "00000000-00000fff : System RAM \n",
            1,
            "a blank that the kernel does not print, in or after the name 'System RAM '",
        ),
        ("00000000-00000fff : a\t\n", 1, "a blank that the kernel does not print, in or after the name 'a\\t'"),
        ("00000000-00000fff : a\u00a0b\n", 1, r"a blank that the kernel does not print, in or after the name 'a\xa0b'"),
        ("00000000-00000fff : a\n00001000-00001fff : a\udca0b\n", 2, "a blank that the kernel does not print"),
        ("  00000000-00000fff : a\n", 1, "indented by 2 spaces, with no line above it"),
        ("00000000-00000fff : a\n 00000000-00000fff : b\n", 2, "indented by 1 space, not by two a level"),
        ("00000000-00000fff : a\n    00000000-00000fff : b\n", 2, "indented by 4 spaces, below a line with 0"),
        ("00000000-00000fff : a\n            00000000-00000fff : b\n", 2, "indented by 12 spaces, below a line with 0"),
        ("00001fff-00001000 : a\n", 1, "00001fff-00001000 ends before it starts"),
        (
            "00001000-00001fff : a\n  00001000-00002fff : b\n",
            2,
            "00001000-00002fff is outside its parent 00001000-00001fff : a",
        ),
        (
            "00001000-00001fff : a\n  00000fff-00001fff : b\n",
            2,
            "00000fff-00001fff is outside its parent 00001000-00001fff : a",
        ),
        (
            "00001000-00001fff : a\n00001800-00002fff : b\n",
            2,
            "00001800-00002fff overlaps its sibling 00001000-00001fff : a",
        ),
        (
            "00001000-00001fff : a\n00000000-00000fff : b\n",
            2,
            "00000000-00000fff comes after its sibling 00001000-00001fff : a",
        ),
        ("00001000-00001fff : a\n00001000-00001fff : a\n", 2, "00001000-00001fff overlaps its sibling"),
    ],
)
def test_damage_is_refused_with_its_line_and_reason(damaged: str, line: int, reason: str) -> None:
    with pytest.raises(ListingError) as refused:
        iomem.loads(damaged, source="map")
    assert refused.value.line == line
    assert refused.value.reason.startswith(reason)
    assert str(refused.value).startswith(f"map:{line}: ")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("oops", "not a resource line: 'oops'"),
        ("  100bB8000-100bb8fff : page", "100bB8000-100bb8fff is not written as the kernel does"),
        ("  0100bb8000-0100bb8fff : page", "0100bb8000-0100bb8fff is not written as the kernel does"),
        ("  100bb8000-100bb8_ff : page", "not a resource line"),
        ("  100bb8fff-100bb8000 : page", "100bb8fff-100bb8000 ends before it starts"),
        ("  100bb7000-100bb8fff : page", "100bb7000-100bb8fff overlaps its sibling"),
        ("  100bb8000-1ffffffff : page", "100bb8000-1ffffffff is outside its parent"),
        ("  100bb8000-100bb8fff : page\t", "a blank that the kernel does not print"),
        ("   100bb8000-100bb8fff : page", "indented by 3 spaces"),
        ("      100bb8000-100bb8fff : page", "indented by 6 spaces, below a line with 2"),
    ],
)
def test_damage_far_down_is_found_where_it_is(changed: str, reason: str) -> None:
    lines = ["100000000-1013fffff : virtio0\n"]
    lines += [f"  {page << 12:08x}-{(page << 12) + 0xFFF:08x} : page\n" for page in range(0x100000, 0x101388)]
    assert iomem.dumps(iomem.loads("".join(lines))) == "".join(lines)
    lines[3001] = f"{changed}\n"
    with pytest.raises(ListingError) as refused:
        iomem.loads("".join(lines))
    assert (refused.value.line, refused.value.reason[: len(reason)]) == (3002, reason)


@pytest.mark.parametrize("changed", ["page", "page - b", "System RAM", ""])
def test_a_line_far_down_that_is_not_like_the_others_is_itself(changed: str) -> None:
    lines = [f"{page << 12:08x}-{(page << 12) + 0xFFF:08x} : page\n" for page in range(5000)]
    lines[4321] = lines[4321].replace("page", changed)
    lines[4500] = f"  {lines[4499]}"
    tree = iomem.loads("".join(lines))
    tree.check()
    assert iomem.dumps(tree) == "".join(lines)
    assert [tree.children[at].name for at in (4320, 4321, 4322)] == ["page", changed, "page"]


@pytest.mark.parametrize("width", [8, 9])
def test_a_line_with_another_character_means_among_many_what_it_means_among_few(width: int) -> None:
    first = 16 ** (width - 1)
    lines = [f"  {start:08x}-{start + 0xFFF:08x} : page\n" for start in range(first, first + (200 << 12), 1 << 12)]
    head, at = f"{first:08x}-{first + (200 << 12) - 1:08x} : virtio0\n", 150
    for place in range(len(lines[at])):
        for character in " 0aAx-:\n\t\0é\udca9":
            changed = f"{lines[at][:place]}{character}{lines[at][place + 1 :]}"
            few, many = (
                outcome("".join([head, *before, changed, *behind]), changed)
                for before, behind in ((lines[at - 1 : at], lines[at + 1 : at + 2]), (lines[:at], lines[at + 1 :]))
            )
            assert many == few, repr(changed)


def test_addresses_that_are_filled_up_are_refused_wherever_they_begin() -> None:
    starts = range(0xF0000000, 0xF0000000 + (250 << 12), 1 << 12)
    pages, padded = ([f"{start:0{w}x}-{start + 0xFFF:0{w}x} : page\n" for start in starts] for w in (8, 9))
    for sound in range(1, 150):
        with pytest.raises(ListingError, match=rf"^iomem:{sound + 1}: .* is not written as the kernel does"):
            iomem.loads("".join([*pages[:sound], *padded[sound:]]))


def outcome(text: str, line: str) -> str:
    """What came of reading a listing: the reason of a refusal, or that a line is still in it."""
    try:
        back = iomem.dumps(iomem.loads(text))
    except ListingError as error:
        return error.reason
    assert back == text
    return f"has {line}"


def test_many_ports_with_the_digits_of_memory_are_refused() -> None:
    lines = [f"{port:08x}-{port:08x} : port\n" for port in range(1, 1000)]
    with pytest.raises(ListingError, match=r"^iomem:2: 00000001-00000001 is not written as the kernel does"):
        iomem.loads("".join(["0000-0000 : port\n", *lines]))


def test_the_last_level_is_checked_like_any_other() -> None:
    nest = "".join(f"{'  ' * level}00000000-0000ffff : level {level}\n" for level in range(6))
    with pytest.raises(ListingError, match=r"iomem:7: .* is outside its parent 00000000-0000ffff : level 4"):
        iomem.loads(f"{nest}          00010000-00010fff : beyond\n")
    with pytest.raises(ListingError, match=r"iomem:8: .* overlaps its sibling"):
        iomem.loads(f"{nest}          00001000-00001fff : a\n          00001800-000028ff : b\n")


# -- properties ---------------------------------------------------------------------------------------------------------


@st.composite
def trees(draw: st.DrawFn) -> ResourceTree:
    """Any tree, as deep in its own way."""
    tree = ResourceTree()
    names = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=8).filter(
        lambda name: not what_is_spoiled(name)
    )
    for _ in range(draw(st.integers(1, 25))):
        inside = [tree, *(node for _, node in tree.walk())]
        parent = inside[draw(st.integers(0, len(inside) - 1))]
        last = min(parent.end, 0x2_0000_0000) if parent is tree else parent.end
        start = draw(st.integers(parent.start, last))
        end = draw(st.integers(start, last))
        if not parent.intersects(start, end - start + 1):
            new = Resource(start, end, "any")
            new.name = draw(names)  # as the kernel's own may be: no caller may ask for such a one
            tree.request_resource(parent, new)
    return tree


@given(trees())
def test_any_tree_survives_being_written_and_read(tree: ResourceTree) -> None:
    text = iomem.dumps(tree)
    if all(node.end == 0 for _, node in tree.walk()):
        return
    again = iomem.loads(text)
    again.check()
    assert iomem.dumps(again) == text
    assert [(d, n.start, n.end, n.name) for d, n in again.walk()] == [
        (d, n.start, n.end, n.name) for d, n in tree.walk()
    ]


@given(
    st.text(alphabet="0123456789abcdef- :\nxF\t", max_size=120)
    | st.lists(st.sampled_from(LISTING.splitlines(keepends=True)), max_size=12).map("".join)
    | st.tuples(st.integers(0, len(LISTING)), st.integers(0, len(LISTING)), st.text(max_size=3)).map(
        lambda cut: LISTING[: cut[0]] + cut[2] + LISTING[cut[1] :]
    )
)
@example("0000-0fff : a\n")
@example("\r\n")
def test_any_text_is_a_listing_that_comes_back_or_is_refused_in_one_line(text: str) -> None:
    try:
        tree = iomem.loads(text)
    except ListingError as error:
        refused = error
    else:
        tree.check()
        assert iomem.dumps(tree) == text + "\n" * (text != "" and not text.endswith("\n"))
        return
    assert "\n" not in str(refused)
    assert 1 <= refused.line <= text.count("\n") + 1
