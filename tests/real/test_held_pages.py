"""What holds memory in a real guest: put there in a known amount, captured inside, and named outside with no machine to ask."""

import base64
import io
import json
import struct
import subprocess
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.real.agents import START_AGENT, qemu_with_agent
from tests.real.needs import require
from tests.waiting import PATIENCE
from virtiomem.cli.main import main
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.live import script
from virtiomem.recording.page_use import use_of
from virtiomem.recording.values import Load, Resize
from virtiomem.units import GiB, MiB, Size
from virtiomem.vm.doors import agent_files, guest_agent, peer

pytestmark = [pytest.mark.real, pytest.mark.on(linux="every", shared=True)]

PUT = {
    "moves-shmem": 64 * MiB,
    "moves-mlocked": 24 * MiB,
    "moves-hugetlb": 16 * MiB,
    "held-by-pinned": 12 * MiB,
    "held-by-page-table": 16 * MiB,
    "held-by-slab": 8 * MiB,
}
"""What is put into the guest, by what should be said about it; of slab at least as much."""
MAPPED = 256
"""Pages that a process maps, and that a pipe holds as well, or does not."""
FILES = 12000
"""Empty files; each has a dentry (192 bytes) and an inode (700 and more)."""

Findings = list[dict[str, Any]]
ATTEMPTS = 5


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The program that holds memory."""
    source, built = Path(__file__).with_name("hold.c"), tmp_path_factory.mktemp("hold") / "hold"
    options = "-static -nostdlib -Os -fno-stack-protector -fno-pie -no-pie -s -Wl,-z,noseparate-code,--build-id=none"
    command = [require("gcc", "gcc"), *options.split(), "-o", str(built), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return built.read_bytes()


@pytest.fixture(scope="module")
def captures(setup: Setup, holder: bytes, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The guest with all of it in zone Normal, and once it was asked to give everything back: as it says itself, and its agent."""
    folder = tmp_path_factory.mktemp("held")
    config, device = (
        GuestConfig(memory=Size(512 * MiB), default_state="online"),
        DeviceConfig(id="vm0", max_size=Size(GiB)),
    )
    with LinuxGuest(config, [device], setup=replace(setup, qemu=qemu_with_agent(folder))) as guest:
        guest.play(Load())
        guest.play(Resize(device="vm0", requested_size=Size(GiB)))
        send(guest, "/hold", holder)
        send(guest, "/capture.sh", script.text("0").encode())
        guest.shell("/bin/busybox --install -s /bin; chmod +x /hold; mkdir /held; mount -t tmpfs held /held")
        guest.shell(f"fallocate -l {PUT['moves-shmem']} /held/file")
        guest.shell(f"echo {PUT['moves-hugetlb'] >> 21} > /proc/sys/vm/nr_hugepages")
        hold(guest, "mlock", PUT["moves-mlocked"] >> 20)
        hold(guest, "pipe", PUT["held-by-pinned"] >> 12)
        hold(guest, "tables", PUT["held-by-page-table"] >> 12)
        hold(guest, "files", FILES)
        for kind in ("anonymous", "keep"):
            (folder / kind).write_text("\n".join(pages_of(guest, hold(guest, kind, MAPPED))))
        (folder / "full").write_text(guest.shell("sh /capture.sh --pages --seconds 900").text)
        guest.play(Resize(device="vm0", requested_size=Size(0)))
        (folder / "stuck").write_text(guest.shell("sh /capture.sh --pages --seconds 900").text)
        guest.shell(START_AGENT)
        (folder / "by-agent").write_text(explained_by_agent(folder))
    return {one: folder / one for one in ("full", "stuck", "by-agent", "anonymous", "keep")}


def explained_by_agent(folder: Path) -> str:
    """What `vm explain` prints of the guest; its agent has a serial line, and a busy emulated guest is slow.

    It was seen to give no answer at first, or one to another number, on a busy machine: it goes into the background before it
    has its line. So it is asked again, a few times.
    """
    for _ in range(ATTEMPTS):
        printed = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
            patch.setattr(agent_files, "ANSWER_SECONDS", PATIENCE / ATTEMPTS)
            patch.setattr(guest_agent, "LOOK_SECONDS", PATIENCE)
            patch.setattr(peer, "LOOK_SECONDS", PATIENCE)
            words = ["vm", "explain", "--json", "-c", f"vm=qmp:{folder}/vm.sock", "--agent", f"{folder}/ga.sock"]
            if main([*words, "--pages-for", f"{PATIENCE:g}"]) == 0:
                return printed.getvalue()
    pytest.fail(f"the agent did not answer in {ATTEMPTS} attempts")


def send(guest: LinuxGuest, path: str, data: bytes) -> None:
    guest.shell(f"echo {base64.b64encode(data).decode()} | base64 -d > {path}")


def hold(guest: LinuxGuest, kind: str, count: int) -> int:
    """Start the program and wait until it holds what it shall; its process."""
    start = f"cd /held && mkfifo /{kind} && {{ /hold {kind} {count} > /{kind} 2>&1 & echo $!; head -n 1 /{kind}; }}"
    pid, said = guest.shell(start).text.splitlines()
    assert said == "held"
    return int(pid)


def pages_of(guest: LinuxGuest, pid: int) -> set[str]:
    """Use and count of pages that a process maps, by /proc/kpageflags and /proc/kpagecount."""

    def words(file: str, at: int, count: int = 1) -> tuple[int, ...]:
        text = guest.shell(f"dd if={file} bs=8 skip={at} count={count} 2>/dev/null | base64 -w 0").text
        return struct.unpack(f"<{count}Q", base64.b64decode(text))

    maps = [line.split()[0].split("-") for line in guest.shell(f"cat /proc/{pid}/maps").text.splitlines()]
    (start,) = (int(first, 16) for first, last in maps if int(last, 16) - int(first, 16) == MAPPED << 12)
    frames = [entry & (1 << 55) - 1 for entry in words(f"/proc/{pid}/pagemap", start >> 12, MAPPED)]
    looks = [(*words("/proc/kpageflags", at), *words("/proc/kpagecount", at)) for at in frames[:: MAPPED // 4]]
    return {f"{use_of(flags)}, mapped by {count}" for flags, count in looks}


def explained(capture: Path, capsys: pytest.CaptureFixture[str]) -> Findings:
    assert main(["explain", str(capture), "--json"]) == 0
    findings: Findings = json.loads(capsys.readouterr().out)["findings"]
    return findings


def sizes(findings: Findings) -> dict[str, int]:
    """How much of each use there is."""
    return {one["reason"]: one["values"]["size"] for one in findings if one["reason"].startswith(("held-", "moves-"))}


@pytest.mark.parametrize("reason", PUT)
def test_what_was_put_there_is_named_with_its_amount(
    captures: dict[str, Path], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sizes(explained(captures["full"], capsys))[reason]
    assert PUT[reason] * 0.95 <= found <= PUT[reason] * 1.25 + (16 * MiB if reason == "held-by-slab" else 0)


def test_what_cannot_move_still_holds_its_blocks_after_the_shrink(
    captures: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    findings = explained(captures["stuck"], capsys)
    assert sizes(findings).keys() >= {"held-by-pinned", "held-by-page-table", "held-by-slab"}
    told = {one["reason"]: one["text"] for one in findings if one["certainty"] == "fact"}
    assert "cannot move, in" in told["block-pages"]
    assert "Normal" in told["kernel-zones"]
    chain = next(one for one in findings if one["reason"] == "chain")["values"]["steps"]
    assert [step["step"] for step in chain][:3] == ["asked for", "plugged by the device", "added by the driver"]
    assert (chain[0]["size"], chain[1]["size"] > 0) == (0, True)


def test_agent_names_the_same_pages_as_a_capture(captures: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (vm,) = json.loads(captures["by-agent"].read_text())["vms"]
    by_agent, by_capture = sizes(vm["findings"]), sizes(explained(captures["stuck"], capsys))
    held = ("held-by-pinned", "held-by-page-table", "held-by-slab")
    assert [by_agent[reason] for reason in held] == pytest.approx([by_capture[reason] for reason in held], rel=0.05)
    assert not any(one["reason"] == "unreadable" for one in vm["findings"])


def test_page_that_is_mapped_and_also_held_looks_like_any_other(captures: dict[str, Path]) -> None:
    """/proc/kpagecount counts mappings: that is why it is not read."""
    assert captures["keep"].read_text() == captures["anonymous"].read_text() == "anonymous, mapped by 1"


def test_what_proc_does_not_tell_is_said(captures: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    unknown = {one["reason"] for one in explained(captures["full"], capsys) if one["certainty"] == "unknown"}
    assert "pins-unseen" in unknown
