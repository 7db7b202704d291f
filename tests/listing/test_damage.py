"""Nothing vanishes silently: each kind of damage is refused with its line and cure, or put right and said; sound text is left alone."""

import json
import re
from pathlib import Path

import pytest

from virtiomem.cli.main import main
from virtiomem.errors import ListingError
from virtiomem.listing import repair
from virtiomem.listing.ram import system_ram
from virtiomem.resource import iomem

LISTING = """\
00001000-0009fbff : System RAM
00100000-7fffffff : System RAM
  01000000-01dfffff : Kernel code
80000000-8000ffff : Reserved
100000000-13fffffff : System RAM
140000000-33fffffff : virtio0
  140000000-147ffffff : System RAM (virtio_mem)
"""
RAM = sum(ram.resource.size for ram in system_ram(iomem.loads(LISTING)))
LONG = re.sub(r"\b[0-9a-f]{8,9}\b", lambda number: f"{number[0]:0>16}", LISTING)
LINES = LISTING.splitlines()


def numbered(form: str, first: int = 98) -> str:
    return "".join(f"{form.format(number)}{line}\n" for number, line in enumerate(LINES, first))


def each(form: str) -> str:
    return "".join(f"{form.format(line)}\n" for line in LINES)


CERTAIN = {
    "a remark with a hash": (LISTING.replace("7fffffff : System RAM", "7fffffff : System RAM  # below the hole"), 2),
    "a remark with slashes": (LISTING.replace("fbff : System RAM", "fbff : System RAM //0x9fc00"), 1),
    "a remark with an arrow": (LISTING.replace("(virtio_mem)", "(virtio_mem)  <-- of virtio0"), 7),
    "a remark without a mark": (LISTING.replace("7fffffff : System RAM", "7fffffff : System RAM 2G"), 2),
    "a remark in brackets behind a driver": (LISTING.replace("(virtio_mem)", "(virtio_mem) # (8G)"), 7),
    "colour escapes": (LISTING.replace("RAM", "\x1b[01;31m\x1b[KRAM\x1b[m\x1b[K"), 1),
    "colour escapes without the escape": (LISTING.replace("RAM", "[01;31m[KRAM[m[K"), 1),
    "colour escapes as a pager shows them": (LISTING.replace("RAM", "^[[31mRAM^[[0m"), 1),
    "cat -n": (numbered("{:6}\t"), 1),
    "less -N": (numbered("{:7} "), 1),
    "grep -n": (numbered("{}:"), 1),
    "grep -nC2": (numbered("{}-"), 1),
    "grep -nH": (numbered("/proc/iomem:{}:"), 1),
    "a file name": (each("iomem:{}"), 1),
    "a line without a number": (numbered("{:5}  ").replace("   99  ", ""), 1),
    "joined with a blank": (LISTING.replace("\n", " ") + "\n", 1),
    "joined without a blank": (LISTING.replace("\n", "") + "\n", 1),
    "joined behind a name that ends like a number": (LISTING.replace("code\n", "code"), 3),
    "broken in the end": (LISTING.replace("7fffffff :", "7fff\nffff :", 1), 2),
    "broken in the start": (LISTING.replace("140000000-147", "1\n40000000-147"), 7),
    "broken before the colon": (LISTING.replace("7fffffff :", "7fffffff\n :", 1), 2),
    "broken before the name": (LISTING.replace("7fffffff : ", "7fffffff\n", 1), 2),
    "broken in the name": (LISTING.replace("virtio_mem", "virt\nio_mem"), 7),
    "quoted": (each("> {}"), 1),
    "quoted twice": (each("> > {}"), 1),
    "in a table": (each("| {:50} |"), 1),
    "numbers before the parts of a line": (
        "".join(
            f"{at:5} {line}\n" for at, line in enumerate(LISTING.replace("13fffffff", "13fffffff\n").splitlines(), 61)
        ),
        1,
    ),
    "in strings": (each('"{}",'), 1),
    "in a quote with numbers": ("".join(f"> {line}\n" for line in numbered("{:6}\t").splitlines()), 1),
    "leading zeros lost": (re.sub(r"\b0+(?=\w)", "", LISTING), 1),
    "a zero-width space in the name": (LISTING.replace("System", "Sys\u200btem", 1), 1),
    "a soft hyphen in the name": (LISTING.replace("RAM", "\u00adRAM", 1), 1),
    "a blank in the name": (LISTING.replace("System RAM", "S ystem RAM", 1), 1),
    "another case": (LISTING.replace("System RAM", "System Ram", 1), 1),
    "blanks at the end of every line": (each("{}   "), 1),
    "dashes": (LISTING.replace("-", "\u2013"), 1),
    "dashes of Windows, quoted": (each("> {}").replace("-", " \udc96 "), 1),
    "no-break spaces": (LISTING.replace(" ", "\u00a0"), 1),
    "quoted-printable": (LISTING.replace("  ", "=C2=A0 ").replace("-", "=E2=80=93"), 1),
    "quoted-printable, broken": (LISTING.replace("13fffffff : S", "13fffffff =\n:=C2=A0S"), 5),
    "a comment": (f"# my machine\n{LISTING}", 1),
    "the command": (f"$ sudo cat /proc/iomem\n{LISTING}", 1),
}


@pytest.mark.parametrize("kind", CERTAIN)
def test_certain_damage_is_refused_with_its_line_and_cure_and_put_right(kind: str) -> None:
    text, line = CERTAIN[kind]
    with pytest.raises(ListingError, match=r"\(--lenient puts damage right\)$") as refused:
        repair.read(text, source="map", lenient=False)
    assert refused.value.line == line
    reading = repair.read(text, source="map", lenient=True)
    assert iomem.dumps(reading.tree) == LISTING
    assert reading.repairs, "every repair is reported"
    assert not reading.at_least


LOSSES = {
    "an elision": (LISTING.replace("80000000-8000ffff : Reserved", "[...]"), 4),
    "an elision in words": (LISTING.replace("80000000-8000ffff : Reserved", "[snip: 20 lines]"), 4),
    "an elision as a remark": (LISTING.replace("7fffffff : System RAM", "7fffffff : System RAM [...]"), 2),
    "an elision behind another name": (LISTING.replace(" Reserved", " Reserved ..."), 4),
    "the beginning of another line": (f"{LISTING}  ", 8),
    "a table that is cut": (each("| {:50} |")[:-9], 1),
    "digits where nothing has zeros": ("2000000-9fffffff : System RAM\n  20000800-207fffff : Kernel code\n", 1),
    "a cut behind colours": (LISTING.replace("0", "\x1b[1m0\x1b[0m")[:-90], 1),
    "a range without a name": (LISTING.replace("13fffffff : System RAM", "13fffffff"), 5),
    "names cut to a width": ("".join(f"{line[:30]}\n" for line in LINES), 5),
    "a short name": (LISTING.replace("13fffffff : System RAM", "13fffffff : System RAMs"), 5),
    "a digit of a short address": (LISTING.replace("00100000-7fffffff", "0010000-7fffffff"), 2),
    "a digit of a long start": (LISTING.replace("100000000-13f", "10000000-13f"), 5),
    "a digit of a long end": (LISTING.replace("-13fffffff", "-13ffffff"), 5),
    "a digit of a block's start": (LISTING.replace("140000000-147", "14000000-147"), 7),
    "digits of RAM on both sides": (LISTING.replace("-7fffffff", "-7ffffff").replace("100000000-", "10000000-"), 2),
    "digits of a device and of its RAM": (
        LISTING.replace("140000000-33f", "14000000033f").replace("140000000-147", "40000000-147"),
        6,
    ),
    "digits next to ports": (
        "2000000-9fffffff : System RAM\n  20000800-207fffff : Kernel code\n0000-001f : dma1\n",
        1,
    ),
    "a range that lost its dash": (
        f"00100000-7fffffff : {'n' * 40}\n  00100000007fffffff : System RAM\n",
        2,
    ),
    "digits of all except one line": (
        """\
00100000-7fffff : System RAM
100000000-13fffffff : System RAM
14000000-33fffffff : virtio0
  14000000-147ffffff : System RAM (virtio_mem)
""",
        1,
    ),
    "a digit in front of a zero": (
        "00100000-0fffffff : System RAM\n010000000-f02fffffff : dax0.0\n  f0100000-f02fffffff : System RAM (kmem)\n",
        2,
    ),
    "a digit where all are filled up to 16": (
        LONG.replace("0000000140000000-", "000000140000000-"),
        1,
    ),
    "half of a line that nothing begins": (
        "map:98:10000000\n0-1ffffffff : System RAM\nmap:99:  120008000-1207fffff : Kernel code\n",
        1,
    ),
    "a line that is joined and broken": (
        "40000000-7fffffff : System RAM 80000000-bfffffff : dax0.0   80000000-bffff fff : System RAM (kmem)  144M\n",
        1,
    ),
    "a line that is joined to a name and breaks before its dash": (
        "40000000-7fffffff : some de vice   50000000 -5fffffff : System RAM (kmem)\n",
        1,
    ),
    "a line that is joined to a name and lost digits": (
        "00000000-00000fff : Reserved  00001000-09fbff : System RAM\n",
        1,
    ),
    "a line that is joined to a name and lost its dash": (
        "40000000-7fffffff : some device   5000000005fffffff : System RAM (kmem)\n",
        1,
    ),
    "a line that is joined and has no name": ("00000000-00000fff : 00001000-0009fbff:\n", 1),
    "a remark in place of a name": ("00000000-00000fff : Reserved\n00001000-0009fbff: /* 0x280000000 */\n", 2),
    "a mark behind a coloured name": (LISTING.replace("RAM (virtio_mem)", "[31mRAM[0m (virtio_mem) …"), 7),
    "a remark that is cut": (f"{LISTING}#", 8),
    "an elision in a remark": (LISTING.replace("80000000-8000ffff : Reserved", "# ... # wasted"), 4),
    "a joined line that lost a digit": (LISTING.replace("\n", " ").replace("100000000-13f", "0000000-13f") + "\n", 1),
    "scissors": (LISTING.replace("Kernel code", "Kernel code --8<--"), 3),
    "lines skipped, in words": (LISTING.replace(" Reserved", " Reserved [20 lines skipped]"), 4),
    "a joined line that breaks": (
        LISTING.replace("\n80", "80").replace("\n100000000-13fffffff", "                  100000000-13ff\nfffff"),
        3,
    ),
    "a joined line without its name": (
        LISTING.replace("Reserved\n1", "Reserved1").replace("13fffffff : System RAM\n", "13fffffff :"),
        4,
    ),
    "a line that is not a resource": (LISTING.replace("13fffffff : ", "13fffffff ~ "), 5),
    "an end that is cut": (LISTING[: LISTING.index(" RAM (virtio_mem)")], 7),
    "a half line": (LISTING.replace("13fffffff : System RAM", "13f"), 5),
    "a line commented out": (LISTING.replace("100000000-13f", "# 100000000-13f"), 5),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_where_something_may_be_missing_every_sum_is_at_least(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, line = LOSSES[kind]
    with pytest.raises(ListingError, match=r"\(--lenient ") as refused:
        repair.read(text, source="map", lenient=False)
    assert refused.value.line == line
    (tmp_path / "map").write_text(text)
    assert main(["iomem", "--lenient", "--ram", "-b", str(tmp_path / "map")]) == 64
    out, err = capsys.readouterr()
    said = out.splitlines()[-1].partition(" at least ")
    assert said[0].split() == ["total", said[0].split()[-1]]
    assert int(said[2]) <= RAM
    assert "it has at least what was read" in err


VERBS = {
    "iomem --ram": ("boot or DIMM       3  at least 3G", 64),
    "iomem check": ("! something of the map may be missing: every count is at least what is shown", 64),
    "kdump": ("kernel: 2 ranges, 3G of what was read; excluded: 0x0-0xfffff", 64),
    "kdump --as kexec-tools": ("ranges, 3G of what was read; excluded:", 64),
    "kdump --compare": ("kernel: 2 ranges, 3G of what was read", 64),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_says_in_text_and_json_that_something_may_be_missing(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map").write_text(f"{LISTING.partition('140000000')[0]}[...]\n")
    words, code = VERBS[verb]
    assert main([*verb.split(), "--lenient", str(tmp_path / "map")]) == code
    assert words in capsys.readouterr().out
    assert main([*verb.split(), "--lenient", "--json", str(tmp_path / "map")]) == code
    value = json.loads(capsys.readouterr().out)
    assert value.get("at-least", value.get("kernel", {}).get("at-least")) is True


def test_picture_and_comparison_of_a_partial_map_are_partly_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, whole, svg = (tmp_path / name for name in ("part", "whole", "a.svg"))
    part.write_text(f"{LISTING}[...]\n")
    whole.write_text(LISTING)
    assert main(["map", "--lenient", str(part), "--svg", str(svg)]) == 64
    assert "at least 7 resources, " in svg.read_text()
    assert main(["iomem", "diff", "--lenient", str(part), str(whole)]) == 64
    assert main(["iomem", "diff", "--lenient", "--json", str(part), str(whole)]) == 64
    assert json.loads(capsys.readouterr().out) == {"changes": [], "at-least": True}


# -- what is not damage ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [LISTING[:-1], LISTING.replace("virtio", "odd")[:-1], f"{LISTING}340000000-3ffffffff : virtio0"]
)
def test_a_whole_last_line_needs_no_newline(text: str) -> None:
    for lenient in (False, True):
        reading = repair.read(text, source="map", lenient=lenient)
        assert (iomem.dumps(reading.tree), reading.repairs, reading.at_least) == (f"{text}\n", [], False)


def test_blanks_that_linux_2_4_leaves_behind_names_come_back() -> None:
    text = "00100000-0fffffff : System RAM\nfeaf8000-feafbfff : PCI device 8086:2448 (Intel Corp. 82801 \n"
    for lenient in (False, True):
        reading = repair.read(text, source="map", lenient=lenient)
        assert (iomem.dumps(reading.tree), reading.repairs) == (text, [])
    damaged = repair.read(f"?\n{text}", source="map", lenient=True)
    assert iomem.dumps(damaged.tree) == text, "damage elsewhere takes nothing from them"


@pytest.mark.parametrize(
    "name",
    [
        *(
            "PCI Bus #0d",
            "PCI device 10b9:1647 (Acer Laboratories Inc. [ALi]) (#2)",
            "28005000... : 28009000.i2s i2s@28009000",
        ),
        *("System RAM (kmem)               144M Wasted (????)", "megasas: LSI", "**redacted binary garbage**"),
        *("\x1b[31mred", "My System RAM, sort of", "MSFT0101:00", "spi-0 // cnfg", "Kernel text"),
    ],
)
def test_names_that_linux_may_print_are_left_alone(name: str) -> None:
    text = f"00100000-0fffffff : System RAM\n10000000-1fffffff : {name}\n"
    for lenient in (False, True):
        reading = repair.read(text, source="map", lenient=lenient)
        assert (iomem.dumps(reading.tree), reading.repairs) == (text, [])


def test_mark_behind_a_name_that_no_sum_goes_by_stays_and_makes_every_sum_at_least() -> None:
    text = LISTING.replace("virtio0", "a device...")
    for lenient in (False, True):
        reading = repair.read(text, source="map", lenient=lenient)
        assert (iomem.dumps(reading.tree), reading.at_least, reading.repairs) == (text, True, [])
        assert "map:6: what looks like a mark behind a name that lines are missing" in next(reading.told("map"))


def test_range_that_linux_gives_no_name_is_read_and_said() -> None:
    text = "e804b000-e804bfff : \n100000000-13fffffff : System RAM\n"
    reading = repair.read(text, source="map", lenient=False)
    assert (iomem.dumps(reading.tree), reading.repairs, reading.at_least) == (text, [], True)
    assert "a range has no name: whether it is RAM is not known" in next(iter(reading.told("map")))


def test_remark_behind_a_name_that_no_sum_goes_by_stays_and_is_said() -> None:
    text = "00100000-0fffffff : System RAM\n180000000-1ffffffff : Soft Reserved  ### 2 hmem nodes\n"
    reading = repair.read(text, source="map", lenient=False)
    assert (iomem.dumps(reading.tree), reading.at_least) == (text, False)
    assert list(reading.told("map")) == [
        "map:2: what looks like a remark behind a name, kept as part of it: no total goes by it"
    ]
