"""`virtiomem blocks` beside util-linux' lsmem, on the same files, byte by byte."""

import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from virtiomem.cli.main import main

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        shutil.which("lsmem") is None and "CI" not in os.environ, reason="NO lsmem HERE: apt install util-linux"
    ),
]

SEEDS = range(60)
LSMEM_COLUMNS = ("range", "size", "state", "removable", "block", "node", "zones")


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


def lsmem(root: Path, options: list[str]) -> str:
    command = ["lsmem", "--sysroot", str(root), *options]
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
