"""Our end of the agent's line, against a peer that does not behave: a real process with real sockets, no guest."""

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.waiting import PATIENCE
from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.guest.linux import shell_agent as agent_module
from virtiomem.guest.linux.serial_console import Console
from virtiomem.guest.linux.shell_agent import ShellAgent
from virtiomem.qemu import QemuProcess

PEER = """
import re, socket, sys
fds = dict(re.search(r"id=(\\w+),fd=(\\d+)", word).groups() for word in sys.argv if "fd=" in word)
agent, console = (socket.socket(fileno=int(fds[name])) for name in ("agent", "console"))
line = lambda: agent.makefile("rb").readline().decode().split()
def stay():
    while agent.recv(4096): pass
"""

Start = Callable[[str], ShellAgent]


@pytest.fixture
def start() -> Iterator[Start]:
    """Run a peer's script and give our end of its line."""
    peers: list[QemuProcess] = []

    def run(script: str) -> ShellAgent:
        peers.append(QemuProcess(["-I", "-S", "-c", PEER + script], binary="python3", sockets=["agent", "console"]))
        return ShellAgent(peers[-1], Console())

    yield run
    for peer in peers:
        peer.close()


def test_an_answer_is_what_stands_between_its_marks(start: Start) -> None:
    agent = start(
        "agent.send(b'hello 2 6.1.0-x 4096\\n'); seq, verb, *rest = line()\n"
        "agent.send(f'<{seq}\\n{verb} {rest}\\n>{seq} 3\\n'.encode()); stay()"
    )
    assert agent.wait_for_hello(PATIENCE) == ("6.1.0-x", 4096)
    reply = agent.ask("load", "a=1", "b", doing="testing", timeout=PATIENCE)
    assert (reply.text, reply.status) == ("load ['a=1', 'b']\n", 3)


def test_silence_is_a_timeout_with_the_consoles_last_lines(start: Start) -> None:
    agent = start("console.send(b'[    1.0] waiting for godot\\n'); agent.send(b'hello 2 6.1 4096\\n'); stay()")
    agent.wait_for_hello(PATIENCE)
    with pytest.raises(BackendTimeout, match=r"did not answer within 0\.1 s while loading; .*waiting for godot"):
        agent.ask("load", doing="loading", timeout=0.1)


def test_a_panic_is_reported_at_once_with_its_last_lines(start: Start) -> None:
    agent = start(
        "console.send(b'BUG: bad\\nKernel panic - not sync')\nconsole.send(b'ing: Fatal exception\\n---[ end'); stay()"
    )
    with pytest.raises(BackendError, match=r"panicked while booting: BUG: bad \\| Kernel panic - not syncing: Fatal"):
        agent.wait_for_hello(PATIENCE)


def test_a_flood_on_the_line_is_cut_off(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_module, "REPLY_LIMIT", 1 << 20)
    agent = start("line()\nwhile True: agent.send(b'x' * 65536)")
    with pytest.raises(BackendError, match="sent more than 1048576 bytes while looking"):
        agent.ask("snapshot", doing="looking", timeout=PATIENCE)


def test_a_flood_on_the_console_does_not_keep_an_answer_from_coming(start: Start) -> None:
    agent = start("line(); agent.send(b'<1\\n\\n>1 0\\n')\nwhile True: console.send(b'x' * 65536)")
    assert agent.ask("unload", doing="testing", timeout=PATIENCE).status == 0


@pytest.mark.parametrize("answer", ["junk\\n<1\\n\\n>1 0\\n", "\\n>1 0\\n", "<2\\n\\n>1 0\\n"])
def test_an_answer_out_of_order_is_refused(start: Start, answer: str) -> None:
    agent = start(f"line(); agent.send(b'{answer}'); stay()")
    with pytest.raises(ProtocolError, match="out of order while testing"):
        agent.ask("load", doing="testing", timeout=PATIENCE)


def test_an_agent_of_another_version_is_refused(start: Start) -> None:
    with pytest.raises(ProtocolError, match="speaks version 3"):
        start("agent.send(b'hello 3 6.1 4096\\n'); stay()").wait_for_hello(PATIENCE)


def test_a_peer_that_dies_is_reported_by_signal(start: Start) -> None:
    agent = start(f"import os; line(); os.kill(os.getpid(), {int(signal.SIGKILL)})")
    with pytest.raises(BackendError, match="QEMU was killed by SIGKILL while resizing"):
        agent.ask("snapshot", doing="resizing", timeout=PATIENCE)


def test_a_question_is_one_line(start: Start) -> None:
    with pytest.raises(ValueError, match="one line"):
        start("stay()").ask("sh", "a\nb", doing="testing", timeout=1)


def test_waiting_reads_along(start: Start) -> None:
    agent = start("console.send(b'Kernel panic - not syncing: later\\n'); stay()")
    with pytest.raises(BackendError, match="panicked while waiting"):
        agent.follow(PATIENCE, "waiting")


@pytest.mark.long
def test_guest_that_sleeps_is_nudged_until_it_answers(start: Start) -> None:
    agent = start(
        "agent.send(b'hello 2 6.12 4096\\n'); heard = agent.makefile('rb')\n"
        "seq = heard.readline().split()[0].decode(); assert heard.readline() == b'\\n'\n"
        "agent.send(f'<{seq}\\n\\n>{seq} 0\\n'.encode()); stay()"
    )
    agent.wait_for_hello(PATIENCE)
    reply = agent.ask("suspend", "idle", doing="sleeping", timeout=PATIENCE, each_second=agent.nudge)
    assert (reply.text, reply.status) == ("", 0)
