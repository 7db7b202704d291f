"""Visit the built page in Chromium, and put times and bytes into docs/playground.md: `python -m playground.measure [VISITS]`."""

import gzip
import os
import sys
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, BrowserContext, Page

from docs.chromium import chromium
from docs.marked import page_with
from playground.build import ROOT, SITE
from playground.serve import serving

DOCS = ROOT / "docs" / "playground.md"
BEGIN, END = "<!-- figures: made by `python -m playground.measure` -->", "<!-- end of figures -->"
PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
PARTS = {
    "the engine: Python": ("pyodide.asm.wasm.gz", "pyodide.asm.mjs", "pyodide.mjs"),
    "Python's standard library": ("python_stdlib.zip.gz",),
    "msgspec, rich, Jinja": ("packages.zip.gz",),
    "virtiomem": ("virtiomem.zip.gz",),
}


def visit(context: BrowserContext, address: str) -> dict[str, float]:
    """Seconds of a first visit, two runs, and a second visit without a network."""
    tab = context.new_page()
    tab.goto(address)
    ready = _ready(tab)
    times = {"first paint": tab.evaluate(PAINT), "ready": ready, "first run, with its page": _run(tab)}
    times |= {"second run": _run(tab)}
    tab.wait_for_selector("body[data-kept=true]")
    context.set_offline(True)
    tab.reload()
    return times | {"ready again, without a network": _ready(tab)}


def _ready(tab: Page) -> float:
    tab.wait_for_selector("body[data-engine=ready]")
    now: float = tab.evaluate("performance.now() / 1000")
    return now


def _run(tab: Page) -> float:
    begun = time.perf_counter()
    tab.locator("#play .run").click()
    tab.wait_for_selector("#play[data-state=done]")
    return time.perf_counter() - begun


def sizes(site: Path) -> dict[str, tuple[int, int]]:
    """Of each part the bytes as they lie there, and as a server that compresses sends them."""
    files = {path.name: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    part_of = {name: part for part, names in PARTS.items() for name in names}
    found = dict.fromkeys([*PARTS, "the page"], (0, 0))
    for name, data in files.items():
        part = part_of.get(name, "the page")
        sent = data if name.endswith(".gz") else gzip.compress(data, 6)
        found[part] = (found[part][0] + len(data), found[part][1] + len(sent))
    return found


def tables(times: list[dict[str, float]], bytes_of: dict[str, tuple[int, int]], browser: str) -> str:
    """Both tables, as Markdown."""
    busy = f"{os.cpu_count()} processors with {os.getloadavg()[0]:.0f} programs that want them"
    who = f"Chromium {browser}, {busy}, the median of {len(times)} visits"
    rows = [f"| {what} | {median(visit[what] for visit in times):.1f} s |" for what in times[0]]
    total = [sum(pair[side] for pair in bytes_of.values()) for side in (0, 1)]
    parts = [f"| {part} | {_mb(raw)} | {_mb(sent)} |" for part, (raw, sent) in bytes_of.items()]
    whole = f"| **first visit** | **{_mb(total[0])}** | **{_mb(total[1])}** |"
    head = "| loaded | in the folder | by a server that compresses |\n|---|---|---|"
    return "\n".join([f"| {who} | |\n|---|---|", *rows, "", head, *parts, whole])


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB"


def main(arguments: list[str]) -> None:
    """Measure, print, and keep."""
    with serving(SITE) as served, chromium() as browser:
        times = [_visit(browser, served.address) for _ in range(int(arguments[0]) if arguments else 3)]
        made = tables(times, sizes(SITE), browser.version)
    print(made)  # noqa: T201 - a command
    DOCS.write_text(page_with(DOCS.read_text(), BEGIN, END, made))


def _visit(browser: Browser, address: str) -> dict[str, float]:
    """A visit by a browser that has never been there."""
    context = browser.new_context()
    context.set_default_timeout(300_000)
    try:
        return visit(context, address)
    finally:
        context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
