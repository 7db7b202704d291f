from argparse import ArgumentTypeError

import pytest

from virtiomem.cli import arguments


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), (".5", 0.5), ("1ms", 0.001), ("1e-2", 0.01)],
)
def test_a_time_is_seconds_minutes_or_hours(text: str, seconds: float) -> None:
    assert arguments.seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["1_0s", " 5s", "0", "-1", "nan", "inf", "soon", "", "0.5ms", "ms", "s", "-5m", "nanh", "infs", "0.0001", "9999h"],
)
def test_what_is_not_a_time_to_wait_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"not a time: '{text}'"):
        arguments.seconds(text)


def test_a_size_has_a_unit_or_is_bytes() -> None:
    assert arguments.size("128M") == arguments.size("0x8000000") == arguments.size("134217728") == 128 << 20
    with pytest.raises(ArgumentTypeError, match="not a size: '12X'"):
        arguments.size("12X")


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "\u0663", "9" * 5000])
def test_what_counts_nothing_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="not a count"):
        arguments.positive(text)
    assert arguments.positive("10000") == 10_000


def test_an_address_is_decimal_or_hexadecimal() -> None:
    assert arguments.number("0xFFFFFFFFffffffff") == arguments.number("18446744073709551615") == (1 << 64) - 1
    assert arguments.number("0") == arguments.number("0x0") == 0


@pytest.mark.parametrize("text", ["0100", "-1", "ff", "0x", "1_0", "1 ", "", "\u0663", "18446744073709551616"])
def test_a_number_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not a number"):
        arguments.number(text)
