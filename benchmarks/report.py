"""The report page of a big guest next to that of a small one: how much longer it takes to write, to open, to step.

    python benchmarks/report.py

Needs Chromium. Prints, for a guest of 8 GiB (64 memory blocks, a real Linux) and for one of 16 TiB (131 072 blocks,
made up, every other one of its upper half unplugged): kilobytes of the page, milliseconds to write it, until the
browser shows it, and for the slowest step, elements on the page.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.report.huge import huge
from virtiomem import recording
from virtiomem.recording import Recording
from virtiomem.report.moments import Source
from virtiomem.report.page import page

SMALL = Path(__file__).parents[1] / "tests/data/recordings/b-uneven-movable/recording.json"
SLOWEST_STEP = """async () => {
  let slowest = 0;
  while (!document.getElementById("next").disabled) {
    const start = performance.now();
    document.getElementById("next").click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    slowest = Math.max(slowest, performance.now() - start);
  }
  return slowest;
}"""


def measure(browser: Browser, told: Recording, folder: Path) -> dict[str, float]:
    """The figures of one recording."""
    start = time.perf_counter()
    html = page([Source("recording.json", told)])
    written = time.perf_counter() - start
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    opened = []
    for _ in range(3):
        tab = browser.new_page(viewport={"width": 1200, "height": 900})
        start = time.perf_counter()
        tab.goto(path.as_uri())
        tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        opened.append(time.perf_counter() - start)
    return {
        "page, KB": len(html.encode()) / 1000,
        "write, ms": written * 1000,
        "open, ms": sorted(opened)[1] * 1000,
        "slowest step, ms": tab.evaluate(SLOWEST_STEP),
        "elements": tab.locator("*").count(),
    }


def main() -> None:
    """Measure both in one browser and print them side by side."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("no chromium: apt install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        small = measure(browser, recording.load(SMALL), Path(folder))
        big = measure(browser, huge(merged=False), Path(folder))
        browser.close()
    print(f"{'':<18}{'8 GiB':>12}{'16 TiB':>12}{'ratio':>8}")
    for key, value in small.items():
        print(f"{key:<18}{value:>12,.0f}{big[key]:>12,.0f}{big[key] / value:>8.1f}")


if __name__ == "__main__":
    main()
