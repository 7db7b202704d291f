import io

import pytest
from rich.console import Console

from tests.waiting import wait_until
from virtiomem import status_line
from virtiomem.status_line import StatusLine


def terminal() -> tuple[io.StringIO, Console]:
    out = io.StringIO()
    return out, Console(file=out, force_terminal=True, width=80, highlight=False, markup=False)


def wait_for(out: io.StringIO, words: str) -> None:
    wait_until(lambda: words in out.getvalue(), out.getvalue)


def test_what_takes_long_is_said_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_line, "PATIENCE", 0.0)
    out, console = terminal()
    with StatusLine(console=console) as saying:
        saying.say("step 1 of 2")
        wait_for(out, "step 1 of 2")
        saying.say("step 2 of 2")
        wait_for(out, "step 2 of 2")
    assert out.getvalue().endswith("\x1b[2K")  # the line is gone
    assert "\x1b[?25h" in out.getvalue()  # and the cursor is back


def test_what_is_soon_over_is_not_said() -> None:
    out, console = terminal()
    with StatusLine(console=console) as saying:
        for number in range(100):
            saying.say(f"step {number}")
    assert out.getvalue() == ""


def test_nothing_is_said_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_line, "PATIENCE", 0.0)
    out = io.StringIO()
    with StatusLine(console=Console(file=out)) as saying:
        saying.say("step 1")
    assert out.getvalue() == ""


def test_a_log_has_a_line_of_what_takes_very_long(monkeypatch: pytest.MonkeyPatch) -> None:
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    with StatusLine(logs=True) as saying:
        saying.say("step 1")
        monkeypatch.setattr(status_line, "LOG_PATIENCE", 0.0)
        saying.say("step 2")
        wait_for(err, "step 2\n")
    assert err.getvalue() == "virtiomem: step 2\n"


def test_an_interrupt_carries_what_was_done_and_what_is_left() -> None:
    assert interrupt() == "step 1; nothing was written"
    assert interrupt("said further in") == "said further in"


def interrupt(*said: str) -> str:
    try:
        with StatusLine("nothing was written") as line:
            line.say("step 1")
            _interrupt(*said)
    except KeyboardInterrupt as told:
        return str(told)
    return "not interrupted"


def _interrupt(*said: str) -> None:
    raise KeyboardInterrupt(*said)
