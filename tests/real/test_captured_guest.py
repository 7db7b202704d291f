"""As its user would: capture inside a real guest, ask outside what a shrink takes and what a dump holds, then do it."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real.needs import require
from virtiomem.cli.main import main
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.kdump import elfcore
from virtiomem.live import capture as capture_file
from virtiomem.live import script
from virtiomem.live.load import snapshot_of
from virtiomem.live.reading import load_any
from virtiomem.recording.values import Load, Resize, SetState, Snapshot, VirtioMemInfo
from virtiomem.units import GiB, MiB, Size

pytestmark = pytest.mark.real

PLUGGED = GiB + 6 * MiB
SHRINK = 390 * MiB
OFFLINE = 34
"""A block that was taken offline by hand: the driver takes it first."""


@dataclass(frozen=True)
class Story:
    """What was captured, what was said about it, and what the guest then did."""

    capture: Path
    before: Snapshot
    after: Snapshot
    header: Path
    vmcore: Path
    symbols: dict[str, int]
    release: str


@pytest.fixture(scope="module")
def story(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("captured")
    device = DeviceConfig(id="vm0", max_size=Size(2 * GiB))
    config = GuestConfig(memory=Size(512 * MiB), default_state="online_movable")
    with LinuxGuest(config, [device], setup=setup) as guest:
        guest.play(Load())
        guest.play(Resize(device="vm0", requested_size=Size(PLUGGED)))
        before = guest.play(SetState(blocks=[OFFLINE], state="offline")).snapshot
        (folder / "guest.capture").write_text(capture_inside(guest))
        symbols = kernel_symbols(guest)
        header = folder / "header.elf"
        write_header(folder / "guest.capture", header, symbols)
        save_memory(guest, header, folder / "vmcore")
        after = guest.play(Resize(device="vm0", requested_size=Size(PLUGGED - SHRINK))).snapshot
        release = guest.info["kernel"]
        assert guest.info["page-size"] == 4096
    yield Story(folder / "guest.capture", before, after, header, folder / "vmcore", symbols, release)
    shutil.rmtree(folder)


def capture_inside(guest: LinuxGuest) -> str:
    """Run the shell program in the guest's busybox, and have what it prints."""
    program = base64.b64encode(script.text("0").encode()).decode()
    guest.shell("/bin/busybox --install -s /bin")
    guest.shell(f"echo {program} | base64 -d > /capture.sh")
    taken = guest.shell("sh /capture.sh --pages")
    assert taken.status == 0
    return taken.text


def kernel_symbols(guest: LinuxGuest) -> dict[str, int]:
    """Where the kernel is mapped, and whether it has five page-table levels."""
    lines = guest.shell("grep -E ' (_text|_end)$' /proc/kallsyms").text.splitlines()
    symbols = {line.split()[2]: int(line.split()[0], 16) for line in lines}
    symbols["levels"] = 5 if guest.shell("grep -q la57 /proc/cpuinfo").status == 0 else 4
    return symbols


def write_header(capture: Path, header: Path, symbols: dict[str, int]) -> None:
    text = f"{symbols['_text']:#x}:{symbols['_end'] - symbols['_text']}"
    argv = ["kdump", str(capture), "-o", str(header), "--text", text, "--direct-map", f"{symbols['levels']}-level"]
    assert main(argv) == 0


def save_memory(guest: LinuxGuest, header: Path, vmcore: Path) -> None:
    """The header, and behind it every segment's memory at its physical address: what the crash kernel would read."""
    guest.qmp.execute("stop")
    part = vmcore.with_suffix(".part")
    with vmcore.open("wb") as file:
        file.write(header.read_bytes())
        for segment in elfcore.load(header)[3:]:
            place = {"val": segment.paddr, "size": segment.memsz, "filename": str(part)}
            guest.qmp.execute("pmemsave", place)
            copy_sparse(part, file, segment.offset)
        file.truncate(max(segment.offset + segment.filesz for segment in elfcore.load(header)))
    part.unlink()
    guest.qmp.execute("cont")


def copy_sparse(part: Path, file: Any, offset: int) -> None:
    with part.open("rb") as memory:
        while chunk := memory.read(MiB):
            if chunk.count(0) != len(chunk):
                file.seek(offset)
                file.write(chunk)
            offset += len(chunk)


def json_of(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main([*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def device_of(snapshot: Snapshot) -> VirtioMemInfo:
    (device,) = (device for device in snapshot.devices if isinstance(device, VirtioMemInfo))
    return device


def test_the_capture_holds_what_the_hypervisor_and_the_agent_saw(story: Story) -> None:
    capture = load_any(story.capture)
    assert capture.said_page_size == 4096
    taken = snapshot_of(capture)
    seen = device_of(story.before)
    assert (device_of(taken).memaddr, device_of(taken).max_size) == (seen.memaddr, seen.max_size)
    assert (device_of(taken).requested_size, device_of(taken).block_size) == (seen.requested_size, seen.block_size)
    assert device_of(taken).node == seen.node
    assert taken.zones.keys() == story.before.zones.keys()
    assert [(one.block, one.state, one.valid_zones, one.nodes) for one in taken.memory_blocks] == [
        (one.block, one.state, one.valid_zones, one.nodes) for one in story.before.memory_blocks
    ]
    ram = [line for line in story.before.iomem.splitlines() if "System RAM" in line]
    assert [line for line in taken.iomem.splitlines() if "System RAM" in line] == ram


def test_pages_tell_what_is_plugged_in_every_block_that_is_online(story: Story) -> None:
    taken = {one.block: one.plugged for one in snapshot_of(load_any(story.capture)).memory_blocks}
    mine = [
        one.block for one in story.before.memory_blocks if one.block >= device_of(story.before).memaddr // (128 * MiB)
    ]
    sizes = {number: taken[number] for number in mine}
    assert not isinstance(sizes.pop(OFFLINE), int)
    assert sizes.pop(max(mine)) == 6 * MiB
    assert set(sizes.values()) == {128 * MiB}


def test_the_plan_names_the_blocks_that_the_driver_then_took(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json_of(capsys, "blocks", str(story.capture), "--by", str(SHRINK))
    before, after = ({block.block for block in one.memory_blocks} for one in (story.before, story.after))
    assert [block["block"] for block in plan["memory-blocks"]][:2] == [OFFLINE, max(before)]
    assert {block["block"] for block in plan["memory-blocks"] if block["removed"]} == before - after
    assert device_of(story.after).size == PLUGGED - SHRINK


def test_the_header_dumps_the_ram_of_the_map(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    assert json_of(capsys, "kdump", str(story.capture), "--against", str(story.header)) == {"missing": [], "gone": []}
    shown = run("readelf", "--program-headers", "--wide", str(story.header), package="binutils")
    assert "There are 5 program headers" in shown
    assert shown.count(" LOAD ") == 3


def test_makedumpfile_reads_the_kernel_log_through_our_header(story: Story, tmp_path: Path) -> None:
    run("makedumpfile", "--dump-dmesg", "-f", str(story.vmcore), str(tmp_path / "log"), package="makedumpfile")
    assert f"Linux version {story.release} " in (tmp_path / "log").read_text(errors="replace")


def test_makedumpfile_makes_a_smaller_dump_that_still_holds_virtio_mems_memory(story: Story, tmp_path: Path) -> None:
    run("makedumpfile", "-E", "-d", "31", "-f", str(story.vmcore), str(tmp_path / "dump"), package="makedumpfile")
    starts = {segment.paddr for segment in elfcore.load(tmp_path / "dump") if segment.type == elfcore.SegmentType.LOAD}
    assert device_of(story.before).memaddr in starts


def run(*command: str, package: str) -> str:
    """Run another program, if it is here."""
    return subprocess.run(
        [require(command[0], package), *command[1:]], check=True, capture_output=True, text=True, errors="replace"
    ).stdout


def test_the_capture_is_small(story: Story) -> None:
    assert story.capture.stat().st_size < 8192
    assert capture_file.load(story.capture).by == "capture.sh of virtiomem 0"
