"""What is going on, on stderr while it goes on: on a terminal only, and gone when it is over."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from virtiomem.report.terminal.console import text


class Progress:
    """A line that says what is being done; silent where stderr is no terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def say(self, words: str) -> None:
        """Show these words until something else is said."""
        self.clear()
        if self._console.is_terminal:
            self._status = self._console.status(text(words))
            self._status.start()

    def clear(self) -> None:
        """Take the line away, so that something can be printed."""
        if self._status is not None:
            self._status.stop()
            self._status = None
