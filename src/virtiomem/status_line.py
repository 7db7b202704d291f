"""Show on stderr what is going on: on a terminal only, only when it takes a while, and gone when it is over.

An interrupt says it everywhere: what was being done, and what is left of it.
"""

import sys
from threading import Lock, Timer, current_thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from virtiomem.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

PATIENCE = 0.3
"""Seconds before anything is shown: what is done sooner needs no saying."""


class StatusLine:
    """A line that says what is being done; silent where stderr is not a terminal.

    `leaves` are the words for what an interrupt leaves in which state; the KeyboardInterrupt carries them to `cli.main`.
    """

    def __init__(self, leaves: str = "", console: "Console | None" = None) -> None:
        self._leaves, self._words = leaves, ""
        self._console = console
        self._lock = Lock()
        self._waiting: Timer | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        if isinstance(error, KeyboardInterrupt) and not error.args:
            raise KeyboardInterrupt("; ".join(filter(None, (self._words, self._leaves)))) from None

    def say(self, words: str) -> None:
        """Show these words, if it takes long enough, until something else is said."""
        self.clear()
        self._words = words
        if sys.stderr.isatty() if self._console is None else self._console.is_terminal:
            self._waiting = Timer(PATIENCE, self._show, [words])
            self._waiting.daemon = True
            self._waiting.start()

    def _show(self, words: str) -> None:
        """On the timer's thread: patience is over, unless the line was cleared meanwhile."""
        from rich.console import Console
        from rich.text import Text

        console = self._console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        with self._lock:
            if self._waiting is current_thread():
                self._status = console.status(Text(printable(words)))
                self._status.start()

    def clear(self) -> None:
        """Take the line away, so that something can be printed."""
        with self._lock:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None
            if self._status is not None:
                self._status.stop()
                self._status = None
