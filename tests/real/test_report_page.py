"""The report page in a real browser: Debian's Chromium, driven through Playwright."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.report.hostile import NAME, hostile
from tests.report.huge import huge
from tests.report.readback import agree
from tests.waiting import PATIENCE
from virtiomem import recording
from virtiomem.recording import Recording, Snapshot
from virtiomem.recording.compare import differences
from virtiomem.recording.describe import describe
from virtiomem.report.changes import map_changes
from virtiomem.report.moments import Source, story
from virtiomem.report.page import page
from virtiomem.scenario import embedded_guest, load, loads, play
from virtiomem.units import format_short

pytestmark = pytest.mark.real
DATA = Path(__file__).parents[1] / "data" / "recordings"
NARROW, WIDE = 360, 1200
FEW = 8000
"""Elements on a page; a guest of 8 GiB has about 800."""


def recorded(name: str) -> Recording:
    return recording.load(DATA / name / "recording.json")


Show = Callable[..., Page]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Open the page of recordings; afterwards, only the page may have been asked for, and nothing complained."""
    asked: list[str] = []
    complaints: list[str] = []
    opened: list[Page] = []
    pages: list[str] = []

    def open_page(*told: Recording, width: int = WIDE, fragment: str = "#step-0", **context: Any) -> Page:
        path = tmp_path / f"report{len(opened)}.html"
        path.write_text(page([Source(f"{'ab'[i]}.json", one) for i, one in enumerate(told)]), encoding="utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 900}, **context)
        tab.set_default_timeout(1000 * PATIENCE)
        opened.append(tab)
        pages.append(path.as_uri())
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.goto(f"{path.as_uri()}{fragment}")
        return tab

    yield open_page
    for tab in opened:
        tab.close()
    assert complaints == []
    assert all(url.partition("#")[0] in pages for url in asked), asked


def now(tab: Page) -> str:
    return tab.locator("#now").inner_text()


def shown_listing(tab: Page, which: str = "#listing") -> str:
    """The listing as the page shows it, without what is no more."""
    lines = tab.locator(f"{which} li:not(.was):not(.more) .text").all_text_contents()
    return "".join(f"{line}\n" for line in lines)


STEP_THROUGH = """() => {
  const text = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent);
  const shown = [];
  while (!document.getElementById("next").disabled) {
    document.getElementById("next").click();
    shown.push({ now: text("#now")[0], listing: text("#listing li:not(.was):not(.more) .text").join("\\n") + "\\n",
      tiles: text(".tiles dd"), zones: text("#zones tbody tr"), changes: text("#changes li") });
  }
  return shown;
}"""
"""Press `next` to the end; what stands on the page after each step."""


def test_what_the_page_shows_is_what_was_recorded(show: Show) -> None:
    for name in VARIED:
        told = recorded(name)
        tab = show(told)
        agree(json.loads(tab.locator("#data").text_content() or "")["recordings"][0], told)
        tab.locator("#every-line").check()
        shown = tab.evaluate(STEP_THROUGH)
        assert len(shown) == len(told.steps)
        for number, (step, record) in enumerate(zip(shown, told.steps, strict=True), 1):
            assert f"Step {number} of {len(told.steps)}: {describe(record.step)}" in step["now"]
            assert (record.error or "refused") in step["now"] or record.error is None
            assert step["listing"] == record.snapshot.iomem
            device = record.snapshot.devices[0]
            assert step["tiles"][0].startswith(f"{format_short(device.size)} of ")
            present = {
                f"{n}{zone}": pages.present for n, z in record.snapshot.zones.items() for zone, pages in z.items()
            }
            for row in step["zones"]:
                assert any(row.startswith(name) and f"({grouped(n)})" in row for name, n in present.items()), row
        tab.close()


VARIED = [
    *("a-offline", "b-uneven-movable", "c-bs256m", "d-two-devices", "e-manual-movable", "h-reset", "i-qmp-errors"),
    *("k-force-bbm", "m-dimm", "nomerge-b-uneven-movable"),
]


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def test_changes_are_reported_as_python_sees_them(show: Show) -> None:
    """The page gets a word and a span for each change, and finds the resources itself."""
    for name in ("nomerge-b-uneven-movable", "e-manual-movable", "d-two-devices", "h-reset"):
        told = story(Source("x", recorded(name)))
        shown = show(told.source.recording).evaluate(STEP_THROUGH)
        for step, (before, after) in zip(shown, pairwise(told.moments), strict=True):
            wanted = [
                f"{change.change.look.word}{row.name}: "
                for change in map_changes(before.listing, after.listing)
                for row in (change.before + change.after)[:1]
            ]
            assert [text[: len(start)] for text, start in zip(step["changes"], wanted, strict=False)] == wanted
            for text, change in zip(step["changes"], map_changes(before.listing, after.listing), strict=False):
                few = [side for side in (change.before, change.after) if len(side) <= 3]
                for row in chain(*few):
                    assert f"{row.start:08x}-{row.stop - 1:08x}" in text


def test_page_opens_at_the_first_change_unless_its_address_says_where(show: Show) -> None:
    assert "Step 2 of 13" in now(show(recorded("b-uneven-movable"), fragment=""))
    assert "Step 0 of 13" in now(show(recorded("b-uneven-movable"), fragment="#step-0"))


def test_keyboard_moves_through_the_steps(show: Show) -> None:
    tab = show(recorded("b-uneven-movable"))
    for key, step in [("ArrowRight", 1), ("ArrowRight", 2), ("End", 13), ("ArrowLeft", 12), ("Home", 0)]:
        tab.keyboard.press(key)
        assert f"Step {step} of 13" in now(tab)
    slider = tab.get_by_role("slider", name="Step")
    slider.press("ArrowRight")
    slider.press("PageUp")
    assert slider.get_attribute("aria-valuetext") == "step 2: resize vm0 to 130M"
    assert tab.evaluate("location.hash") == "#step-2"


def test_play_stops_at_the_last_step_and_begins_again_there(show: Show) -> None:
    tab = show(recorded("a-movable"))
    tab.clock.install()
    tab.reload()
    button = tab.get_by_role("button", name="Play")
    button.click()
    for step in (1, 2, 3):
        tab.clock.run_for(1200)
        assert f"Step {step} of 3" in now(tab)
    tab.clock.run_for(1200)
    assert tab.locator("#play").get_attribute("aria-pressed") == "false"
    tab.keyboard.press("Escape")
    tab.locator("#play").click()
    assert "Step 0 of 3" in now(tab)


def test_link_opens_the_step_it_names(show: Show) -> None:
    tab = show(recorded("b-uneven-movable"), fragment="#step-5")
    assert "Step 5 of 13: resize vm0 to 5122M" in now(tab)
    tab.locator("table.steps a", has_text="8").click()
    assert "Step 8 of 13" in now(tab)
    assert tab.locator("tr[aria-current=step] th").inner_text() == "8"


def test_a_step_that_stopped_short_says_why_and_when_the_driver_tries_again(show: Show) -> None:
    stuck = load(Path(__file__).parents[2] / "examples/embedded-only/stuck-unplug.toml")
    told = play(stuck, embedded_guest(stuck))
    record = told.steps[3]
    assert isinstance(record.held_up, list)
    tab = show(told, fragment="#step-4")
    assert tab.locator("#reasons li").all_inner_texts() == record.held_up
    assert "the driver tries again in 50 s" in now(tab)


def test_memory_in_use_is_drawn_where_it_holds_a_shrink_up(show: Show) -> None:
    stuck = load(Path(__file__).parents[2] / "examples/embedded-only/stuck-unplug.toml")
    told = play(stuck, embedded_guest(stuck))
    tab = show(told, fragment="#step-4")
    held = told.steps[3].held_up
    assert isinstance(held, list)
    assert tab.locator("#map rect.used title").all_text_contents() == [one.partition(": ")[2] for one in held[:8]]
    assert "in use by driver\n96M" in tab.locator("#tiles").inner_text()
    tab.locator("#last").click()
    assert tab.locator("#map rect.used").count() == 0


def test_a_small_change_of_a_large_map_is_drawn_closer(show: Show) -> None:
    told = recorded("b-uneven-movable")
    tab = show(told, fragment="#step-2")
    assert tab.locator("#map svg").count() == 1
    huge_scenario = loads(HUGE, source="huge")
    tab = show(play(huge_scenario, embedded_guest(huge_scenario)), fragment="#step-3")
    assert tab.locator("#map .closer").inner_text() == "closer: what changed"
    touched = tab.locator("#map svg").nth(1).locator("rect.touched").last.bounding_box()
    assert touched is not None
    assert touched["width"] > 300


HUGE = """
guest = { memory = "128G", address-bits = 46, default-state = "online_movable", memory-block-size = "2G" }
device = [{ id = "vm0", max-size = "4T" }]
step = [
  { do = "load" },
  { do = "resize", device = "vm0", requested-size = "4T" },
  { do = "resize", device = "vm0", requested-size = "4092G" },
]
"""
"""2 blocks of 2048 go."""


def box(tab: Page, name: str) -> dict[str, float]:
    """Where the box of a resource is; its title tells which."""
    found = tab.locator("#map rect", has=tab.locator("title", has_text=name)).first.bounding_box()
    assert found is not None
    return {"x": found["x"], "width": found["width"]}


def test_map_zooms_moves_and_finds(show: Show) -> None:
    tab = show(recorded("b-uneven-movable"), fragment="#step-3")
    whole = box(tab, "System RAM (virtio_mem)")["width"]
    tab.get_by_role("button", name="Device vm0").click()
    zoomed = box(tab, "System RAM (virtio_mem)")["width"]
    assert zoomed > 1.3 * whole
    tab.get_by_role("button", name="Zoom in").click()
    tab.get_by_role("button", name="Everything").click()
    assert box(tab, "System RAM (virtio_mem)")["width"] == pytest.approx(whole)
    tab.locator("#map").press("+")
    assert tab.locator("#view").inner_text() != ""
    before = tab.locator("#view").inner_text()
    tab.locator("#map").press("ArrowRight")
    assert tab.locator("#view").inner_text() != before
    tab.locator("#map").press("0")
    assert tab.locator("#view").inner_text() == ""
    tab.locator("#listing li", has_text="Kernel code").click()
    assert "Kernel code" in tab.locator("#chosen").inner_text()
    assert box(tab, "Kernel code")["width"] > 200, "too small to see before"


def test_map_is_dragged_and_chosen_from_with_the_mouse(show: Show) -> None:
    tab = show(recorded("b-uneven-movable"), fragment="#step-3")
    tab.get_by_role("button", name="Device vm0").click()
    at = tab.locator("#map").bounding_box()
    assert at is not None
    left = box(tab, "System RAM (virtio_mem)")["x"]
    tab.mouse.move(at["x"] + 500, at["y"] + 10)
    tab.mouse.down()
    tab.mouse.move(at["x"] + 600, at["y"] + 10, steps=3)
    tab.mouse.up()
    assert box(tab, "System RAM (virtio_mem)")["x"] == pytest.approx(left + 100, abs=3)
    tab.get_by_role("button", name="Everything").click()
    tab.locator("#map rect", has=tab.locator("title", has_text="virtio0")).first.click(position={"x": 300, "y": 5})
    assert "180000000-37fffffff : virtio0" in tab.locator("#chosen").inner_text()


def test_map_is_chosen_from_with_the_keyboard(show: Show) -> None:
    tab = show(recorded("a-movable"), fragment="#step-1")
    tree = tab.locator("#map")
    for _ in range(8):
        tree.press("ArrowDown")
    assert "System RAM" in tab.locator("#chosen").inner_text()
    chosen = tab.locator("#listing li.chosen .text").inner_text()
    assert "00100000-7ffdffff : System RAM" in chosen
    tree.press("Enter")
    assert tab.locator("#view").inner_text() != ""


def test_filters_leave_the_requests_they_name(show: Show) -> None:
    told = recorded("d-two-devices")
    tab = show(told)
    tab.locator("#filters [name=steps]").select_option("all")
    sent = [request for record in told.steps for request in record.requests]

    def counted() -> int:
        caption = tab.locator("#requests caption").inner_text()
        return int(re.sub(r"\D", "", caption.split("request")[0]))

    assert counted() == len(sent)
    tab.locator("#filters [name=type]").select_option("UNPLUG")
    assert counted() == sum(request.type == "UNPLUG" for request in sent)
    tab.locator("#filters [name=device]").select_option("vm1")
    wanted = [request for request in sent if request.type == "UNPLUG" and request.device == "vm1"]
    assert counted() == len(wanted)
    tab.get_by_label("a row for every request").check()
    rows = tab.locator("#requests tbody tr").all_inner_texts()
    assert [row.split("\t")[5] for row in rows] == [f"{request.addr:#x}" for request in wanted]
    tab.locator("#filters [name=answer]").select_option("ACK")
    assert counted() == len(wanted)


def test_chart_takes_to_the_step_that_is_clicked(show: Show) -> None:
    tab = show(recorded("b-uneven-movable"))
    tab.locator("#chart rect.hit[data-step='6']").click()
    assert "Step 6 of 13: resize vm0 to 8G" in now(tab)
    assert "6: 8G of 8G" in (tab.locator("#chart svg").get_attribute("aria-label") or "")


def test_recording_that_says_next_to_nothing_is_shown(show: Show) -> None:
    nothing = Snapshot(iomem="", memory_blocks=[], zones={}, devices=[])
    tab = show(Recording(guest={}, boot=nothing, steps=[]))
    assert "Step 0 of 0: boot" in now(tab)
    assert "says nothing of zones" in tab.locator("#zones").inner_text()
    assert tab.locator("#map svg").is_visible()


def test_two_recordings_stand_side_by_side_with_their_differences(show: Show) -> None:
    a, b = recorded("b-uneven-movable"), recorded("nomerge-b-uneven-movable")
    tab = show(a, b, fragment="#step-3")
    assert tab.locator("#map svg").count() == 2
    buttons = tab.locator("#differences button").all_inner_texts()
    assert [int(text) for text in buttons] == sorted({difference.step or 0 for difference in differences(a, b)})
    first = next(d for d in differences(a, b) if d.step == 3)
    assert tab.locator("#differences td").all_inner_texts() == [first.a, first.b]
    tab.locator("#every-line").check()
    for side, told in enumerate((a, b), 1):
        assert shown_listing(tab, f"#listing > div:nth-child({side})") == told.steps[2].snapshot.iomem
    assert tab.locator("svg rect.differs").count() == 2
    tab.locator("#differences button").first.click()
    assert "Step 2 of 13" in now(tab)


def test_same_recordings_differ_nowhere(show: Show) -> None:
    tab = show(recorded("a-movable"), recorded("a-movable"), fragment="#step-1")
    assert "Nowhere" in tab.locator("#differences").inner_text()
    assert tab.locator("svg rect.differs").count() == 0


def test_recordings_of_different_length_are_shown_together(show: Show) -> None:
    tab = show(recorded("a-movable"), recorded("b-uneven-movable"), fragment="#step-13")
    assert "no such step" in now(tab)
    assert tab.locator("#map svg").count() == 1


def test_hostile_names_stay_text(show: Show) -> None:
    tab = show(hostile(recorded("a-movable")))
    tab.keyboard.press("End")
    tab.get_by_label("a row for every request").check()
    tab.locator("#listing li").last.click()
    assert NAME in tab.locator("#listing").inner_text()
    assert NAME in now(tab)
    assert NAME in tab.locator("#chosen").inner_text()
    assert NAME in (tab.locator("#requests").text_content() or "")
    assert "undefined" not in (tab.locator("#requests").text_content() or "")
    assert tab.title().startswith(NAME)
    assert tab.evaluate("window.owned") is None
    assert tab.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_page_keeps_the_rules_of_accessibility(show: Show, scheme: str, width: int) -> None:
    tab = show(
        recorded("b-uneven-movable"), recorded("b-uneven-offline"), width=width, fragment="#step-4", color_scheme=scheme
    )
    found = Axe().run(tab, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_narrow_screen_needs_no_scrolling_sideways(show: Show) -> None:
    tab = show(recorded("d-two-devices"), width=NARROW, fragment="#step-4")
    assert tab.evaluate("document.documentElement.scrollWidth") <= NARROW


def test_print_shows_the_step_without_the_controls(show: Show) -> None:
    told = recorded("b-uneven-movable")
    tab = show(told, fragment="#step-6", color_scheme="dark")
    tab.emulate_media(media="print")
    assert not tab.locator("#slider").is_visible()
    assert tab.locator("#map svg").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate(
        "document.querySelector('.listing').scrollHeight <= document.querySelector('.listing').clientHeight + 1"
    )
    assert len(tab.pdf()) > 10_000


def test_without_scripts_the_steps_are_reported(show: Show) -> None:
    tab = show(recorded("a-movable"), java_script_enabled=False)
    assert tab.locator("noscript").is_visible()
    assert tab.locator("table.steps").is_visible()
    assert not tab.locator("#steps").is_visible()


def test_16_tib_are_drawn_with_few_elements(show: Show) -> None:
    """What a pixel cannot show is drawn together, so a guest with 131 072 blocks is no heavier than a small one."""
    tab = show(huge(merged=False))
    for number in range(1, 5):
        tab.locator("#next").click()
        assert tab.locator("*").count() < FEW
        shown = tab.locator("#listing li").count()
        assert 0 < shown <= 501
        assert f"Step {number} of 4" in now(tab)
    tab.locator("#previous").click()
    tab.get_by_role("button", name="Show 500 more").click()
    assert tab.locator("#listing li").count() == 1001
    assert tab.locator("#listing button").evaluate("button => button === document.activeElement")
    for _ in range(9):
        tab.locator("#zoom-in").click()
    for _ in range(8):
        tab.locator("#pan-right").click()
    assert tab.locator("*").count() < FEW
    assert tab.locator("#map rect[data-block]").count() > 10, "single blocks in view"
