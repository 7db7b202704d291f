"""A look at a live machine reads, and reads only what the table of sources names."""

import json
import os
import subprocess
import sys

import pytest

from virtiomem.live.sources import SOURCES

WATCHED = """
import json, sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append((str(args[0]), args[2])))
from virtiomem.cli.main import main
for command in ("iomem", "iomem check", "blocks", "kdump", "capture", "capture --pages"):
    main(command.split())
print("\\n" + json.dumps(opened))
"""
ELSEWHERE = ("/numa_node", "/sys/devices/system/node", "/proc/self/", "/dev/null", "/dev/tty")
"""Nodes of devices and of memory blocks, which lie next to them; and what Python itself opens."""


@pytest.mark.long
def test_commands_on_a_live_machine_open_the_sources_alone_and_only_for_reading() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, timeout=120, check=True)
    opened = json.loads(done.stdout.splitlines()[-1])
    machine = {path: flags for path, flags in opened if path.startswith(("/proc/", "/sys/", "/dev/"))}
    assert "/proc/iomem" in machine
    headings = tuple(f"/{source.heading}" for source in SOURCES)
    assert [path for path in machine if not path.startswith(headings) and not any(e in path for e in ELSEWHERE)] == []
    assert [
        path for path, flags in machine.items() if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    ] == []
