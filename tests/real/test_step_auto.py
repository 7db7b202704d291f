"""`vm resize --step auto` on a guest whose boot memory cannot pay for what it is asked to add."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.real.agents import START_AGENT, qemu_with_agent
from tests.waiting import PATIENCE
from virtiomem.cli.main import main
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.recording.values import Load
from virtiomem.units import GiB, MiB, Size
from virtiomem.vm.doors import agent_files, peer

pytestmark = [pytest.mark.real]

ASKED = 24 * GiB
"""Its struct pages are 384M: more than the guest has at boot."""


class Grown:
    """The guest, and what the command says about it."""

    def __init__(self, guest: LinuxGuest, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._guest = guest
        self._where = ["-c", f"vm=qmp:{folder}/vm.sock", "--agent", f"{folder}/ga.sock"]
        self._capsys = capsys

    def resize(self, state: str, size: int) -> tuple[int, dict[str, Any]]:
        """Exit code and result of a growth in steps whose blocks go online like that."""
        self._guest.shell(f"echo {state} > /sys/devices/system/memory/auto_online_blocks")
        code = main(["vm", "resize", "vm0", str(size), "--step", "auto", "--json", *self._where])
        (result,) = json.loads(self._capsys.readouterr().out)["results"]
        return code, result

    @property
    def failures(self) -> str:
        """What the kernel said about memory that it could not have."""
        return self._guest.shell("dmesg | grep -E 'alloc failure|adding memory failed|Out of memory'").text


@pytest.fixture
def grown(
    setup: Setup, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Grown]:
    for module, name in ((agent_files, "ANSWER_SECONDS"), (peer, "ANSWER_SECONDS"), (peer, "LOOK_SECONDS")):
        monkeypatch.setattr(module, name, PATIENCE)
    config = GuestConfig(memory=Size(384 * MiB), max_memory=Size(32 * GiB), default_state="online_movable")
    device = DeviceConfig(id="vm0", max_size=Size(ASKED))
    with LinuxGuest(config, [device], setup=replace(setup, qemu=qemu_with_agent(tmp_path))) as guest:
        guest.play(Load())
        guest.shell(START_AGENT)
        yield Grown(guest, tmp_path, capsys)


def test_growth_that_nothing_pays_for_stops_before_the_guest_is_out_of_memory(grown: Grown) -> None:
    code, result = grown.resize("online_movable", ASKED)
    assert (code, result["outcome"]) == (64, "partly done")
    (device,) = result["devices"]
    assert 4 * GiB < device["size"] == device["requested-size"] < ASKED
    assert "no-room-for-memmap" in {finding["reason"] for finding in result["findings"]}
    assert grown.failures == ""
    code, result = grown.resize("online_kernel", ASKED)
    assert (code, result["outcome"]) == (0, "done")
    assert grown.failures == ""
