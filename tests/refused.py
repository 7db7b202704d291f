"""What no public call takes, for the state machines: they draw it, see it refused, and find nothing changed."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st

from virtiomem.build import is_compiled
from virtiomem.errors import ArgumentError

NUMBERS: tuple[Any, ...] = (1.5, float("nan"), float("inf"), -1, 1 << 64, 1 << 5000, True, None, "1", b"1", [1])
NAMES: tuple[Any, ...] = ("a\nb", "a\x1b[2J", "\u202e", "blank ", "\ud800", "x" * 256, b"a", None, 1)
numbers = st.sampled_from(NUMBERS)
names = st.sampled_from(NAMES)

REFUSALS = (ArgumentError, TypeError) if is_compiled() else (ArgumentError,)
"""Compiled code does not come to look at an argument of the wrong kind: Python has refused it, with a TypeError as well."""


def refused(call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Assert that a call is refused in the library's own words: one line that a terminal can show."""
    if is_compiled() and any(value is True for value in (*args, *kwargs.values())):
        return  # to compiled code, True is 1
    with pytest.raises(REFUSALS) as error:
        call(*args, **kwargs)
    assert isinstance(error.value, TypeError | ValueError)
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 300
