import pytest

from virtiomem.errors import ListingError, UsageError, VirtiomemError
from virtiomem.text import MAX_LINE, clipped, one_line, printable, quoted, shown, sound

HOSTILE = [
    "\x00\x07\x08\x1b[2J\x7f",
    "\x85\x9b31m\x9d",
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "\u2028\u2029\r\n\v\f",
    "\ud800\udfff\udcff",
    "\u00a0\u00ad\u200b\ufeff\U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_would_obey_is_shown(text: str) -> None:
    for made in (printable(text), quoted(text), shown(text), one_line(text), str(VirtiomemError(text))):
        assert made.isprintable()
        made.encode("utf-8")


def test_escape_tells_which_character_it_was() -> None:
    assert printable("a\x1b\u202e\U000e0041\ud800") == r"a\x1b\u202e\U000e0041\ud800"
    assert printable("\udcff") == r"\xff"  # a byte of a file name that is not UTF-8


def test_printable_text_stays_as_it_is() -> None:
    assert printable("System RAM (virtio_mem) 日本 é") == "System RAM (virtio_mem) 日本 é"


@pytest.mark.parametrize("make", [clipped, shown, quoted, one_line])
@pytest.mark.parametrize("text", ["x" * 10**6, "\x1b" * 10**6, "\U000e0041" * 10**6, "\n" * 10**6, "'\"" * 10**6])
def test_text_without_end_is_cut_in_the_middle(make: type[str], text: str) -> None:
    assert len(make(f"first{text}last")) <= MAX_LINE
    assert "first" in make(f"first{text}last")
    assert "last" in make(f"first{text}last")


def test_text_of_just_the_limit_is_whole() -> None:
    assert clipped("x" * 80, 80) == "x" * 80
    assert len(clipped("x" * 81, 80)) == 80


def test_error_is_one_line_with_the_culprit_and_the_cure() -> None:
    error = ListingError(f"{'f' * 10**6} is not a 64-bit address (cure)", line=7, source="some.iomem")
    assert len(str(error)) <= MAX_LINE
    assert str(error).startswith("some.iomem:7: ffff")
    assert str(error).endswith("is not a 64-bit address (cure)")
    assert str(UsageError("two\nlines")) == "two lines"


def test_sound_text_can_be_written() -> None:
    assert sound("a\udcffb") == "a?b"
