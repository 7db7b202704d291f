import errno
import io
from pathlib import Path

import pytest

from virtiomem.errors import BackendError, UsageError
from virtiomem.guest.linux.serial_console import FILE_LIMIT, KEPT, Console, open_file


def test_a_panic_is_found_even_when_it_arrives_in_pieces() -> None:
    console = Console()
    console.add(b"[    1.5] VFS: no root\r\n[    1.6] Kernel panic - not s")
    before = console.panicked
    console.add(b"yncing: no init\r\n[    1.7] ---[ end Kernel panic ]---\r\n")
    assert (before, console.panicked) == (False, True)
    assert console.last_words() == "VFS: no root | Kernel panic - not syncing: no init"


def test_last_words_are_few_printable_lines_without_time_stamps() -> None:
    console = Console()
    console.add(b"one\ntwo\n[   12.000001] three\x1b[31m\n\nfour\n")
    assert console.last_words() == "two | three?[31m | four"
    assert Console().last_words() == "nothing"


def test_last_words_are_those_of_this_step_and_not_of_the_boot() -> None:
    console = Console()
    console.add(b"[    0.9] Freeing unused kernel image\n[    1.0] Run /init as init process\n")
    console.take()
    assert console.last_words() == "nothing"
    console.add(b"[   31.5] Out of memory: Killed process 77 (dd)\n")
    assert console.last_words() == "Out of memory: Killed process 77 (dd)"


def test_a_flood_is_forgotten_in_memory_and_cut_in_the_file() -> None:
    file = io.BytesIO()
    console = Console(file)
    for _ in range(FILE_LIMIT // (1 << 20) + 2):
        console.add(b"x" * (1 << 20))
    assert len(console.last_words()) <= KEPT
    assert len(file.getvalue()) < FILE_LIMIT + 100
    assert b"the console was cut here" in file.getvalue()


def test_a_full_disk_is_reported_with_the_files_name(tmp_path: Path) -> None:
    class Full(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "console.log"
    console = Console(Full(path, "wb"))
    with pytest.raises(BackendError, match=r"console\.log: No space left on device"):
        console.add(b"hello")
    console.add(b"the guest goes on")


def test_a_file_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        open_file(str(tmp_path / "no" / "console"))


def test_whole_lines_are_taken_once() -> None:
    console = Console()
    console.add(b"[    1.000001] virtio_mem virtio0: plugged size: 0x0\n[    1.1] half")
    assert console.take() == ["virtio_mem virtio0: plugged size: 0x0"]
    console.add(b" a line\n")
    assert console.take() == ["half a line"]
    assert console.take() == []


@pytest.mark.parametrize(
    "line",
    [
        b"[   15.39] Out of memory: Killed process 187 (init) total-vm:2260kB, anon-rss:0kB",
        b"[   31.5] kworker/0:1: vmemmap alloc failure: order:9, mode:0x4cc0(GFP_KERNEL|__GFP_RETRY_MAYFAIL)",
        b"[   31.5] Kernel panic - not syncing: System is deadlocked on memory",
    ],
)
def test_a_kernel_without_memory_is_noticed_for_one_step(line: bytes) -> None:
    console = Console()
    console.add(b"[    1.0] Run /init as init process\n")
    before = console.starved
    console.add(line + b"\n")
    assert (before, console.starved) == (False, True)
    console.take()
    assert not console.starved
