"""Every table at 80 columns, on a terminal: no line is wider, and what was left out is said."""

import fcntl
import json
import os
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from virtiomem.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"
CAPTURE, SCENARIO = str(EXAMPLES / "guest.capture"), str(EXAMPLES / "two-nodes.toml")
WIDTH = 80
LEFT_OUT = "left out for lack of room: "

Printed = Callable[..., list[str]]


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Printed]:
    """What a command prints on a terminal of that many columns, without the colours."""
    leader, follower = os.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")

    def printed(*argv: str, width: int = WIDTH) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        read = bytearray()

        def drain() -> None:
            while not read.endswith(b"\0"):
                read.extend(os.read(leader, 1 << 16))

        draining = Thread(target=drain)
        draining.start()
        with os.fdopen(os.dup(follower), "w", encoding="utf-8") as terminal, monkeypatch.context() as context:
            context.setattr(sys, "stdout", terminal)
            try:
                assert main(list(argv)) in {0, 1, 64}
            finally:
                terminal.flush()
                os.write(follower, b"\0")
                draining.join()
        return re.sub(r"\x1b\[[0-9;]*m", "", read[:-1].decode()).splitlines()

    yield printed
    os.close(leader)
    os.close(follower)


TABLES = {
    "blocks": ["blocks", CAPTURE],
    "blocks --by": ["blocks", "--by", "1G", CAPTURE],
    "blocks --devices": ["blocks", "--devices", CAPTURE],
    "blocks --devices in bytes": ["blocks", "--devices", "-b", CAPTURE],
    "capture --list": ["capture", "--list"],
    "device check": ["device", "check", "--rule", "CFG-1"],
    "iomem": ["iomem", CAPTURE],
    "iomem --flat": ["iomem", "--flat", CAPTURE],
    "iomem --ram": ["iomem", "--ram", CAPTURE],
    "iomem check": ["iomem", "check", CAPTURE],
    "kdump": ["kdump", CAPTURE],
    "kdump --compare": ["kdump", "--compare", CAPTURE],
    "plan": ["plan", "--memory", "4G", "--max", "64G"],
    "run": ["run", SCENARIO],
    "schema": ["schema"],
    "test": ["test", SCENARIO],
    "vm list": ["vm", "list", "-c", f"sim:{SCENARIO}"],
    "vm list in bytes": ["vm", "list", "-b", "-c", f"sim:{SCENARIO}"],
    "vm status": ["vm", "status", "-c", f"sim:{SCENARIO}"],
    "vm status in bytes": ["vm", "status", "-b", "-c", f"sim:{SCENARIO}"],
}


@pytest.mark.parametrize("argv", TABLES.values(), ids=TABLES)
def test_no_line_of_a_table_is_wider_than_the_terminal(argv: list[str], on_terminal: Printed) -> None:
    lines = on_terminal(*argv)
    assert lines
    assert [line for line in lines if len(line) > WIDTH] == []


def test_what_is_left_out_is_named_and_can_be_asked_for(
    on_terminal: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = ["vm", "list", "-c", f"sim:{SCENARIO}"]
    narrow = on_terminal(*listing)
    assert narrow[-1] == f"{LEFT_OUT}use (in --output LIST, --json)"
    assert "USE" not in narrow[0]
    assert "USE" in on_terminal(*listing, "-o", "device,use", width=20)[0], "what was asked for is shown, whole"
    assert on_terminal(*listing, width=120)[0].endswith("USE")
    main(listing)
    assert "USE" in capsys.readouterr().out.splitlines()[0], "a file or a program gets all"
    main([*listing, "--json"])
    assert json.loads(capsys.readouterr().out)["vms"][0]["devices"][0]["block-size"] == 2 << 20
