"""Make the pictures in docs/pictures again, with the commands that anyone would use: `make docs`."""

import io
import shutil
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from pathlib import Path

from docs.chromium import chromium
from virtiomem.cli.main import main as virtiomem

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
MAPS = {
    "before": ("worked-example/before", None),
    "after": ("worked-example/after", None),
    "split": ("shrink-and-split", 4),
    "partly-plugged": ("partly-plugged", 4),
}
"""Of each picture, the example and the step after which it is taken (None: the last)."""
SCREENSHOT = ("worked-example/before", "worked-example/after")
"""What the photographed page shows, side by side."""


def make_maps(folder: Path) -> None:
    """The maps, as SVG."""
    for name, (example, step) in MAPS.items():
        after = [] if step is None else ["--step", str(step)]
        _run("map", str(_recording(example, folder)), *after, "--svg", str(folder / f"{name}.svg"))


def make_screenshot(folder: Path) -> None:
    """The page, photographed in the Chromium that is installed."""
    page = folder / "report.html"
    recordings = [_recording(example, folder) for example in SCREENSHOT]
    with chdir(folder):  # the page names its files as they were given
        _run("report", *(record.name for record in recordings), "-o", page.name)
    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1000, "height": 1010})
        tab.goto(page.as_uri())
        tab.screenshot(path=PICTURES / "report.png")


def _recording(example: str, folder: Path) -> Path:
    """Play an example; where its recording is."""
    record = folder / f"{Path(example).name}.json"
    if not record.exists():
        _run("run", str(ROOT / "examples" / f"{example}.toml"), "--record", str(record), "--json")
    return record


def _run(*arguments: str) -> None:
    """One command; what it prints is of no interest here."""
    with redirect_stdout(io.StringIO()):
        code = virtiomem(arguments)
    if code:
        sys.exit(f"virtiomem {' '.join(arguments)}: exit {code}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        make_maps(Path(made))
        make_screenshot(Path(made))
        for picture in MAPS:
            shutil.copy(Path(made, f"{picture}.svg"), PICTURES)
