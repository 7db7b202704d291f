"""Plans on real programs: what QEMU starts, and what a stock Linux does with what was planned."""

import subprocess
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from virtiomem.cli.main import main
from virtiomem.guest.linux import Setup
from virtiomem.planning import output
from virtiomem.planning.setup import plan
from virtiomem.planning.wishes import Wishes
from virtiomem.units import GiB

pytestmark = pytest.mark.real


@pytest.mark.on(linux="every")
@pytest.mark.parametrize(
    "wishes",
    ["--memory 1G --max 9G --step 4G --shrink 6G", "--memory 2G --max 6G --nodes 2 --shrink 4G --crashkernel 192M"],
)
def test_wish_comes_true_on_a_stock_linux(wishes: str, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    real = ["--prove", "linux", "--kernel", str(setup.kernel), "--qemu", str(setup.qemu), "--accel", setup.accel]
    assert main(["plan", *wishes.split(), *real]) == 0
    assert "plugged" in capsys.readouterr().err.splitlines()[-1]


def test_impossible_wish_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--memory", "512M", "--max", "64G", "--shrink", "63G", "--prove", "linux"]) == 2
    assert "at most 52352M of 64G can be kept in zone Movable" in capsys.readouterr().err


@pytest.mark.on(qemu="every")
@pytest.mark.parametrize("nodes", [1, 2])
def test_qemu_starts_what_is_printed(qemu: str, nodes: int, tmp_path: Path) -> None:
    words = output.qemu(plan(Wishes(memory=2 * GiB, maximum=8 * GiB, nodes=nodes)), str(tmp_path))
    command = [
        qemu,
        "-accel",
        "tcg",
        "-smp",
        str(nodes),
        "-S",
        "-display",
        "none",
        "-nodefaults",
        "-monitor",
        "stdio",
        *words,
    ]
    done = subprocess.run(
        command, input="info memory-devices\nquit\n", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Memory device [virtio-mem]") == nodes
    assert {path.name for path in tmp_path.iterdir()} <= {"monitor.sock", "agent.sock"}
