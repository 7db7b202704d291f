"""A machine whose QEMU is a script: it speaks QMP well, and qtest as a test wants."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from virtiomem.errors import BackendError, VirtiomemError
from virtiomem.transport.qemu_device import QemuMachine

QEMU = """#!{python} -IS
import json, re, socket, sys

def say(**message):
    qmp.sendall(json.dumps(message).encode() + b"\\n")

fds = dict(re.findall(r"id=(\\w+),fd=(\\d+)", " ".join(sys.argv)))
qmp, qtest = (socket.socket(fileno=int(fds[name])) for name in ("qmp", "qtest"))
say(QMP={{"version": {{}}, "capabilities": []}})
say(**{{"return": {{}}, "id": json.loads(qmp.recv(4096)).get("id")}})
qtest.recv(4096)
{then}
"""

Script = Callable[[str], str]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A program that does something when the first qtest command comes."""

    def write(then: str) -> str:
        path = tmp_path / "qemu"
        path.write_text(QEMU.format(python=sys.executable, then=then))
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("qtest.sendall(b'\\xff\\xfe\\n'); qtest.recv(1)", "qtest: QEMU said"),
        ("qtest.sendall(b'ERR no\\n'); qtest.recv(1)", "was refused: ERR no"),
        ("sys.exit(3)", "exited with code 3 while answering qtest"),
        (
            "qtest.sendall(b'OK\\n'); say(**{'return': 7, 'id': json.loads(qmp.recv(4096))['id']}); qtest.recv(1)",
            "is 7, not an object",
        ),
    ],
)
def test_a_start_that_fails_leaves_nothing_open(
    script: Script, caplog: pytest.LogCaptureFixture, then: str, words: str
) -> None:
    with pytest.raises(VirtiomemError, match=words):
        QemuMachine([], binary=script(then))
    gc.collect()  # an open connection would complain now
    assert caplog.records == []


@pytest.mark.parametrize(
    "words",
    [
        "Property 'memory-backend-ram.reserve' not found",
        "-object memory-backend-ram,id=boot,reserve=off: Property '.reserve' not found",
    ],
)
def test_a_qemu_without_the_properties_we_need_is_too_old(tmp_path: Path, words: str) -> None:
    old = tmp_path / "old"
    old.write_text(f'#!/bin/sh\necho "qemu-system-x86_64: {words}" >&2\nexit 1\n')
    old.chmod(0o755)
    with pytest.raises(BackendError, match=r"is too old, virtiomem needs QEMU 6\.1 or newer: Property '.*' not found$"):
        QemuMachine([], binary=str(old))
