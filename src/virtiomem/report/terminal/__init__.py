"""Recordings in a terminal: what changed after each step, and what it came to.

console.py      where lines go: colours on a terminal only, one width everywhere else
strip.py        memory blocks as a strip of characters
steps.py        one step: outcome, requests, map, blocks
totals.py       before and after: resources, RAM, blocks, zones, devices; listings side by side
view.py         a whole run, as it goes
verdicts.py     a conformance report, rule by rule
fuzzing.py      a fuzzing run, and the moves that show a difference
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtiomem.report.terminal.console import make_console
    from virtiomem.report.terminal.view import RunView, side_by_side

__all__ = ["RunView", "make_console", "side_by_side"]

# Imported when they are first used: every command has a status line, and few draw with rich.
_HOMES = {"RunView": "view", "make_console": "console", "side_by_side": "view"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
