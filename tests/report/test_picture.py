import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.report.hostile import NAME
from virtiomem.errors import MaskedListingError
from virtiomem.recording import Recording
from virtiomem.report.maps import of_recording, read
from virtiomem.report.moments import Source
from virtiomem.report.picture import picture
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem
from virtiomem.units import GiB, MiB, Span, TiB, format_short

Recorded = Callable[[str], Recording]
SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [text for element in ET.fromstring(svg).iter(f"{SVG}text") if (text := element.text)]  # noqa: S314 - ours


def test_every_resource_is_reported_with_its_range_and_size(recorded: Recorded) -> None:
    told = recorded("b-uneven-movable")
    svg = of_recording(Source("x", told), 4).picture()
    for node in (node for _, node in iomem.loads(told.steps[3].snapshot.iomem).walk()):
        assert f"{node.start:08x}-{node.end:08x}" in texts(svg)
        assert node.name in texts(svg)
    assert "2176M" in texts(svg)
    assert "m movable, partly plugged" in texts(svg)


def test_long_listing_has_its_devices_told_together() -> None:
    listing = [Row(0, 0, GiB, 1, "System RAM"), *(Row(0, GiB + i * MiB, MiB // 2, 1, f"dev{i}") for i in range(100))]
    assert "100 more: dev0, dev1, dev2, dev3, dev4" in " ".join(texts(picture(listing, title="t")))


def test_hostile_name_stays_text() -> None:
    svg = picture([Row(0, 0, GiB, 1, NAME + "\x00\x1b\udcff")], title=NAME)
    assert {element.tag for element in ET.fromstring(svg).iter()} <= {  # noqa: S314 - ours
        SVG + tag for tag in ("svg", "title", "style", "defs", "pattern", "rect", "line", "text", "path")
    }
    svg.encode()


def test_20_000_resources_make_a_small_picture() -> None:
    listing = [Row(0, i * 256 * MiB, 128 * MiB, 1, "System RAM") for i in range(20_000)]
    assert len(picture(listing[:40], title="t")) < 40_000
    assert len(picture(listing, title="t")) < 400_000


def test_what_changed_and_is_too_narrow_to_see_is_drawn_closer() -> None:
    listing = [
        Row(0, 4 * GiB, 64 * TiB, 1, "virtio0"),
        Row(1, 4 * GiB, 64 * TiB - 64 * GiB, 1, "System RAM (virtio_mem)"),
    ]
    changed = Span.sized(64 * TiB - 60 * GiB, 64 * GiB)
    whole, closer = picture(listing, title="t"), picture(listing, title="t", changed=changed)
    assert not any(text.startswith("closer") for text in texts(whole))
    said = next(at for at, text in enumerate(texts(closer)) if text.startswith("closer: what changed, "))
    marks = [text for text in texts(closer)[said:] if text.endswith("G") and text[:-1].isdecimal()]
    assert len(marks) == len(set(marks)) >= 5, "two marks of the ruler that would look alike get exact numbers"
    wide = picture(listing, title="t", changed=Span.sized(4 * GiB, TiB))
    assert not any(text.startswith("closer") for text in texts(wide))


SHARED = Path(os.environ.get("VIRTIOMEM_SHARED", Path(__file__).parents[3] / "shared")) / "iomem"
PASTED = sorted(SHARED.glob("*.iomem")) or [Path("none")]


@pytest.mark.skipif(not SHARED.is_dir(), reason="other people's listings are not here (VIRTIOMEM_SHARED)")
@pytest.mark.parametrize("path", PASTED, ids=lambda path: path.stem)
def test_any_listing_that_people_post_can_be_drawn(path: Path) -> None:
    try:
        shown = read(str(path), lenient=True)
    except MaskedListingError:
        return
    svg = shown.picture()
    assert ET.fromstring(svg).tag == f"{SVG}svg"  # noqa: S314 - ours
    assert len(svg) < 100_000
    for row in shown.listing:
        if row.name == "System RAM" and len(shown.listing) < 40:
            assert f"{row.start:08x}-{row.stop - 1:08x}" in texts(svg)


@pytest.mark.parametrize("listing", [[], [Row(0, 0, 1, 1, "")], [Row(0, (1 << 64) - 1, 1, 1, "top")]])
def test_odd_listings_are_drawn_too(listing: list[Row]) -> None:
    assert picture(listing, title="").startswith("<svg")


def test_rounded_sizes_say_so() -> None:
    assert [format_short(n) for n in (0, 2 * GiB, 2 * GiB - 4096, 7294 * MiB, 635 * 1024, TiB + 1)] == [
        *("0", "2G", "2.0G", "7294M", "635K", "1.0T")
    ]


def test_sizes_are_to_scale(recorded: Recorded) -> None:
    told = recorded("a-movable")
    listing = rows(iomem.loads(told.steps[0].snapshot.iomem))
    boxes = {}
    for element in ET.fromstring(picture(listing, title="t")).iter(f"{SVG}rect"):  # noqa: S314 - ours
        said = element.find(f"{SVG}title")
        if said is not None and said.text is not None:
            boxes[said.text] = float(element.get("width", "0"))
    virtio = boxes["180000000-37fffffff : virtio0"]
    assert boxes["180000000-1ffffffff : System RAM (virtio_mem)"] == pytest.approx(virtio / 4, abs=0.1)
    assert boxes["100000000-17fffffff : System RAM"] == pytest.approx(virtio / 4, abs=0.1)
