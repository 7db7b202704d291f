import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import ArgumentValueError
from virtiomem.units import (
    U64_MAX,
    GiB,
    MiB,
    Size,
    format_approx,
    format_duration,
    format_size,
    libvirt_unit,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("128M", 128 * MiB), ("2GiB", 2 * GiB), ("1.5G", 1536 * MiB), ("0x8000000", 128 * MiB), (4096, 4096)],
)
def test_size_is_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "1.3", "-1", "2Q", "0x10M", str(U64_MAX + 1), "0.0001K", "1 2"])
def test_bad_size_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="not a size") as caught:
        parse_size(text)
    assert repr(text) in str(caught.value)


@given(st.integers(0, U64_MAX))
def test_formatted_size_parses_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_approximate_size_is_short() -> None:
    assert [format_approx(n) for n in (0, 2 * GiB, 1536 * MiB, 654_336)] == ["0B", "2G", "1.5G", "639K"]


def test_a_kelvin_sign_is_no_k() -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size("1\N{KELVIN SIGN}")


@pytest.mark.parametrize(
    ("name", "size"),
    [("", 1024), ("b", 1), ("bytes", 1), ("KiB", 1024), ("k", 1024), ("KB", 1000), ("GiB", 1 << 30), ("tb", 10**12)],
)
def test_units_of_libvirt(name: str, size: int) -> None:
    assert libvirt_unit(name) == size


@pytest.mark.parametrize("name", ["furlongs", "iB", "ki", "KiBi", "1", " "])
def test_what_is_no_unit_of_libvirt(name: str) -> None:
    assert libvirt_unit(name) is None


def test_decimal_units_are_refused_with_the_size_to_write() -> None:
    with pytest.raises(ArgumentValueError, match=r"^not a size: '2gb' \(write 2G, which counts in powers of 1024\)$"):
        Size.parse("2gb")
    assert Size.parse("2Gi") == Size.parse("2 GiB") == 2 * GiB


def test_long_durations_are_minutes() -> None:
    assert [format_duration(seconds) for seconds in (1.4, 119.0, 120.0, 360.0)] == ["1 s", "119 s", "2 min", "6 min"]
