"""A workload on a real guest, as `virtiomem calibrate` runs it, and the defaults that the kept observations give."""

from pathlib import Path

import pytest

from virtiomem.cli.main import main
from virtiomem.guest.linux import Setup
from virtiomem.sweep.calibrate import DEFAULTS, ShrinkFigures, calibrate
from virtiomem.sweep.observe import DEVICE, load, observe
from virtiomem.units import MiB

pytestmark = pytest.mark.real
KEPT = Path(__file__).parents[1] / "data" / "calibration"


def test_a_buffer_of_the_kernels_own_is_seen_and_gone_when_it_is_freed(setup: Setup) -> None:
    seen = observe("buffer", setup)
    figures = ShrinkFigures.observed(seen)
    assert 250 * MiB < seen.unmovable < 280 * MiB
    assert 120 < figures.held < 140
    assert figures.left < figures.held
    assert DEVICE.max_size - 64 * MiB < seen.came_back < DEVICE.max_size


def test_a_missing_qemu_is_named(setup: Setup, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kernel = ["--kernel", str(setup.kernel)] + (["--modules", str(setup.modules)] if setup.modules else [])
    assert main(["calibrate", "slab", "--accel", "tcg", *kernel, "--qemu", str(tmp_path / "none")]) == 1
    printed = capsys.readouterr()
    assert str(tmp_path / "none") in printed.err
    assert len(printed.err.splitlines()) == 1


def test_the_defaults_are_what_the_kept_observations_give() -> None:
    assert calibrate([one for path in KEPT.glob("*.json") for one in load(path)]).fitted == DEFAULTS
