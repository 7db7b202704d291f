"""What is read of a memory block is the same in every reader, the shell programs' among them."""

import re
from pathlib import Path

import virtiomem
from virtiomem.abi import READ_OF_BLOCKS
from virtiomem.live.block_lines import block_lines, read_blocks
from virtiomem.recording import MemoryBlock

SOURCE = Path(virtiomem.__file__).parent
BLOCKS = [MemoryBlock(block=number, state="online", valid_zones="Movable", nodes=[0]) for number in (3, 4, 5)] + [
    MemoryBlock(block=7, state="offline", valid_zones="Normal Movable", removable=0, nodes=[0, 1])
]


def test_blocks_that_are_written_read_back() -> None:
    lines = list(block_lines(BLOCKS))
    assert lines == ["3-5 online 1 0 Movable", "7 offline 0 0,1 Normal/Movable"]
    assert [block for line in lines for block in read_blocks(line, "x", room=9)] == BLOCKS


def test_the_guests_shell_program_reads_these_files() -> None:
    (line,) = re.findall(r"grep -s '' (memory\*/.*)", (SOURCE / "guest/linux/agent.sh").read_text())
    assert {word.removeprefix("memory*/") for word in line.split()} == set(READ_OF_BLOCKS)


def test_the_shell_program_that_captures_reads_these_files() -> None:
    assert set(re.findall(r'"\$memory/memory\$n/(\w+)"', (SOURCE / "live/capture.sh").read_text())) == set(
        READ_OF_BLOCKS
    )
