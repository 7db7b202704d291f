from collections.abc import Callable

import msgspec
import pytest

from tests.report.readback import agree
from virtiomem.errors import UsageError
from virtiomem.recording import Recording
from virtiomem.report.data import page_data
from virtiomem.report.moments import Source

Recorded = Callable[[str], Recording]


def test_data_says_what_was_recorded(each_recorded: Recording) -> None:
    data = msgspec.json.decode(msgspec.json.encode(page_data([Source("x", each_recorded)])))
    agree(data["recordings"][0], each_recorded)


def test_two_recordings_share_an_axis(recorded: Recorded) -> None:
    one, other = recorded("a-movable"), recorded("a-patch-exact")
    data = page_data([Source("x", one), Source("y", other)])
    assert [r["source"] for r in data["recordings"]] == ["x", "y"]
    assert data["axis"][0][0] == "0"
    assert all(a[1] == b[0] for a, b in zip(data["axis"], data["axis"][1:], strict=False))


@pytest.mark.parametrize(
    ("name", "title"), [("runs/shrink/recording.json", "shrink"), ("shrink.json", "shrink"), ("x", "x")]
)
def test_without_a_title_the_file_names_the_page(recorded: Recorded, name: str, title: str) -> None:
    assert page_data([Source(name, recorded("a-movable"))])["recordings"][0]["title"] == title


def test_damaged_listing_is_named(recorded: Recorded) -> None:
    told = recorded("a-movable")
    damaged = msgspec.structs.replace(told, boot=msgspec.structs.replace(told.boot, iomem="what is this\n"))
    with pytest.raises(UsageError, match=r"bad\.json.*what is this"):
        page_data([Source("bad.json", damaged)])
