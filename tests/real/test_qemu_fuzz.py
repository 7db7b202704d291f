"""QEMU's device and ours make the same random moves, and answer alike."""

from pathlib import Path

import pytest

from virtiomem.cli.main import main
from virtiomem.conformance.replay import replay

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.usefixtures("qemu")]


@pytest.mark.proves("fuzzed seeds")
@pytest.mark.parametrize("seed", [1, 2])
def test_qemu_and_our_device_do_not_differ(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "log.jsonl.gz"
    assert main(["device", "fuzz", "--requests", "4000", "--seed", str(seed), "--log", str(kept)]) == 0
    assert "  differences  0" in capsys.readouterr().out
    outcome = replay(kept)
    assert (outcome.first, outcome.requests >= 4000) == (None, True)
