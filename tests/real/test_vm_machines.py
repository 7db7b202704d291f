"""One suite over two machines: a real Linux in QEMU with a real qemu-ga inside, and a simulated one.

What is done to the guest is a scenario's step on either; what `virtiomem vm` does to it goes through QMP on the one and
through virtual time on the other. The Linux is booted once; every test starts with nothing plugged.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.real.agents import START_AGENT, qemu_with_agent
from tests.waiting import PATIENCE, wait_until
from virtiomem.driver.retry import FIRST
from virtiomem.guest.base import DeviceConfig, GuestConfig, NodeConfig
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.reasons import Certainty
from virtiomem.recording.values import Free, Load, Reboot, Resize, SetState, Step, Unload, Use
from virtiomem.units import GiB, MiB, Size
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors import agent_files as agent_module
from virtiomem.vm.doors import peer
from virtiomem.vm.doors.simulated import SimAgent, SimBackend, open_sim
from virtiomem.vm.drivers import with_inside
from virtiomem.vm.fleet import PlannedResize, ResizeOrder, carry_out, plan_all, policy_for
from virtiomem.vm.inside import Seen
from virtiomem.vm.model import Device, Driver, Machine, Vm
from virtiomem.vm.plan import Scope, Spread, Wish
from virtiomem.vm.results import Reporter, ResizeOutcome, ResizeProgress, ResizeResult, WaitPolicy

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.proves("vm suite on a running Linux")]

MOMENT = 2.0
"""Seconds without any movement once a guest is known to be stuck."""
BLOCK = 128 * MiB
SCENARIO = """
[guest]
memory = "512M"
max-memory = "16G"
default-state = "{default}"
[[guest.nodes]]
id = 0
memory = ["0x0-0xfffffff"]
[[guest.nodes]]
id = 1
memory = ["0x10000000-0x1fffffff"]
[[device]]
id = "vm0"
max-size = "4G"
node = 0
[[device]]
id = "vm1"
max-size = "4G"
node = 1
"""


class Rig(Protocol):
    """A machine with two devices, on two nodes of 256 MiB."""

    def start(self, default: str = "online_movable", *, load: bool = True) -> None:
        """Begin with nothing plugged, this default state of new blocks, and the driver loaded or not."""

    async def open(self) -> Vm:
        """Connect."""

    def play(self, step: Step) -> None:
        """Do something in the guest or to the machine."""

    def retries(self) -> bool:
        """Whether the driver has given up for now and waits for its timer."""


class SimRig:
    """A simulated machine."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vm.toml"
        self.backend: SimBackend | None = None

    def start(self, default: str = "online_movable", *, load: bool = True) -> None:
        self.path.write_text(SCENARIO.format(default=default))
        self.backend = open_sim(str(self.path), label="sim:vm")
        if load:
            self.play(Load())

    async def open(self) -> Vm:
        assert self.backend is not None
        return Vm("vm", self.backend, SimAgent(self.backend))

    def play(self, step: Step) -> None:
        assert self.backend is not None
        self.backend.play([step])

    def retries(self) -> bool:
        return True  # what the driver does at once takes no virtual time


class LinuxRig:
    """A real one."""

    def __init__(self, guest: LinuxGuest, folder: Path) -> None:
        self.guest = guest
        self.folder = folder
        self.loaded = False

    def start(self, default: str = "online_movable", *, load: bool = True) -> None:
        for device in machine(self).virtio_mem:
            if device.size or device.requested_size:
                self.guest.play(Resize(device=device.id, requested_size=Size(0)))
        if machine(self).plugged:  # a page of the kernel's own lies in it
            self.play(Reboot())
        self.guest.shell(f"echo {default} > /sys/devices/system/memory/auto_online_blocks")
        if load != self.loaded:
            self.play(Load() if load else Unload())

    async def open(self) -> Vm:
        return await open_vm(parse_connection(f"vm=qmp:{self.folder}/vm.sock", agent=f"{self.folder}/ga.sock"))

    def play(self, step: Step) -> None:
        record = self.guest.play(step)
        assert record.error is None, record.error
        self.loaded = isinstance(step, Load) or (self.loaded and not isinstance(step, Unload | Reboot))
        if isinstance(step, Reboot):
            self.guest.shell(START_AGENT)

    def retries(self) -> bool:
        return self.guest.shell("grep -q virtio_mem_timer_expired /proc/timer_list").status == 0

    def command(self, *argv: str, monitor: str = "vm") -> subprocess.Popen[str]:
        """`virtiomem vm …` as a process of its own, answering in JSON."""
        where = ["-J", "-c", f"vm=qmp:{self.folder}/{monitor}.sock"]
        return subprocess.Popen(
            [sys.executable, "-m", "virtiomem", "vm", *argv, *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def linux(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LinuxRig]:
    folder = tmp_path_factory.mktemp("vm")
    config = GuestConfig(
        memory=Size(512 * MiB),
        max_memory=Size(16 * GiB),
        default_state="online_movable",
        nodes=[NodeConfig(id=0, memory=["0x0-0xfffffff"]), NodeConfig(id=1, memory=["0x10000000-0x1fffffff"])],
    )
    devices = [DeviceConfig(id=f"vm{node}", max_size=Size(4 * GiB), node=node) for node in (0, 1)]
    with LinuxGuest(config, devices, setup=replace(setup, qemu=qemu_with_agent(folder), accel="tcg")) as guest:
        assert guest.shell(START_AGENT).status == 0
        yield LinuxRig(guest, folder)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest agent in an emulated guest on a busy machine is slow, which is not what is tested here."""
    monkeypatch.setattr(agent_module, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(peer, "ANSWER_SECONDS", PATIENCE)
    monkeypatch.setattr(peer, "LOOK_SECONDS", PATIENCE)


def with_machine(rig: Rig, do: Callable[[Vm], Any]) -> Any:
    async def run() -> Any:
        vm = await rig.open()
        try:
            return await do(vm)
        finally:
            await vm.backend.close()

    return asyncio.run(run())


Condition = Callable[[ResizeProgress], bool]


def resized(
    rig: Rig,
    size: str,
    target: str = "vm",
    scope: Scope = Scope.DEVICE,
    spread: str = "even",
    report: Reporter = lambda _: None,
    agent: bool = True,
    stuck: Condition = lambda _: False,
    **options: Any,
) -> ResizeResult:
    """Resize; a guest counts as stalled a moment after it is known to be stuck, and a busy machine never makes it so."""
    order = ResizeOrder(target=target, wish=Wish.parse(size), scope=scope, spread=Spread.parse(spread))
    policy = policy_for(order, replace(WaitPolicy(redispatch=True, stall=PATIENCE), **options))

    def watched(news: ResizeProgress) -> None:
        report(news)
        object.__setattr__(policy, "stall", MOMENT if stuck(news) else policy_stall)

    policy_stall = policy.stall

    async def run(vm: Vm) -> ResizeResult:
        (job,) = await plan_all([vm if agent else replace(vm, agent=None)], order)
        assert isinstance(job, PlannedResize), job
        (result,) = await carry_out([job], policy, watched)
        return result

    found: ResizeResult = with_machine(rig, run)
    return found


def at(**wanted: int) -> Condition:
    """When the devices have these sizes."""
    return lambda news: {track.device: track.size for track in news.tracks}.items() >= wanted.items()


def machine(rig: Rig) -> Machine:
    async def run(vm: Vm) -> Machine:
        return await vm.backend.look()

    seen: Machine = with_machine(rig, run)
    return seen


def sizes(rig: Rig) -> list[int]:
    return [device.assumed_size for device in machine(rig).virtio_mem]


def first_block(rig: Rig, device: int) -> int:
    """The first memory block of a device."""
    region = machine(rig).virtio_mem[device].region
    assert region is not None
    return region.start // BLOCK


def when(condition: Condition, rig: Rig, *steps: Step) -> Reporter:
    """Do steps in the guest once something is so; a Linux guest keeps an event loop of its own."""
    left = list(steps)

    def play() -> None:
        while left:
            rig.play(left.pop(0))

    def report(news: ResizeProgress) -> None:
        if left and condition(news):
            player = threading.Thread(target=play)
            player.start()
            player.join()

    return report


def said(result: ResizeResult, certainty: Certainty = Certainty.FACT) -> str:
    return "\n".join(finding.text for finding in result.findings if finding.certainty is certainty)


async def drivers(vm: Vm) -> dict[str, Driver]:
    """Which devices have a driver, as the hypervisor and the guest tell it."""
    machine = await vm.backend.look()
    assert vm.agent is not None
    inside = await vm.agent.look(claims=True)
    return with_inside(await vm.backend.hypervisor_info(machine), machine, inside).drivers


def test_driver_that_has_gone_and_left_memory_behind_is_absent(linux: LinuxRig) -> None:
    linux.start("online")
    assert resized(linux, "256M", "vm0").outcome is ResizeOutcome.DONE
    linux.play(Unload())
    assert machine(linux).virtio_mem[0].size == 256 * MiB
    assert with_machine(linux, drivers) == {"vm0": Driver.ABSENT, "vm1": Driver.ABSENT}
    linux.play(Reboot())


def test_agent_has_no_file_open_after_looks_and_interrupts(linux: LinuxRig) -> None:
    """`ls` sees the descriptors of the agent before and after."""

    def descriptors() -> str:
        return linux.guest.shell("ls /proc/$(cat /run/qemu-ga.pid)/fd | wc -l").text

    async def interrupted(vm: Vm) -> None:
        assert vm.agent is not None
        await vm.agent.look(claims=True)
        for turns in (1, 10, 40, 90, 160):
            looking = asyncio.ensure_future(vm.agent.look(claims=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            looking.cancel()
            await asyncio.wait([looking])

    linux.start()
    before = descriptors()
    with_machine(linux, interrupted)
    assert descriptors() == before


class EveryMachine:
    """What holds for a simulated machine and for a real one."""

    def test_no_driver_times_out_and_says_so(self, rig: Rig) -> None:
        rig.start(load=False)
        result = resized(rig, "256M", "vm0", rollback=True, stall=MOMENT)
        assert (result.outcome, result.outcome.exit_code) == (ResizeOutcome.TIMED_OUT, 124)
        assert "no driver in the guest is bound to the device" in said(result)
        assert machine(rig).requested == 0

    def test_growth_over_two_nodes_is_seen_from_inside(self, rig: Rig) -> None:
        rig.start()
        result = resized(rig, "512M", scope=Scope.PLUGGED)
        assert (result.outcome, sizes(rig)) == (ResizeOutcome.DONE, [256 * MiB, 256 * MiB])
        assert any("seen from inside: MemTotal" in note for note in result.notes)
        again = resized(rig, "1G", scope=Scope.TOTAL)
        assert again.outcome is ResizeOutcome.DONE
        assert [device.requested for device in again.devices] == [256 * MiB] * 2, (
            "it has 512M to begin with: nothing to do"
        )

    def test_shrink_of_movable_memory_is_done(self, rig: Rig) -> None:
        rig.start()
        assert resized(rig, "256M", scope=Scope.PLUGGED).outcome is ResizeOutcome.DONE
        result = resized(rig, "-128M", scope=Scope.PLUGGED, spread="pack")
        assert (result.outcome, sizes(rig)) == (ResizeOutcome.DONE, [128 * MiB, 0])

    def test_driver_is_seen_from_inside(self, rig: Rig) -> None:
        rig.start()
        assert with_machine(rig, drivers) == {"vm0": Driver.READY, "vm1": Driver.READY}
        rig.start(load=False)
        assert with_machine(rig, drivers) == {"vm0": Driver.ABSENT, "vm1": Driver.ABSENT}

    def test_offline_default_stops_at_one_gibibyte_and_says_why(self, rig: Rig) -> None:
        rig.start("offline")
        result = resized(rig, "2G", "vm1", stuck=at(vm1=GiB))
        assert (result.outcome, sizes(rig)) == (ResizeOutcome.PARTLY, [0, GiB])
        assert "8 of its memory blocks (1G) are in Linux but offline" in said(result)
        assert "auto_online_blocks is offline" in said(result)
        blind = resized(rig, "2G", "vm1", agent=False, timeout=1.0)
        assert "waits until it is onlined" in said(blind, Certainty.LIKELY)

    def test_onlining_by_hand_lets_growth_go_on(self, rig: Rig) -> None:
        rig.start("offline")
        first = first_block(rig, 1)
        online = SetState(blocks=[first + block for block in range(4)], state="online_movable")
        result = resized(rig, "1152M", "vm1", report=when(at(vm1=GiB), rig, online), agent=False)
        assert (result.outcome, sizes(rig)[1]) == (ResizeOutcome.PLUGGED, 1152 * MiB), (
            "the rest is offline, for all we know"
        )

    def test_offline_memory_that_was_not_looked_at_is_not_done(self, rig: Rig) -> None:
        rig.start("offline")
        blind = resized(rig, "256M", "vm0", agent=False)
        assert (blind.outcome, blind.outcome.exit_code, blind.inside) == (ResizeOutcome.PLUGGED, 64, Seen.NOT_LOOKED)
        assert sizes(rig)[0] == 256 * MiB
        seeing = resized(rig, "256M", "vm0", stuck=at(vm0=256 * MiB))
        assert (seeing.outcome, seeing.inside) == (ResizeOutcome.PARTLY, Seen.OFFLINE)
        first = first_block(rig, 0)
        rig.play(SetState(blocks=[first, first + 1], state="online_movable"))
        assert resized(rig, "256M", "vm0").inside is Seen.ONLINE

    def test_memory_in_use_is_partly_done_with_the_reason_and_asked_again_when_free(self, rig: Rig) -> None:
        rig.start("online")
        assert resized(rig, "256M", "vm0").outcome is ResizeOutcome.DONE
        rig.play(Use(id="pinned", size=Size(96 * MiB), kind="unmovable"))
        result = resized(rig, "0", "vm0", stuck=lambda _: rig.retries())
        stuck = sizes(rig)[0]
        assert result.outcome is ResizeOutcome.PARTLY
        assert result.outcome.exit_code == 64
        assert 96 * MiB <= stuck < 256 * MiB
        assert "outside Movable, kernel pages may pin them" in said(result)
        assert "the driver tries again in" in said(result, Certainty.LIKELY)
        rig.play(Free(id="pinned"))
        again = resized(rig, "0", "vm0", stuck=lambda news: news.tracks[0].size <= stuck - 64 * MiB)
        assert again.seconds < FIRST, "the same resize makes the driver try at once, not after 50 s"
        assert sizes(rig)[0] <= stuck - 64 * MiB, "a real kernel may keep a page or two of its own there"

    def test_memory_freed_while_waiting_goes_at_the_drivers_first_retry(self, rig: Rig) -> None:
        rig.start("online")
        assert resized(rig, "128M", "vm0").outcome is ResizeOutcome.DONE
        rig.play(Use(id="pinned", size=Size(64 * MiB), kind="unmovable"))
        free = when(lambda _: True, rig, Free(id="pinned"))
        seen: list[tuple[float, int]] = []

        freed = False

        def report(news: ResizeProgress) -> None:
            nonlocal freed
            if freed:
                seen.append((news.waited, news.tracks[0].size))
            elif rig.retries():
                free(news)
                freed = True

        resized(rig, "0", "vm0", report=report, stuck=lambda _: bool(seen) and seen[-1][1] < seen[0][1])
        gone = next(waited for waited, size in seen if size < seen[0][1])
        assert FIRST - MOMENT <= gone < 2 * FIRST, "at the first retry, not before and not at the second"

    def test_node_that_is_stuck_leaves_its_share_to_the_other(self, rig: Rig) -> None:
        """Node 0's new memory stays offline up to the limit; the other node's is onlined as it comes."""
        rig.start("offline")
        first = first_block(rig, 1)
        online = SetState(blocks=[first + block for block in range(8)], state="online_movable")

        def stuck(news: ResizeProgress) -> bool:
            return at(vm0=GiB, vm1=1152 * MiB)(news) and news.tracks[1].target == 1152 * MiB

        result = resized(
            rig, "2304M", scope=Scope.PLUGGED, report=when(at(vm0=GiB, vm1=GiB), rig, online), agent=False, stuck=stuck
        )
        assert (result.outcome, sizes(rig)) == (ResizeOutcome.PLUGGED, [GiB, 1280 * MiB])
        assert "vm0 is stuck at 1G: the other 128M went to other devices" in result.notes

    def test_reboot_in_mid_resize_is_waited_out(self, rig: Rig) -> None:
        rig.start(load=False)
        result = resized(rig, "128M", "vm1", report=when(lambda _: True, rig, Reboot(), Load()))
        assert (result.outcome, sizes(rig)[1]) == (ResizeOutcome.DONE, 128 * MiB)
        assert any(note.startswith("the guest was reset after") for note in result.notes)


class TestSim(EveryMachine):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        return SimRig(tmp_path)


class TestLinux(EveryMachine):
    @pytest.fixture
    def rig(self, linux: LinuxRig) -> Rig:
        return linux


def waiting(linux: LinuxRig, size: str) -> subprocess.Popen[str]:
    """A resize that cannot end: the default is offline, and more than a gibibyte is asked for."""
    linux.start("offline")
    process = linux.command("resize", "vm0", size)
    try:
        wait_until(lambda: grown(machine(other(linux)).virtio_mem[0]), "the resize did not begin")
    except BaseException:
        process.kill()
        raise
    return process


def grown(device: Device) -> bool:
    """Whether it has got what it can."""
    return bool(device.requested_size) and device.size == GiB


def other(linux: LinuxRig) -> Rig:
    """The same machine through its other monitor."""

    class Other(LinuxRig):
        async def open(self) -> Vm:
            return await open_vm(parse_connection(f"vm=qmp:{self.folder}/other.sock"))

    return Other(linux.guest, linux.folder)


def ended(process: subprocess.Popen[str]) -> tuple[int, Any]:
    out, err = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in err
    (result,) = json.loads(out)["results"]
    return process.returncode, result


def test_command_without_an_agent_says_that_it_did_not_look(linux: LinuxRig) -> None:
    linux.start("offline")
    code, result = ended(linux.command("resize", "vm0", "256M"))
    assert (code, result["outcome"], result["inside"]) == (64, "plugged", "not looked")
    out, _ = linux.command("explain", "vm/vm0").communicate(timeout=PATIENCE)
    assert "nothing is missing" not in out
    assert "not looked inside" in out
    assert (
        '"text": "give --agent, or run lsmem in the guest; `vm explain` takes a capture of it (--capture), too"' in out
    )
    code, result = ended(linux.command("resize", "vm0", "384M", "--until", "plugged"))
    assert (code, result["outcome"], result["inside"]) == (0, "done", "not looked")
    out, _ = linux.command("explain", "vm/vm0", "--agent", f"{linux.folder}/ga.sock").communicate(timeout=PATIENCE)
    assert "3 of its memory blocks (384M) are in Linux but offline" in out


def test_two_resizes_that_race_end_with_one_winner(linux: LinuxRig) -> None:
    loser = waiting(linux, "2G")
    winner = linux.command("resize", "vm0", "512M", monitor="other")
    assert ended(winner)[0] == 0
    code, result = ended(loser)
    assert (code, result["outcome"]) == (1, "superseded")
    assert result["notes"] == ["vm0: another client set its requested-size to 512M"]


def test_monitor_in_use_is_named_as_the_reason_for_silence(linux: LinuxRig) -> None:
    holder = waiting(linux, "2G")
    late = linux.command("list")
    _, err = late.communicate(timeout=PATIENCE)
    assert late.returncode == 124
    assert "is another client connected? QEMU serves one per monitor" in err
    holder.send_signal(signal.SIGINT)
    code, result = ended(holder)
    assert (code, result["outcome"]) == (130, "interrupted")
    assert (result["devices"][0]["size"], result["devices"][0]["requested-size"]) == (GiB, 2 * GiB)


def test_killed_qemu_is_lost_and_leaves_nothing(linux: LinuxRig) -> None:
    process = waiting(linux, "2G")
    os.kill(linux.guest.pid, signal.SIGKILL)
    code, result = ended(process)
    assert (code, result["outcome"]) == (1, "lost")
    assert "connection lost" in result["notes"][0]
