"""What lsmem of each release of util-linux prints, in every style, is read back as the memory blocks it was printed from."""

import random
from pathlib import Path
from typing import Any

import pytest

from tests.real.needs import found_lsmems, series
from tests.real.test_lsmem import lsmem, random_blocks
from virtiomem.cli.main import main
from virtiomem.live.export import export_sysroot
from virtiomem.live.load import memory_block_size
from virtiomem.recording import json_file

pytestmark = pytest.mark.real

RELEASES = ("2.36", "2.38", "2.41", "2.42")
"""Debian 11, 12, 13, and the newest; `make oracles` brings what is not installed."""
STYLES: dict[str, list[str]] = {
    "plain": [],
    "JSON": ["-J"],
    "pairs": ["-P"],
    "raw": ["-r"],
    "bytes": ["-b"],
    "each block": ["-a"],
    "JSON, each block, bytes": ["-J", "-a", "-b"],
    "raw, bytes": ["-r", "-b"],
    "no summary": ["--summary=never"],
    "a summary always": ["-r", "--summary=always"],
    "all columns": ["--output-all"],
    "all columns as pairs": ["-P", "--output-all"],
    "all columns as JSON": ["-J", "--output-all"],
    "nodes and zones": ["-o", "+node,zones"],
    "raw, zones": ["-r", "-o", "+zones"],
    "split by zones": ["-S", "zones,state", "-o", "RANGE,ZONES,STATE,BLOCK"],
    "no headings": ["-n"],
}
GUESTS = (
    "recordings/a-kernel",
    "recordings-6.12/g-rmmod-online",
    "recordings-7.3/a-movable",
    "recordings-arm64/q-612-default",
)
"""Recorded of real Linux guests with virtio-mem."""
DATA = Path(__file__).parents[1] / "data"


def program(release: str) -> str:
    """The lsmem of a release of util-linux."""
    found = {series(version): path for path, version in found_lsmems().items()}
    if release not in found:  # a mirror that lacks it does not fail the test
        pytest.skip(f"NOT HERE: lsmem of util-linux {release} (make oracles)")
    return found[release]


@pytest.fixture(params=[*GUESTS, "this machine", *range(4)])
def root(request: pytest.FixtureRequest, tmp_path: Path, make_sysfs: Any, block: Any) -> Path:
    """Where lsmem looks: this machine, a real guest's files, or those of blocks drawn with a seed."""
    if isinstance(request.param, int):
        rng = random.Random(request.param)
        blocks = [one for one in random_blocks(rng, block) if one.state != "odd"]
        root: Path = make_sysfs(blocks or [block(0)], rng.choice(("8000000", "40000000", "80000000")))
        return root
    if request.param == "this machine":
        return (
            Path("/")
            if Path("/sys/devices/system/memory").is_dir()
            else pytest.skip("this kernel has no memory blocks")
        )
    recording = json_file.load(DATA / request.param / "recording.json")
    export_sysroot(recording.steps[-1].snapshot, memory_block_size(recording), tmp_path / "root")
    return tmp_path / "root"


@pytest.mark.parametrize("release", RELEASES)
def test_every_style_is_read_back(release: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = program(release)
    printed = tmp_path / "printed"
    for style, options in STYLES.items():
        printed.write_text(lsmem(root, options, command))
        said = [] if "-n" not in options else ["--from", "lsmem"]
        shown = ["-b", "-o", "range,size,state,block", "-S", "state"]
        assert main(["blocks", *said, str(printed), *shown]) == 0, style
        read = capsys.readouterr().out
        assert main(["blocks", "--sysroot", str(root), *shown]) == 0
        assert read == capsys.readouterr().out, style
