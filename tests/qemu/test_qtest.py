"""The qtest codec and its shell against scripted peers on a real socket pair."""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from tests.waiting import PATIENCE
from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.qemu import qtest
from virtiomem.qemu.qtest import Decoder, Irq, QTest

Answer = Callable[[str], bytes]


@pytest.fixture
def peer() -> Iterator[Callable[[Answer], QTest]]:
    """A session with a peer that answers each line as told; it hangs up when the answer is empty."""
    ours, theirs = socket.socketpair()
    threads: list[threading.Thread] = []

    def serve(answer: Answer) -> None:
        with theirs, theirs.makefile("rb") as lines:
            for line in lines:
                said = answer(line.decode().rstrip("\n"))
                if not said:
                    return
                theirs.sendall(said)

    def connect(answer: Answer) -> QTest:
        threads.append(threading.Thread(target=serve, args=(answer,)))
        threads[-1].start()
        return QTest(ours, timeout=PATIENCE)

    yield connect
    ours.close()
    for thread in threads:
        thread.join()
    theirs.close()


def test_lines_are_put_together_from_pieces() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"OK 0x")) == []
    assert list(decoder.feed(b"12\nIRQ raise 20\r\nOK\nIRQ lo")) == ["OK 0x12", Irq(20, True), "OK"]
    assert list(decoder.feed(b"wer 20\n")) == [Irq(20, False)]


@pytest.mark.parametrize("garbage", [b"\xff\xfe\n", b"HTTP/1.1 200 OK\n", b"IRQ melt 3\n", b"\n", b"OKAY\n"])
def test_what_no_qemu_says_is_refused(garbage: bytes) -> None:
    with pytest.raises(ProtocolError, match="qtest: QEMU said"):
        list(Decoder().feed(garbage))


def test_commands_are_the_protocols_lines() -> None:
    commands = [
        qtest.outl(0xCF8, 0x80000000),
        qtest.inl(0xCFC),
        qtest.readw(16),
        qtest.writeb(0x14, 3),
        qtest.read(0x1000, 24),
        qtest.write(0x1000, b"\x01\xab"),
        qtest.irq_intercept_in("ioapic"),
    ]
    assert [command.line for command in commands] == [
        "outl 0xcf8 0x80000000",
        "inl 0xcfc",
        "readw 0x10",
        "writeb 0x14 0x3",
        "read 0x1000 0x18",
        "write 0x1000 0x2 0x01ab",
        "irq_intercept_in ioapic",
    ]


def test_values_come_back_in_order_and_interrupts_are_counted(peer: Callable[[Answer], QTest]) -> None:
    answers = iter([b"OK\n", b"IRQ raise 20\nOK 0x00000000000000ff\n", b"IRQ lower 20\nIRQ raise 20\nOK 0xaabb\n"])
    session = peer(lambda _: next(answers))
    assert session.run([qtest.writew(0, 1), qtest.readb(0), qtest.read(0, 2)]) == [None, 255, b"\xaa\xbb"]
    assert (session.irqs, session.raised) == ({20: True}, {20: 2})


@pytest.mark.long
def test_a_large_batch_does_not_choke_either_side(peer: Callable[[Answer], QTest]) -> None:
    session = peer(lambda line: f"OK {line.split()[1]}\n".encode() + b"IRQ raise 1\n" * 5)
    assert session.run([qtest.readl(addr) for addr in range(30_000)]) == list(range(30_000))


def test_a_refused_command_is_reported_with_its_line(peer: Callable[[Answer], QTest]) -> None:
    session = peer(lambda _: b"FAIL Unknown command 'readb'\n")
    with pytest.raises(ProtocolError, match="'readb 0x10' was refused: FAIL Unknown command"):
        session.do(qtest.readb(16))


@pytest.mark.parametrize("answer", [b"OK\n", b"OK zz\n", b"OK 0x100\n", b"OK -1\n", b"OK 0x" + b"f" * 9999 + b"\n"])
def test_an_answer_of_the_wrong_kind_is_refused(peer: Callable[[Answer], QTest], answer: bytes) -> None:
    session = peer(lambda _: answer)
    with pytest.raises(ProtocolError, match="'readb 0x10' was answered"):
        session.do(qtest.readb(16))


@pytest.mark.parametrize("answer", [b"OK 0x01\n", b"OK 0x010203\n", b"OK 0x\n", b"OK 0xzzzz\n"])
def test_memory_of_another_size_than_asked_for_is_refused(peer: Callable[[Answer], QTest], answer: bytes) -> None:
    session = peer(lambda _: answer)
    with pytest.raises(ProtocolError, match="'read 0x1000 0x2' was answered"):
        session.do(qtest.read(0x1000, 2))


def test_an_interrupt_line_that_no_controller_has_is_refused(peer: Callable[[Answer], QTest]) -> None:
    session = peer(lambda _: b"IRQ raise " + b"9" * 5000 + b"\n")
    with pytest.raises(ProtocolError, match="QEMU said 'IRQ raise 9"):
        session.do(qtest.readb(16))


def test_a_value_where_none_belongs_is_refused(peer: Callable[[Answer], QTest]) -> None:
    session = peer(lambda _: b"OK 0x1\n")
    with pytest.raises(ProtocolError, match="was answered 'OK 0x1'"):
        session.do(qtest.writeb(16, 0))


def test_a_closed_socket_is_a_lost_qemu(peer: Callable[[Answer], QTest]) -> None:
    session = peer(lambda _: b"")
    with pytest.raises(BackendError, match="closed its qtest connection"):
        session.do(qtest.readb(16))


def test_silence_runs_into_the_time_limit() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(BackendTimeout, match=r"did not answer qtest within 0\.05 s"):
        QTest(ours, timeout=0.05).do(qtest.readb(16))


def test_interrupts_without_end_are_no_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, subprocess.Popen(["yes", "IRQ raise 1"], stdout=theirs.fileno()) as process:
        with pytest.raises(BackendTimeout, match=r"^QEMU did not answer qtest within 0\.5 s$"):
            QTest(ours, timeout=0.5).do(qtest.inl(0))
        process.kill()


def test_interrupts_do_not_prolong_the_time_for_an_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"IRQ raise 1\n" * 1000 + b"OK 0x1\n")
        with pytest.raises(BackendTimeout):
            QTest(ours, timeout=0).do(qtest.inl(0))


def test_a_line_without_end_is_cut_off_before_the_limit_of_time() -> None:
    ours, theirs = socket.socketpair()

    def talk() -> None:
        with theirs, suppress(OSError):
            while True:
                theirs.sendall(b"x" * (1 << 16))

    thread = threading.Thread(target=talk)
    with ours:
        thread.start()
        with pytest.raises(ProtocolError, match="a line of more than 67108864 bytes"):
            QTest(ours, timeout=PATIENCE).do(qtest.inl(0))
    thread.join()
