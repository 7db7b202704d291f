"""Run the benchmarks that docs/speed.md shows, and put what they print in place of what they printed.

python -m docs.speed [WORD …]     only those whose command has one of the words
"""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "speed.md"
ROOT = Path(__file__).parents[1]
SHOWN = re.compile(r"^\$ (?P<command>python benchmarks/.*)\n(?P<printed>(?:(?!\$ |```).*\n)*)", re.MULTILINE)
"""A command of a console block, and what it printed: up to the next command, or the end of the block."""


def shown_again(block: re.Match[str]) -> str:
    """A command with what it prints now."""
    command = block["command"]
    if sys.argv[1:] and not any(word in command for word in sys.argv[1:]):
        return block[0]
    words = [sys.executable, *command.split()[1:]]
    printed = subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603
    return f"$ {command}\n{printed}"


if __name__ == "__main__":
    PAGE.write_text(SHOWN.sub(shown_again, PAGE.read_text()))
