"""The crash header in memory against the map."""

import pytest

from virtiomem.kdump import standing_text
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.standing import Standing, is_kept
from virtiomem.releases.linux import LINUX
from virtiomem.units import GiB, MiB

BOOT = (MiB, GiB - 1)
LOW = (0x1000, 0x9FFFF)
COLUMNS = ["RAM", "AT-LOADING", "NOW", "AFTER-NEXT"]


def gib(first: int, last: int) -> tuple[int, int]:
    return first * GiB, last * GiB - 1


def words(standing: Standing) -> list[list[str]]:
    """The table's cells without the ranges."""
    standing.check()
    return [line.split()[1:] for line in standing_text.table(standing, headings=False).splitlines()]


def test_header_that_stays_as_it_was_lacks_what_came_since() -> None:
    standing = Standing([BOOT, gib(4, 6)], True, Loader.KERNEL, False, [BOOT, gib(4, 5)], [BOOT, gib(4, 5)])
    assert standing.missing == [gib(5, 6)]
    assert standing.gone == []
    assert words(standing) == [
        ["1023M", "yes", "yes", "yes", "yes"],
        ["1G", "yes", "yes", "yes", "yes"],
        ["1G", "yes", "-", "-", "-"],
    ]
    assert standing_text.lacks(standing).startswith("1G of RAM is not in the header, a crash loses it: load the crash")


def test_kept_header_is_one_removal_behind_and_the_next_event_puts_it_right() -> None:
    standing = Standing([BOOT, gib(4, 5)], True, Loader.KERNEL, True, [BOOT, gib(4, 7)], [BOOT, gib(4, 6)])
    assert (standing.missing, standing.gone, standing.after_next) == ([], [gib(5, 6)], standing.ram)
    assert words(standing)[2:] == [["1G", "-", "yes", "yes", "-"], ["1G", "-", "yes", "-", "-"]]
    assert standing_text.lacks(standing) == ""
    assert "1G in the header is RAM no more: no harm" in standing_text.said(standing, "Linux 6.12")[1]


def test_unknown_values_are_question_marks() -> None:
    standing = Standing([BOOT, gib(4, 6)], True, Loader.KERNEL, True, certain=[BOOT, gib(4, 5)])
    assert words(standing)[1:] == [["1G", "yes", "?", "yes", "yes"], ["1G", "yes", "?", "?", "yes"]]
    said = standing_text.said(standing, "Linux 6.12")
    assert said[1].startswith("what the header holds now is not known")
    assert said[2].startswith("1G of RAM, offline since it came, may not be in it")
    assert standing_text.values(standing, "Linux 6.12", [])["now"] is None


def test_neighbours_that_say_the_same_are_one_line() -> None:
    ram = [(GiB + at * MiB, GiB + (at + 1) * MiB - 1) for at in range(3)]
    assert len(words(Standing(ram, True, Loader.KERNEL, False, ram, ram))) == 1


def test_the_first_mebibyte_is_nobodys_loss() -> None:
    standing = Standing([BOOT], True, Loader.KEXEC_TOOLS, False, None, [LOW, BOOT])
    assert (standing.missing, standing.gone) == ([], [])


@pytest.mark.parametrize(
    ("version", "loader", "said", "kept"),
    [
        ("6.1", Loader.KERNEL, None, False),
        ("6.12", Loader.KERNEL, None, True),
        ("6.12", Loader.KEXEC_TOOLS, None, False),
        ("6.12", None, None, None),
        ("6.1", None, None, False),
        ("6.12", None, "1", True),
        ("6.12", Loader.KERNEL, "0", False),
        (None, Loader.KERNEL, None, None),
        (None, Loader.KEXEC_TOOLS, None, False),
    ],
)
def test_whether_a_header_is_kept_is_what_the_kernel_says_else_what_its_release_does(
    version: str | None, loader: Loader | None, said: str | None, kept: bool | None
) -> None:
    assert is_kept(None if version is None else LINUX.release(version), loader, said) is kept
