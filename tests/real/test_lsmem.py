"""`virtiomem blocks` next to util-linux' lsmem, on the same files, byte by byte."""

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.real.needs import require
from virtiomem.cli.main import main
from virtiomem.live.export import export_sysroot
from virtiomem.recording.values import MemoryBlock, Snapshot

pytestmark = [pytest.mark.real, pytest.mark.usefixtures("lsmem_is_here")]

SEEDS = range(60)
LSMEM_COLUMNS = ("range", "size", "state", "removable", "block", "node", "zones")


@pytest.fixture(scope="module")
def lsmem_is_here() -> None:
    require("lsmem", "util-linux")


def random_blocks(rng: random.Random, block: Any) -> list[Any]:
    """Blocks with all that lsmem treats specially; the first is memory0, without which 2.38 shows no zones."""
    blocks, number = [], 0
    with_nodes = rng.random() < 0.7
    for _ in range(rng.randint(1, 40)):
        zones = rng.choice(("none", "DMA32", "Movable", "Movable", "Normal Movable", "Movable Normal", "Foo", ""))
        state = rng.choice(("online",) * 6 + ("offline", "offline", "going-offline", "odd"))
        nodes = (rng.choice((0, 0, 1)),) if with_nodes else ()
        blocks.append(block(number, state, rng.choice("1110"), zones, nodes))
        number += rng.choice((*(1,) * 8, 2, 300, 70_000))
    return blocks


def random_options(rng: random.Random) -> list[str]:
    options = [option for option in ("-b", "-n") if rng.random() < 0.3]
    options += rng.choice(([], [], ["-J"], ["-r"], ["-P"], ["--summary=only"], ["--summary=never"]))
    if rng.random() < 0.7:
        options += ["-o", rng.choice(("", "+")) + ",".join(rng.sample(LSMEM_COLUMNS, rng.randint(1, 5)))]
    return options + rng.choice(([], [], ["-a"], ["-S", rng.choice(("none", "node", "zones,state", "removable"))]))


def lsmem(root: Path, options: list[str], program: str = "lsmem") -> str:
    command = [program, "--sysroot", str(root), *options]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={"LC_ALL": "C"}).stdout


@pytest.mark.parametrize("seed", SEEDS)
def test_output_equals_lsmem(seed: int, make_sysfs: Any, block: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    root = make_sysfs(random_blocks(rng, block), rng.choice(("8000000", "40000000", "80000000", "100000")))
    for _ in range(4):
        options = random_options(rng)
        assert main(["blocks", "--sysroot", str(root), *options]) == 0
        assert capsys.readouterr().out == lsmem(root, options), options


@pytest.mark.skipif(not Path("/sys/devices/system/memory").is_dir(), reason="this kernel has no memory blocks")
@pytest.mark.parametrize("options", [[], ["-J"], ["-J", "-b", "-a", "-o", "+node,zones"], ["-r", "-S", "zones"]])
def test_output_equals_lsmem_on_this_machine(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blocks", *options]) == 0
    assert capsys.readouterr().out == lsmem(Path("/"), options)


def snapshot_of_many_blocks(count: int) -> Snapshot:
    """Boot memory, then virtio-mem's: runs of blocks in all states on two nodes, with holes between them."""
    rng = random.Random(count)
    blocks, number = [MemoryBlock(block=0, state="online", valid_zones="none", nodes=[0])], 1
    while len(blocks) < count:
        state, zones = rng.choice((("online", "Movable"), ("online", "Normal"), ("offline", "Normal Movable")))
        node = rng.randrange(2)
        for _ in range(min(rng.randint(1, 400), count - len(blocks))):
            blocks.append(MemoryBlock(block=number, state=state, valid_zones=zones, nodes=[node]))
            number += 1
        number += rng.choice((0, 0, 1, 1000))
    return Snapshot(iomem="00000000-00000fff : Reserved\n", memory_blocks=blocks, zones={}, devices=[])


@pytest.fixture
def memory_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: a disk takes a minute for 80 000 small files."""
    shm = Path("/dev/shm")  # noqa: S108 - for its speed, with a name of its own below
    with TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else tmp_path) as name:
        yield Path(name)


def test_lsmem_reads_what_we_export(memory_directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """10 000 blocks; VIRTIOMEM_BLOCKS says how many instead."""
    snapshot = snapshot_of_many_blocks(int(os.environ.get("VIRTIOMEM_BLOCKS", "10000")))
    export_sysroot(snapshot, 128 << 20, memory_directory)
    for options in (["-J", "-b", "-o", ",".join(LSMEM_COLUMNS)], ["--all"]):
        assert main(["blocks", "--sysroot", str(memory_directory), *options]) == 0
        assert capsys.readouterr().out == lsmem(memory_directory, options)


LISTINGS = sorted(Path(os.environ.get("VIRTIOMEM_SHARED", Path(__file__).parents[3] / "shared")).glob("iomem/*.lsmem"))


@pytest.mark.skipif(not LISTINGS, reason="NO ../shared: other people's lsmem listings are read in place")
@pytest.mark.parametrize("path", LISTINGS, ids=lambda path: path.stem)
def test_table_equals_lsmem_on_other_machines(
    path: Path, make_sysfs: Any, block: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their blocks, laid out as files, make their table again (arm64, powerpc, s390x); their summary may be newer."""
    theirs, _, summary = path.read_text().partition("\n\n")
    blocks = []
    for line in theirs.splitlines()[1:]:
        _, _, state, removable, numbers = line.split()
        first, _, last = numbers.partition("-")
        numbered = range(int(first), int(last or first) + 1)
        blocks += [block(number, state, "1" if removable == "yes" else "0") for number in numbered]
    size = {"1G": "40000000", "128M": "8000000"}[summary.split()[3]]
    assert main(["blocks", "--sysroot", str(make_sysfs(blocks, size)), "--summary=never"]) == 0
    assert capsys.readouterr().out.rstrip("\n") == theirs


STYLES: tuple[list[str], ...] = (
    [],
    ["-J"],
    ["-P"],
    ["-r"],
    ["-b"],
    ["-a"],
    ["-J", "-a", "-b"],
    ["--summary=never"],
    ["-o", "+node,zones"],
    ["-r", "-o", "+zones"],
)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("style", STYLES, ids=" ".join)
def test_what_lsmem_prints_is_read_back(
    style: list[str], seed: int, make_sysfs: Any, block: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(seed)
    blocks = [one for one in random_blocks(rng, block) if one.state != "odd"]
    root = make_sysfs(blocks or [block(0)], rng.choice(("8000000", "40000000")))
    printed = tmp_path / "printed"
    printed.write_text(lsmem(root, style))
    shown = ["-o", "range,size,state,block", "-S", "state"]
    assert main(["blocks", "--from", "lsmem", str(printed), *shown]) == 0
    assert capsys.readouterr().out == lsmem(root, shown)
