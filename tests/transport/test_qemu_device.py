"""A machine whose QEMU is a script: it speaks QMP well, and qtest as a test wants."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from virtiomem.errors import VirtiomemError
from virtiomem.transport.qemu_device import QemuMachine

QEMU = """#!{python} -IS
import json, re, socket, sys, time

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
        ("qtest.sendall(b'\\xff\\xfe\\n'); time.sleep(9)", "qtest: QEMU said"),
        ("qtest.sendall(b'ERR no\\n'); time.sleep(9)", "was refused: ERR no"),
        ("sys.exit(3)", "exited with code 3 while answering qtest"),
        (
            "qtest.sendall(b'OK\\n'); say(**{'return': 7, 'id': json.loads(qmp.recv(4096))['id']}); time.sleep(9)",
            "with 7",
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
