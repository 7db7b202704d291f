"""The playground in a real browser, from a real server: Debian's Chromium, driven through Playwright."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from playground.serve import Served, serving
from tests.real.needs import missing
from tests.waiting import PATIENCE
from virtiomem import recording

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
DATA = ROOT / "tests" / "data"
NARROW, WIDE = 390, 1280
MOST = 8_000_000
"""Bytes of a first visit."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as `make playground` makes it."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        missing("npm and node (Debian packages npm, nodejs)")
    folder = tmp_path_factory.mktemp("served")
    command = [sys.executable, "-m", "playground.build", str(folder / "playground")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[Served]:
    with serving(site) as server:
        yield server


@pytest.fixture(scope="module")
def visitor(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that has visited the page before, except in its first test."""
    context = browser.new_context(viewport={"width": WIDE, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    yield context
    context.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(visitor: BrowserContext, served: Served) -> Iterator[Open]:
    """Open the page and wait until it is ready; at the end nothing may have complained."""
    complaints: list[str] = []
    opened: list[Page] = []

    def visit(fragment: str = "", context: BrowserContext = visitor) -> Page:
        tab = context.new_page()
        tab.set_default_timeout(1000 * PATIENCE)
        opened.append(tab)
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(f"{served.address}playground/{fragment}")
        tab.wait_for_selector("body[data-kept=true]")
        return tab

    yield visit
    for tab in opened:
        tab.close()
    assert complaints == []


def run(tab: Page, desk: str = "play") -> None:
    """Press the button and wait for the end."""
    tab.locator(f"#{desk} .run").click()
    tab.wait_for_selector(f"#{desk}[data-state=done]")


def write(tab: Page, text: str, nth: int = 0, desk: str = "play") -> None:
    area = tab.locator(f"#{desk} .text").nth(nth)
    area.evaluate("(area, text) => { area.value = text; area.dispatchEvent(new Event('input')); }", text)


def printed(tab: Page, desk: str = "play", nth: int = 0) -> str:
    return tab.locator(f"#{desk} .results .output").nth(nth).text_content() or ""


def test_first_visit_loads_little_once_and_what_runs_then_asks_for_nothing(
    browser: Browser, open_page: Open, served: Served, site: Path
) -> None:
    context = browser.new_context()
    served.asked.clear()
    tab = open_page(context=context)
    loaded = [path.removeprefix("/") for path in served.asked]
    paths = [f"{path}index.html" if path.endswith("/") else path for path in loaded]
    assert sum((site / path).stat().st_size for path in paths) <= MOST
    assert len([path for path in loaded if path.endswith((".gz", "js"))]) == len(
        {path for path in loaded if path.endswith((".gz", "js"))}
    )
    served.asked.clear()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    run(tab)
    tab.locator("#tab-look").click()
    tab.locator("#sample").click()
    tab.wait_for_selector("#look[data-state=done]")
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == []
    assert served.asked == []
    context.close()


def test_policy_lets_nothing_leave(open_page: Open, tmp_path: Path) -> None:
    """A script of this page that tried to send something, or a worker of it, would be refused by the browser."""
    tab = open_page()
    policy = tab.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content") or ""
    rules = {words[0]: words[1:] for rule in policy.split(";") if (words := rule.split())}
    assert rules["default-src"] == ["'none'"]
    assert rules["connect-src"] == ["'self'"]
    assert rules["form-action"] == ["'none'"]
    other = tab.context.new_page()  # what the browser complains of here is wanted
    other.goto(tab.url)
    with serving(tmp_path) as outside:
        assert other.evaluate(TRY_TO_SEND, f"{outside.address}taken") == ["connect-src", "connect-src"]
        assert outside.asked == []
    other.close()


TRY_TO_SEND = """async (address) => {
  const send = (address, tell) => {
    self.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => tell(effectiveDirective));
    fetch(address, { mode: "no-cors" }).then(() => tell("sent"), () => {});
  };
  const page = await new Promise((resolve) => send(address, resolve));
  const source = `(${send})(${JSON.stringify(address)}, postMessage)`;
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  return [page, await new Promise((resolve) => { worker.onmessage = ({ data }) => resolve(data); })];
}"""
"""Which rule of its policy keeps the page from sending, and which one a worker that it makes as it makes the engine's."""


def test_page_needs_no_network_after_the_first_visit(browser: Browser, open_page: Open) -> None:
    context = browser.new_context()
    tab = open_page(context=context)
    context.set_offline(True)
    tab.reload()
    tab.wait_for_selector("body[data-engine=ready]")
    tab.locator("#play .example").select_option("dimm")
    run(tab)
    assert printed(tab) == (EXAMPLES / "dimm.out").read_text()
    context.close()


def test_every_example_shows_what_the_command_shows(open_page: Open) -> None:
    tab = open_page()
    names = tab.locator("#play .example option").evaluate_all("all => all.map(one => one.value)")
    assert {f"{name}.toml" for name in names if name} == {
        str(p.relative_to(EXAMPLES)) for p in EXAMPLES.rglob("*.toml")
    }
    for name in filter(None, names):
        tab.locator("#play .example").select_option(name)
        run(tab)
        assert printed(tab) == (EXAMPLES / f"{name}.out").read_text(), name


def test_merging_on_and_off_stand_side_by_side(open_page: Open) -> None:
    tab = open_page("#compare")
    run(tab, "compare")
    assert printed(tab, "compare") == (EXAMPLES / "worked-example/side-by-side.out").read_text()
    report = tab.frame_locator("#compare iframe")
    expect(report.locator("#map svg")).to_have_count(2)
    tab.locator("#compare .saves a").first.wait_for()
    assert tab.locator("#compare .saves a").evaluate_all("all => all.map(one => one.download)") == [
        "after.json",
        "before.json",
        "report.html",
    ]


def test_what_is_saved_is_what_the_command_writes(open_page: Open, tmp_path: Path) -> None:
    tab = open_page("#example=reload")
    run(tab)
    for name in ("recording.json", "report.html", "map.svg"):
        with tab.expect_download() as download:
            tab.locator(f"#play .saves a[download='{name}']").click()
        download.value.save_as(tmp_path / name)
    (tmp_path / "reload.toml").write_text((EXAMPLES / "reload.toml").read_text())
    command = [sys.executable, "-m", "virtiomem", "run", "reload.toml", "--record", "ours.json"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert (tmp_path / "recording.json").read_bytes() == (tmp_path / "ours.json").read_bytes()
    assert recording.load(tmp_path / "recording.json").steps[-1].settled
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "map.svg").read_text().startswith("<svg")


def test_broken_scenario_is_marked_at_its_line_as_it_is_written(open_page: Open) -> None:
    tab = open_page()
    write(tab, '[guest]\nmemory = "4G"\n\n[[device]]\nid = "vm0"\nmax-sise = "4G"\n')
    expect(tab.locator("#play .complaint").first).to_contain_text("did you mean max-size?")
    assert (tab.locator("#play .numbers b").text_content() or "").strip() == "✖ 6"
    write(tab, "[guest\n")
    expect(tab.locator("#play .numbers b")).to_have_text("✖ 1\n")
    run(tab)
    assert "line 1" in tab.locator("#play .results .errors").inner_text()
    assert "exit status 2" in tab.locator("#play .results").inner_text()


ENDLESS = (EXAMPLES / "dimm.toml").read_text() + "".join(
    f'\n[[step]]\ndo = "resize"\ndevice = "vm0"\nrequested-size = "{size}"\n' for size in ["2G", "0"] * 2000
)
"""Minutes of playing in a browser."""


def test_endless_scenario_is_stopped_and_the_next_one_runs(open_page: Open) -> None:
    tab = open_page()
    write(tab, ENDLESS)
    tab.locator("#play .run").click()
    tab.wait_for_selector("#play[data-state=running]")
    tab.locator("#tab-look").click()
    assert tab.locator("#listing").is_visible(), "the page does not freeze"
    tab.locator("#tab-play").click()
    tab.locator("#play .stop").click()
    tab.wait_for_selector("#play[data-state=done]")
    assert "✖ stopped" in tab.locator("#play .results").inner_text()
    tab.wait_for_selector("body[data-engine=ready]")
    tab.locator("#play .example").select_option("dimm")
    run(tab)
    assert printed(tab) == (EXAMPLES / "dimm.out").read_text()


def test_run_that_takes_too_long_is_ended_by_itself(open_page: Open) -> None:
    tab = open_page()
    tab.clock.install()
    write(tab, ENDLESS)
    tab.locator("#play .run").click()
    tab.wait_for_selector("#play[data-state=running]")
    tab.clock.run_for(61_000)
    assert "✖ stopped: it took more than 60 s" in tab.locator("#play .results").inner_text()


def test_run_that_takes_too_much_memory_ends_with_a_line(browser: Browser, served: Served) -> None:
    context = browser.new_context(service_workers="block")
    context.set_default_timeout(1000 * PATIENCE)
    engine = (ROOT / "playground/page/engine.js").read_text()
    assert "bytes: 1 << 30" in engine
    little = engine.replace("bytes: 1 << 30", "bytes: 1 << 25")
    context.route("**/engine.js", lambda route: route.fulfill(body=little, content_type="text/javascript"))
    tab = context.new_page()
    tab.goto(f"{served.address}playground/#example=embedded-only/one-tebibyte")
    tab.wait_for_selector("body[data-engine=ready]")
    write(tab, tab.locator("#play .text").input_value().replace("[driver]", "[driver]\nmerge-resources = false"))
    run(tab)
    assert "virtiomem: not enough memory for this" in tab.locator("#play .results").inner_text()
    context.close()


def test_link_carries_the_scenario(open_page: Open) -> None:
    tab = open_page()
    text = (EXAMPLES / "dimm.toml").read_text().replace("512M", "256M")
    write(tab, text)
    tab.locator("#play .link").click()
    expect(tab.locator("#play .link")).not_to_have_text("Copy link")
    link = tab.evaluate("location.hash")
    assert link.startswith("#play=")
    assert len(link) < 1000
    other = open_page(link)
    assert other.locator("#play .text").input_value() == text
    damaged = open_page(f"{link[:40]}")
    expect(damaged.locator("#status")).to_be_visible()
    assert damaged.locator("#play .text").input_value() != text


def test_choices_are_written_into_the_scenario(open_page: Open) -> None:
    tab = open_page("#example=auto-movable")
    chosen = {"kernel": "6.1", "machine": "virt", "online-policy": "contig-zones"}
    for key, value in chosen.items():
        tab.locator(f"#play [name='{key}']").select_option(value)
    text = tab.locator("#play .text").input_value()
    for key, value in chosen.items():
        assert text.count(f'{key} = "{value}"') == 1
    run(tab)
    assert "Linux 6.1" in printed(tab)
    tab.locator("#play [name=kernel]").select_option("")
    assert "kernel =" not in tab.locator("#play .text").input_value()


def look_at(tab: Page, path: Path) -> dict[str, str]:
    """Hand a file to Look; what each command printed, by its heading."""
    tab.locator("#look").evaluate("desk => { desk.dataset.state = ''; }")
    tab.locator("#file").set_input_files(path)
    tab.wait_for_selector("#look[data-state=done]")
    return {
        panel.locator("summary").inner_text(): panel.locator(".output").first.text_content() or ""
        for panel in tab.locator("#look .results details:has(.output)").all()
    }


def said_by(*arguments: str, folder: Path) -> str:
    command = [sys.executable, "-m", "virtiomem", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


def test_listings_are_shown_as_the_command_shows_them(open_page: Open, tmp_path: Path) -> None:
    tab = open_page("#look")
    recorded = ["a-movable", "nomerge-b-uneven-movable", "d-two-devices", "m-dimm", "c-bs256m"]
    for name in recorded:
        listing = recording.load(DATA / "recordings" / name / "recording.json").steps[-1].snapshot.iomem
        path = tmp_path / f"{name}.iomem"
        path.write_text(listing)
        shown = look_at(tab, path)
        assert shown["The map"] == said_by("iomem", path.name, folder=tmp_path)
        assert shown["System RAM, with totals"] == said_by("iomem", path.name, "--ram", folder=tmp_path)
        assert shown["What a crash dump will hold"] == said_by("kdump", path.name, "--compare", folder=tmp_path)
        assert shown["What it costs those who read it"] == said_by("iomem", "check", path.name, folder=tmp_path)
        assert tab.locator("#look img").is_visible()
    recording_path = DATA / "recordings" / "a-movable" / "recording.json"
    assert "a recording" in look_at(tab, recording_path)["What it was taken for"]
    assert "a capture" in look_at(tab, EXAMPLES / "guest.capture")["What it was taken for"]


def test_damage_is_put_right_and_shown_as_a_difference(open_page: Open) -> None:
    tab = open_page("#look")
    tab.locator("#sample").click()
    tab.wait_for_selector("#look[data-state=done]")
    removed = tab.locator("#look .difference .minus").all_text_contents()
    assert "-> [...]\n" in removed
    assert "+100000000-17fffffff : System RAM\n" in tab.locator("#look .difference .plus").all_text_contents()
    assert "at least" in tab.locator("#look .results").inner_text()


def test_what_is_nothing_we_know_is_said_in_a_line(open_page: Open) -> None:
    tab = open_page("#look")
    tab.locator("#listing").fill("\x00\x01 nothing of the kind\n" * 3)
    run(tab, "look")
    (said,) = tab.locator("#look .results .output").all_inner_texts()
    assert said.strip() == "listing.txt is binary data of no kind that is read; a listing or a capture is text"


def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(open_page: Open) -> None:
    tab = open_page()
    run(tab)
    tab.locator("#tab-compare").click()
    run(tab, "compare")
    tab.locator("#tab-look").click()
    tab.locator("#sample").click()
    tab.wait_for_selector("#look[data-state=done]")
    for scheme in SCHEMES:
        tab.emulate_media(color_scheme=scheme)
        for width, desk in product((NARROW, WIDE), ("play", "compare", "look")):
            tab.set_viewport_size({"width": width, "height": 844})
            tab.locator(f"#tab-{desk}").click()
            assert tab.evaluate("document.documentElement.scrollWidth") <= width, desk
            found = Axe().run(tab, options={"iframes": False})
            assert found.violations_count == 0, f"{desk}, {width}, {scheme}: {found.generate_report()}"


SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")


def test_everything_is_reached_with_the_keyboard(open_page: Open) -> None:
    tab = open_page()
    tab.locator("#tab-play").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.id") == "tab-compare"
    assert tab.locator("#compare").is_visible()
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#play").is_visible()
    tab.locator("#play .text").focus()
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector("#play[data-state=done]")
    assert printed(tab) != ""


def test_nothing_jumps_while_the_page_loads_and_runs(browser: Browser, open_page: Open) -> None:
    context = browser.new_context(viewport={"width": WIDE, "height": 900})
    context.add_init_script(
        "window.jumped = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => {"
        " if (!entry.hadRecentInput) window.jumped += entry.value; })).observe({ type: 'layout-shift', buffered: true });"
    )
    tab = open_page(context=context)
    run(tab)
    assert (
        tab.evaluate("window.jumped") < 0.05
    )  # browsers call less than 0.1 good; here the footer makes room for what was printed
    context.close()


def test_browser_that_is_too_old_gets_a_line_that_says_so(browser: Browser, served: Served) -> None:
    context = browser.new_context()
    context.add_init_script("delete window.DecompressionStream")
    tab = context.new_page()
    tab.goto(f"{served.address}playground/")
    expect(tab.locator("#too-old")).to_contain_text("too old")
    context.close()


def test_links_of_the_docs_open_the_example(open_page: Open) -> None:
    tab = open_page("#example=embedded-only/neighbours")
    assert tab.locator("#play .text").input_value() == (EXAMPLES / "embedded-only/neighbours.toml").read_text()
    other = open_page("#example=%E0%A4%A")
    expect(other.locator("#status")).to_be_visible()
