"""The header of a crash kernel in a real guest: as QEMU sees it in memory, as the guest itself sees it, as commands print it."""

import json
from pathlib import Path

import pytest
from msgspec import UNSET

from tests.real.test_captured_guest import capture_inside
from virtiomem.cli.main import main
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.live.capture import loads
from virtiomem.recording.values import Load, LoadCrashKernel, Resize
from virtiomem.releases.linux import LINUX
from virtiomem.units import GiB, MiB, Size

pytestmark = pytest.mark.real


def resize(size: int) -> Resize:
    return Resize(device="vm0", requested_size=Size(size))


@pytest.mark.on(linux="every")
def test_the_header_that_the_guest_reads_in_its_own_memory_is_the_one_that_lies_there(
    setup: Setup, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = DeviceConfig(id="vm0", max_size=Size(2 * GiB))
    config = GuestConfig(memory=Size(GiB), default_state="online_movable", crashkernel=Size(192 * MiB))
    with LinuxGuest(config, [device], setup=setup, kexec=True) as guest:
        guest.play(Load())
        guest.play(resize(512 * MiB))
        assert "[proc/kcore] no crash header" in capture_inside(guest)
        assert guest.play(LoadCrashKernel()).error is None
        guest.play(resize(GiB))
        header = guest.play(resize(256 * MiB)).snapshot.crash_header
        captured = capture_inside(guest)
        release = LINUX.release(guest.info["kernel"])
        assert guest.play(LoadCrashKernel(syscall="kexec_load")).error is None
        assert "[proc/kcore] no crash header" in capture_inside(guest)
    assert header is not UNSET
    (tmp_path / "guest.capture").write_text(captured)
    assert loads(captured).section("proc/kcore").lines == [f"{start:08x}-{end:08x}" for start, end in header.ranges]
    assert main(["kdump", str(tmp_path / "guest.capture"), "--header", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["kept-up-to-date"], told["syscall"]) == (header.kept_up_to_date, "kexec_file_load")
    assert header.kept_up_to_date is release.keeps_crash_header
    assert [(one["start"], one["end"]) for one in told["now"]] == header.ranges
    assert told["missing"] == []
    behind = 128 * MiB if header.kept_up_to_date else 256 * MiB
    assert sum(one["size"] for one in told["gone"]) == behind, "one removal behind, or as it was at loading"
