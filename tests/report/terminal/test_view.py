import io
from pathlib import Path

import pytest
from msgspec import structs

from virtiomem import recording
from virtiomem.recording import Recording
from virtiomem.report.terminal import RunView, make_console, side_by_side
from virtiomem.report.terminal.console import PLAIN_WIDTH

RECORDINGS = sorted((Path(__file__).parents[2] / "data" / "recordings").glob("*/recording.json"))


def shown(whole: Recording) -> str:
    """Everything a run of this recording shows, step by step as it grows."""
    out = io.StringIO()
    growing = structs.replace(whole, steps=[])
    view = RunView(make_console(out), growing)
    view.header()
    for record in whole.steps:
        growing.steps.append(record)
        view.step()
    view.totals()
    return out.getvalue()


def named(name: str) -> Recording:
    return recording.load(next(path for path in RECORDINGS if path.parent.name == name))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.parent.name, marks=[pytest.mark.long] if at % 5 else ())
        for at, path in enumerate(RECORDINGS)
    ],
)
def test_real_recording_is_shown_plain_without_trailing_blanks(path: Path) -> None:
    said = shown(recording.load(path))
    assert "\x1b" not in said
    assert all(line == line.rstrip() for line in said.splitlines())
    assert f"memory blocks of {'2G' if path.parent.name == 's-big-block' else '128M'}" in said


def test_totals_show_where_a_run_had_the_most() -> None:
    lines = shown(named("a-patch-exact")).splitlines()
    assert "                           at boot  after step 1  at the end" in lines
    assert "  System RAM (virtio_mem)        -       2G in 1           -" in lines
    assert lines[-1] == "4 steps; 24 PLUG, 24 UNPLUG"


def test_totals_need_no_third_column_when_the_end_is_the_most() -> None:
    whole = named("a-patch-exact")
    lines = shown(structs.replace(whole, steps=whole.steps[:1])).splitlines()
    assert "                           at boot  at the end" in lines


def test_totals_need_no_third_column_when_the_guest_started_with_the_most() -> None:
    whole = named("a-patch-exact")
    shrinks = structs.replace(whole, boot=whole.steps[0].snapshot, steps=whole.steps[1:])
    lines = shown(shrinks).splitlines()
    assert "after step 0" not in "\n".join(lines)
    assert [line.split() for line in lines if "at boot" in line] == [["at", "boot", "at", "the", "end"]]


def test_summary_counts_refusals_and_steps_that_stopped_short() -> None:
    assert shown(named("i-qmp-errors")).splitlines()[-1].startswith("6 steps, 3 refused; ")
    assert "8 steps, 4 stopped short; " in shown(named("a-offline"))
    whole = named("a-movable")
    assert shown(structs.replace(whole, steps=[])).splitlines()[-1] == "0 steps; no requests"


def test_dimm_and_two_devices_have_their_own_strips() -> None:
    said = shown(named("m-dimm")).splitlines()
    assert "    dimm0     MMMMMMMM" in said
    assert "    vm1       MMMMm..........................." in shown(named("d-two-devices")).splitlines()


def test_partly_plugged_is_known_from_the_requests_alone() -> None:
    assert "    partly    block 50: 44M of 128M" in shown(named("b-zigzag-movable")).splitlines()


def test_totals_of_a_guest_without_devices_have_no_heading_for_them() -> None:
    whole = named("a-patch-exact")
    bare = structs.replace(whole, boot=structs.replace(whole.boot, devices=[]), steps=[])
    assert "devices, plugged" in shown(whole)
    assert "devices, plugged" not in shown(bare)


def test_ends_side_by_side_are_lined_up() -> None:
    out = io.StringIO()
    side_by_side(make_console(out), {"a": named("e-manual-movable"), "b": named("m-dimm")})
    lines = out.getvalue().splitlines()
    assert lines[:2] == [f"{name} (Linux 6.1.0-56-cloud-amd64)" for name in ("a", "b")]
    assert "180000000-37fffffff : virtio0       180000000-37fffffff : virtio0" in lines
    assert all(line == line.rstrip() for line in lines)


def test_width_is_the_same_wherever_it_is_not_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert make_console(io.StringIO()).width == PLAIN_WIDTH


def test_listing_without_devices_has_no_window() -> None:
    whole = named("a-movable")
    empty = structs.replace(whole.boot, devices=[])
    out = io.StringIO()
    side_by_side(make_console(out), {"a": structs.replace(whole, boot=empty, steps=[])})
    assert "resources" in out.getvalue()


def test_totals_count_pages_of_the_size_that_the_recording_says() -> None:
    small = named("a-movable")
    large = structs.replace(small, guest={**small.guest, "page-size": 65536})
    for recorded, size in ((small, "2G"), (large, "31.7G")):
        (line,) = [line for line in shown(recorded).splitlines() if line.startswith("  node0 DMA32 ")]
        assert set(line.split()[2:]) == {size}
