"""Show on stderr what is going on: only when it takes a while, on a terminal gone when it is over, in a log where that
is wished.

An interrupt says it everywhere: what was being done, and what is left of it.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from virtiomem.text import printable

if TYPE_CHECKING:
    from threading import Timer

    from rich.console import Console
    from rich.status import Status

PATIENCE = 0.3
"""Seconds before anything is shown: what is done sooner needs no saying."""
LOG_PATIENCE = 10.0
"""Seconds before a log has a line of it."""


class StatusLine:
    """A line that says what is being done; where stderr is not a terminal it is silent, or with `logs` a line that stays.

    `leaves` are the words for what an interrupt leaves in which state; the KeyboardInterrupt carries them to `cli.main`.
    """

    def __init__(self, leaves: str = "", console: "Console | None" = None, *, logs: bool = False) -> None:
        self._leaves, self._words, self._logs = leaves, "", logs
        self._console = console
        self._waiting: Timer | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
        # With words an inner line has spoken: it knows better what was being done.
        if isinstance(error, KeyboardInterrupt) and not error.args:
            raise KeyboardInterrupt("; ".join(filter(None, (self._words, self._leaves)))) from None

    def say(self, words: str) -> None:
        """Show these words, if it takes long enough, until something else is said."""
        self.clear()
        self._words = words
        terminal = sys.stderr.isatty() if self._console is None else self._console.is_terminal
        if terminal or self._logs:
            # Not above: a command that shows nothing starts sooner.
            from threading import Lock, Timer

            self._lock = Lock()
            patience, show = (PATIENCE, self._show) if terminal else (LOG_PATIENCE, self._log)
            self._waiting = Timer(patience, show, [words])
            # The process must not stay alive for a line that it would show after its end.
            self._waiting.daemon = True
            self._waiting.start()

    def _show(self, words: str) -> None:
        """On the timer's thread: patience is over, unless the line was cleared meanwhile."""
        from threading import current_thread

        from rich.console import Console
        from rich.text import Text

        console = self._console or Console(stderr=True, highlight=False, markup=False, emoji=False)
        with self._lock:
            # cancel() comes too late for a timer that has fired and waits for the lock: it finds another timer here, or
            # None.
            if self._waiting is current_thread():
                self._status = console.status(Text(printable(words)))
                self._status.start()

    def _log(self, words: str) -> None:
        """On the timer's thread, as `_show`."""
        from threading import current_thread

        with self._lock:
            if self._waiting is current_thread():
                sys.stderr.write(f"virtiomem: {printable(words)}\n")

    def clear(self) -> None:
        """Take the line away, so that something can be printed."""
        # Without a timer nothing is shown, nor will be.
        if self._waiting is None:
            return
        with self._lock:
            self._waiting.cancel()
            self._waiting = None
            if self._status is not None:
                self._status.stop()
                self._status = None
