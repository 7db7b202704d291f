import io

import pytest
from rich.console import Console

from virtiomem.errors import BackendError
from virtiomem.units import GiB, MiB
from virtiomem.vm.inside import Seen
from virtiomem.vm.model import Machine, VirtioMemDevice
from virtiomem.vm.progress import Track
from virtiomem.vm.results import ResizeProgress
from virtiomem.vm.terminal import MAX_LINES, ProgressScreen, picture
from virtiomem.vm.watch import Sample


def drawn(what: object, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as shown:
        console.print(what)
    return shown.get()


def device(size: int, requested: int) -> VirtioMemDevice:
    return VirtioMemDevice(
        id="vm0",
        memaddr=0,
        size=size,
        requested_size=requested,
        max_size=2 * GiB,
        block_size=2 * MiB,
        node=0,
    )


def sample(vm: str, size: int, requested: int) -> Sample:
    machine = Machine(status="running", boot_memory=GiB, devices=(device(size, requested),))
    return Sample(vm, 1.0, machine, still_for={"vm0": 12.0})


def test_machines_stand_in_a_table_and_lost_ones_below_it() -> None:
    lost = Sample("dead", 1.0, None, BackendError("qmp:/dead: cannot connect: No such file or directory"))
    lines = drawn(picture([lost, sample("web", GiB, 2 * GiB)])).splitlines()
    assert lines[0].rstrip() == "1 of 2 machines, 1G of 2G plugged"
    assert lines[-1].rstrip() == "not looked inside"
    assert lines[1].split() == [
        "VM",
        "DEVICE",
        "KIND",
        "NODE",
        "SIZE",
        "REQUESTED",
        "MAX",
        "BLOCK",
        "STATE",
        "STILL",
        "USE",
    ]
    assert lines[2].split() == [
        "web",
        "vm0",
        "virtio-mem",
        "0",
        "1G",
        "2G",
        "2G",
        "2M",
        "growing",
        "12",
        "s",
        "#" * 10 + "+" * 10,
    ]
    assert lines[3].startswith("dead: qmp:/dead: cannot connect")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_narrow_terminal_keeps_every_size_whole(width: int) -> None:
    shown = drawn(picture([sample("two-nodes", 512 * MiB, 2 * GiB)]), width).splitlines()
    assert "…" not in "".join(shown)
    head, row = shown[1].split(), shown[2].split()
    assert row[head.index("SIZE")] == "512M"
    assert head[-1] == "USE"
    assert row[-1].startswith("#")
    assert set(row[-1]) == {"#", "+"}


def test_bar_gives_way_before_any_column_of_sizes() -> None:
    shown = drawn(picture([sample("two-nodes", 512 * MiB, 2 * GiB)]), 80).splitlines()
    assert {"SIZE", "REQUESTED", "MAX", "NODE", "STATE", "STILL"} <= set(shown[1].split())


def test_progress_shows_pace_and_rest_of_those_that_move() -> None:
    track = Track("vm0", 0, GiB, 0.0)
    track.feed(2.0, 512 * MiB)
    screen = ProgressScreen()
    screen(ResizeProgress("web", (track,), 2.0, 2.0))
    shown = drawn(screen._draw())
    assert "web/vm0" in shown
    assert "512M of 1G" in shown
    assert "256M/s, 2 s left" in shown


def test_standing_still_is_counted() -> None:
    track = Track("vm0", GiB, 0, 0.0)
    track.feed(9.0, GiB)
    screen = ProgressScreen()
    screen(ResizeProgress("web", (track,), 9.0, 9.0))
    assert "still for 9 s; the driver tries again within 41 s" in drawn(screen._draw())


def test_plugged_memory_that_is_still_offline_is_not_shown_as_done() -> None:
    screen = ProgressScreen()
    track = Track("vm0", 0, GiB, 0.0)
    track.feed(1.0, GiB)
    screen(ResizeProgress("web", (track,), 2.0, 2.0, Seen.OFFLINE))
    assert drawn(screen._draw()).split() == ["web", "plugged,", "not", "online", "in", "the", "guest", "yet"]
    screen(ResizeProgress("db", (track,), 2.0, 2.0, Seen.OFFLINE))
    assert drawn(screen._draw()).splitlines()[0].startswith("2 machines  plugged, not online")


def test_hundreds_of_machines_are_summed_up() -> None:
    screen = ProgressScreen()
    for number in range(200):
        screen(ResizeProgress(f"vm{number}", (Track("vm0", 0, GiB if number else 0, 0.0),), 1.0, 1.0))
    lines = drawn(screen._draw()).splitlines()
    assert len(lines) == MAX_LINES + 1
    assert lines[-1].strip() == f"1 of 200 devices at their size, {199 - MAX_LINES} more on their way"
