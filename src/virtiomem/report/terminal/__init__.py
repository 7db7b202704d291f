"""Recordings in a terminal: what changed after each step, and what it came to.

console.py      where lines go: colours on a terminal only, one width everywhere else
strip.py        memory blocks as a strip of characters
steps.py        one step: outcome, requests, map, blocks
totals.py       before and after: resources, RAM, blocks, zones, devices; listings side by side
view.py         a whole run, as it goes
status_line.py  what is being done, on stderr
verdicts.py     a conformance report, rule by rule
fuzzing.py      a fuzzing run, and the moves that show a difference
"""

from virtiomem.report.terminal.console import make_console
from virtiomem.report.terminal.status_line import StatusLine
from virtiomem.report.terminal.view import RunView, side_by_side

__all__ = ["RunView", "StatusLine", "make_console", "side_by_side"]
