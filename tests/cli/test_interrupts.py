"""Ctrl-C, verb by verb: exit code 130, and one line that says what was being done and what is left in which state."""

import asyncio
import io
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from virtiomem.cli.main import main
from virtiomem.vm import commands

EXAMPLES = Path(__file__).parents[2] / "examples"
SCENARIO = str(EXAMPLES / "two-nodes.toml")
INTERRUPTING = "sh -c 'read request; kill -INT $PPID; read request'"
"""A device of a program that, at the first request, does what Ctrl-C would."""


class _Interrupting(io.StringIO):
    """Standard output whose reader presses Ctrl-C once `words` have come."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def write(self, text: str) -> int:
        written = super().write(text)
        if self._words and self._words in self.getvalue():
            self._words = ""
            os.kill(os.getpid(), signal.SIGINT)
        return written


def interrupted(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(list(argv)) == 130
    return capsys.readouterr().err


def interrupted_at(words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *argv: str) -> str:
    with monkeypatch.context() as context:
        context.setattr(sys, "stdout", _Interrupting(words))
        assert main(list(argv)) == 130
    return capsys.readouterr().err


def test_run_says_at_which_step_and_that_no_recording_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "out.json"
    err = interrupted_at(" 2  resize vm0", capsys, monkeypatch, "run", SCENARIO, "--record", str(record))
    assert err == f"virtiomem: interrupted: step 2 of 4: resize vm0 to 2G; {record} was not written\n"
    assert list(tmp_path.iterdir()) == []


def test_device_check_says_at_which_rule(capsys: pytest.CaptureFixture[str]) -> None:
    err = interrupted(capsys, "device", "check", "--rule", "CFG-1", "--command", INTERRUPTING)
    assert err.startswith("virtiomem: interrupted: CFG-1: ")
    assert err.endswith("; no report was made\n")


def test_device_fuzz_says_that_its_figures_are_of_what_was_compared(capsys: pytest.CaptureFixture[str]) -> None:
    err = interrupted(capsys, "device", "fuzz", "--command", INTERRUPTING)
    assert err == "virtiomem: interrupted: starting the device; the figures are of what was compared\n"


def test_what_only_reads_has_nothing_to_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    err = interrupted_at("System RAM", capsys, monkeypatch, "iomem", str(EXAMPLES / "guest.capture"))
    assert err == "virtiomem: interrupted\n"


def test_vm_says_that_no_machine_was_touched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    err = interrupted_at("two-nodes", capsys, monkeypatch, "vm", "list", "-c", f"sim:{SCENARIO}")
    assert err == "virtiomem: interrupted: no machine was touched\n"


@pytest.mark.parametrize(("burst", "cancelled"), [(PATIENCE, 1), (0.0, 2)], ids=["one burst", "one after the other"])
def test_signals_of_one_burst_are_one_interrupt_and_a_later_one_is_another(
    burst: float, cancelled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`timeout 5 virtiomem vm resize …` signals twice, and the report must come all the same."""
    monkeypatch.setattr(commands, "BURST_SECONDS", burst)

    async def interrupts() -> int:
        heard = 0
        with commands.cancelled_by_interrupt():
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
                try:
                    await asyncio.sleep(0.05)
                except asyncio.CancelledError:
                    heard += 1
        return heard

    assert asyncio.run(interrupts()) == cancelled
