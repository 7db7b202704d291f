"""Resizes of simulated machines: the driver's behaviour is the embedded guest's, time is virtual."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from msgspec.structs import replace as replace_struct

from virtiomem.errors import DeviceError
from virtiomem.reasons import Certainty
from virtiomem.recording.values import Free, Load, Reboot, Resize, SetState
from virtiomem.units import GiB, MiB, Size
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors.guest_agent import GuestAgent
from virtiomem.vm.doors.simulated import SimBackend
from virtiomem.vm.fleet import MachineRefusal, PlannedResize, ResizeOrder, carry_out, exit_code, plan_all, policy_for
from virtiomem.vm.inside import GuestMemoryInfo, Seen
from virtiomem.vm.model import Driver, Event, Machine, Vm
from virtiomem.vm.plan import Scope, Spread, Wish
from virtiomem.vm.results import Reporter, ResizeOutcome, ResizeProgress, ResizeResult, WaitPolicy
from virtiomem.vm.tables import result_json, result_lines

Sim = Callable[..., Vm]

IN_USE = 'do = "use"\nid = "guest-kernel"\nsize = "5G"\nkind = "unmovable"'
TWO_NODES = (
    'default-state = "online_movable"\n'
    '[[guest.nodes]]\nid = 0\nmemory = ["0x0-0x7fffffff"]\n'
    '[[guest.nodes]]\nid = 1\nmemory = ["0x100000000-0x17fffffff"]'
)
TWO_DEVICES = ('id = "vm0"\nmax-size = "4G"\nnode = 0', 'id = "vm1"\nmax-size = "4G"\nnode = 1')


def resized(
    vm: Vm,
    size: str,
    target: str = "guest",
    scope: Scope = Scope.DEVICE,
    spread: str | None = None,
    report: Reporter = lambda _: None,
    **options: Any,
) -> ResizeResult:
    rule = Spread() if spread is None else Spread.parse(spread)
    order = ResizeOrder(target=target, wish=Wish.parse(size), scope=scope, spread=rule)
    policy = policy_for(order, replace(WaitPolicy(redispatch=True), **options))

    async def run() -> ResizeResult:
        (job,) = await plan_all([vm], order)
        assert isinstance(job, PlannedResize), job
        (result,) = await carry_out([job], policy, report)
        return result

    return asyncio.run(run())


def machine(vm: Vm) -> Machine:
    return asyncio.run(vm.backend.look())


def machine_now(vm: Vm) -> Machine:
    """The same from within a running loop: a simulated machine's look never waits."""
    looking: Any = vm.backend.look()
    try:
        looking.send(None)
    except StopIteration as seen:
        return seen.value  # type: ignore[no-any-return]
    raise AssertionError("it waited")


def guest_of(vm: Vm) -> SimBackend:
    assert isinstance(vm.backend, SimBackend)
    return vm.backend


def when(seconds: float, vm: Vm, *steps: Any) -> Reporter:
    """Do steps in the guest once that much time has passed."""
    left = list(steps)

    def report(news: ResizeProgress) -> None:
        if news.waited >= seconds and left:
            guest_of(vm).play(left)
            left.clear()

    return report


def facts(result: ResizeResult) -> str:
    return "\n".join(f.text for f in result.findings if f.certainty is Certainty.FACT)


def test_growth_is_done_when_the_guest_has_it_online(sim: Sim) -> None:
    result = resized(sim(), "2G")
    assert result.outcome is ResizeOutcome.DONE
    assert [(d.size_before, d.size, d.requested) for d in result.devices] == [(0, 2 * GiB, 2 * GiB)]


def test_shrink_of_idle_movable_memory_is_done(sim: Sim) -> None:
    assert resized(sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"'), "-3G").devices[0].size == GiB


def test_repeating_a_resize_has_nothing_to_do(sim: Sim) -> None:
    vm = sim()
    assert resized(vm, "2G").outcome is ResizeOutcome.DONE
    again = resized(vm, "2G")
    assert (again.outcome, again.seconds, again.devices[0].size_before) == (ResizeOutcome.DONE, 0.0, 2 * GiB)


def test_shrink_of_memory_in_use_is_partly_done_after_the_first_retry_and_says_why(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')
    result = resized(vm, "0")
    assert result.outcome is ResizeOutcome.PARTLY
    assert result.outcome.exit_code == 64
    assert 50 < result.seconds < 70, "the driver's first retry, after 50 s, has had its chance"
    size = result.devices[0].size
    assert size is not None
    assert 0 < size < 4 * GiB
    assert "outside Movable" in facts(result)
    assert "unmovable pages of 'guest-kernel'" in facts(result)


def test_naive_time_out_says_when_the_driver_tries_again(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')
    result = resized(vm, "0", timeout=30.0)
    assert (result.outcome.exit_code, result.seconds) == (124, 30.0)
    assert any("the driver tries again in 20 s" in finding.text for finding in result.findings)


def test_memory_freed_while_waiting_is_taken_at_the_next_retry(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')
    result = resized(vm, "0", report=when(10, vm, Free(id="guest-kernel")))
    assert (result.outcome, result.devices[0].size) == (ResizeOutcome.DONE, 0)
    assert 50 <= result.seconds < 52, "not before the timer fires, and as soon as it does"


def test_no_driver_times_out_and_says_so(sim: Sim) -> None:
    result = resized(sim(load=False), "1G")
    assert result.outcome is ResizeOutcome.TIMED_OUT
    assert result.outcome.exit_code == 124
    assert "no driver" in facts(result)


def test_driver_that_comes_late_is_waited_for(sim: Sim) -> None:
    vm = sim(load=False)
    assert resized(vm, "1G", report=when(20, vm, Load())).outcome is ResizeOutcome.DONE


def test_offline_default_stops_at_one_gibibyte_and_says_why(sim: Sim) -> None:
    result = resized(sim(guest='default-state = "offline"'), "4G")
    assert (result.outcome, result.devices[0].size) == (ResizeOutcome.PARTLY, GiB)
    assert "auto_online_blocks is offline" in facts(result)
    assert "1G of the added memory is offline; the driver adds more once this drops to 512M" in facts(result)


def test_plugged_but_offline_memory_is_not_done_with_an_agent(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')
    result = resized(vm, "512M")
    assert (result.outcome, result.devices[0].size) == (ResizeOutcome.PARTLY, 512 * MiB)
    assert "4 of its memory blocks (512M) are in Linux but offline" in facts(result)
    assert result.inside is Seen.OFFLINE


def test_growth_without_a_look_inside_is_plugged_and_not_done(sim: Sim) -> None:
    vm = replace(sim(guest='default-state = "offline"'), agent=None)
    for before in (0, 512 * MiB):  # the second time there is nothing to do, going by the device
        result = resized(vm, "512M")
        assert (result.outcome, result.outcome.exit_code, result.inside) == (ResizeOutcome.PLUGGED, 64, Seen.NOT_LOOKED)
        assert result.devices[0].size_before == before
        finding, advice = result.findings
        assert finding.text.endswith("not looked inside")
        assert (advice.certainty, advice.text[:12]) == (Certainty.ADVICE, "give --agent")
    assert result_lines(resized(vm, "640M"))[0] == "guest/vm0: the device has plugged 640M after 0.0 s: 512M -> 640M"
    assert result_json(resized(vm, "640M"))["inside"] == "not looked"
    shrunk = resized(vm, "128M")
    assert (shrunk.outcome, shrunk.inside) == (ResizeOutcome.DONE, Seen.NOT_LOOKED), "memory that is gone is gone"
    assert resized(vm, "512M", online=False).outcome is ResizeOutcome.DONE, "no more was asked for"


@dataclass(frozen=True, slots=True)
class Telling:
    """An agent that tells what a test wants."""

    tell: Callable[[], GuestMemoryInfo]

    async def look(self, *_: Any, **__: Any) -> GuestMemoryInfo:
        """What it tells."""
        return self.tell()

    async def count_pages(self, inside: GuestMemoryInfo, *_: Any) -> GuestMemoryInfo:
        """No more."""
        return inside

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("block_size", [None, 128 * MiB])
def test_agent_that_does_not_tell_the_blocks_has_not_looked(sim: Sim, block_size: int | None) -> None:
    vm = sim()
    agent = Telling(lambda: GuestMemoryInfo(source="test", block_size=block_size))
    result = resized(replace(vm, agent=agent), "512M")
    assert (result.outcome, result.inside) == (ResizeOutcome.PLUGGED, Seen.NOT_LOOKED)
    assert "its agent did not show it" in result.findings[0].text


def test_plugged_memory_that_linux_has_not_added_is_not_done(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "1G"')

    def two_blocks_short() -> GuestMemoryInfo:
        inside = guest_of(vm).inside(())
        return replace_struct(inside, blocks=inside.blocks[:-2])

    result = resized(replace(vm, agent=Telling(two_blocks_short)), "1G")
    assert (result.outcome, result.inside) == (ResizeOutcome.PARTLY, Seen.OFFLINE)
    assert "1G plugged, but Linux has memory blocks for 768M of it only" in facts(result)


def test_onlining_by_hand_lets_growth_go_on(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')
    block = machine(vm).virtio_mem[0].region.start // (128 * MiB)  # type: ignore[union-attr]
    online = [SetState(blocks=[block + i for i in range(8)], state="online_movable")]
    result = resized(vm, "1536M", report=when(5, vm, *online))
    assert result.devices[0].size == 1536 * MiB
    assert result.outcome is ResizeOutcome.PARTLY, "the last four blocks are still offline"


@pytest.mark.parametrize(
    ("spread", "sizes"),
    [("even", [GiB, GiB]), ("pack", [2 * GiB, 0]), ("weighted", [GiB, GiB]), ("node=1", [0, 2 * GiB])],
)
def test_two_nodes_get_what_the_spread_says(sim: Sim, spread: str, sizes: list[int]) -> None:
    vm = sim(devices=TWO_DEVICES, guest=TWO_NODES)
    assert resized(vm, "2G", scope=Scope.PLUGGED, spread=spread).outcome is ResizeOutcome.DONE
    assert [device.size for device in machine(vm).virtio_mem] == sizes


def test_total_counts_boot_memory(sim: Sim) -> None:
    vm = sim(devices=TWO_DEVICES, guest=TWO_NODES)
    resized(vm, "7G", scope=Scope.TOTAL)
    assert machine(vm).plugged == 3 * GiB


def test_what_a_stuck_node_cannot_give_up_the_other_does(sim: Sim) -> None:
    """Kernel memory in all of node 0's device: node 1's gives up the rest."""
    grown = [f'do = "resize"\ndevice = "{name}"\nrequested-size = "3G"' for name in ("vm0", "vm1")]
    vm = sim(*grown, devices=TWO_DEVICES, guest=TWO_NODES)
    pinned = {"vm0": machine(vm).virtio_mem[0].size}
    hold = _hold_everything_of(vm, "vm0")
    result = resized(vm, "4G", scope=Scope.PLUGGED, stall=20.0)
    assert hold
    assert result.outcome is ResizeOutcome.DONE
    assert [device.size for device in machine(vm).virtio_mem] == [pinned["vm0"], GiB]
    assert "vm0 is stuck at 3G: the other 1G was taken from other devices" in result.notes


def test_what_a_stuck_node_cannot_take_the_other_does(sim: Sim) -> None:
    vm = sim(devices=TWO_DEVICES, guest=TWO_NODES)
    _hold_everything_of(vm, "vm0")
    result = resized(vm, "4G", scope=Scope.PLUGGED, stall=20.0)
    assert (result.outcome, [device.size for device in result.devices]) == (ResizeOutcome.DONE, [0, 4 * GiB])
    assert result.notes[0] == "vm0 is stuck at 0: the other 2G went to other devices"


def _half_pinned(sim: Sim) -> Vm:
    """Two devices: 1G and 2M plugged, and of the 1G 220M cannot be given up."""
    return sim(
        'do = "resize"\ndevice = "vm0"\nrequested-size = "1G"',
        'do = "use"\nid = "driver"\nsize = "640M"\nkind = "unmovable"\nseed = 1',
        'do = "resize"\ndevice = "vm1"\nrequested-size = "2M"',
        devices=('id = "vm0"\nmax-size = "4G"', 'id = "vm1"\nmax-size = "4G"'),
        guest='default-state = "online_kernel"',
    )


def test_repeating_a_resize_that_was_spread_again_has_nothing_to_do(sim: Sim) -> None:
    vm = _half_pinned(sim)
    assert resized(vm, "300M", scope=Scope.PLUGGED).outcome is ResizeOutcome.DONE
    assert [device.size for device in machine(vm).virtio_mem] == [220 * MiB, 80 * MiB]
    again = resized(vm, "300M", scope=Scope.PLUGGED)
    assert (again.outcome, again.seconds, machine(vm).plugged) == (ResizeOutcome.DONE, 0.0, 300 * MiB)


@pytest.mark.parametrize("spread", [None, "even", "pack"])
def test_shrink_never_makes_the_machine_bigger_and_takes_what_it_can(sim: Sim, spread: str | None) -> None:
    vm = _half_pinned(sim)
    seen = [machine(vm).plugged or 0]
    result = resized(
        vm, "200M", scope=Scope.PLUGGED, spread=spread, report=lambda _: seen.append(machine_now(vm).plugged or 0)
    )
    assert result.outcome is ResizeOutcome.PARTLY
    assert [(device.size, device.requested) for device in result.devices] == [(220 * MiB, 200 * MiB), (0, 0)]
    assert seen == sorted(seen, reverse=True)


def test_growth_waits_for_the_shrink_that_makes_room_for_it(sim: Sim) -> None:
    vm = _half_pinned(sim)
    peak = 0

    def look(_: ResizeProgress) -> None:
        nonlocal peak
        peak = max(peak, machine_now(vm).plugged or 0)

    result = resized(vm, "1026M", scope=Scope.PLUGGED, spread="even", report=look)
    assert (result.outcome, [device.size for device in result.devices]) == (ResizeOutcome.DONE, [514 * MiB, 512 * MiB])
    assert peak == 1026 * MiB


def test_growth_that_was_held_back_is_said(sim: Sim) -> None:
    vm = _half_pinned(sim)
    result = resized(vm, "300M", scope=Scope.PLUGGED, redispatch=False)
    assert [device.size for device in result.devices] == [220 * MiB, 2 * MiB]
    assert "growth was held back: the other devices did not give up as much" in result.notes


def test_what_other_devices_refuse_did_not_go_to_them(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    vm = sim(devices=TWO_DEVICES, guest=TWO_NODES)
    _hold_everything_of(vm, "vm0")
    request = SimBackend.set_requested_size

    async def at_first(self: SimBackend, device: str, size: int) -> None:
        if self.now() > 0 and device == "vm1":
            raise DeviceError("sim: vm1: QEMU refuses: not now")
        await request(self, device, size)

    monkeypatch.setattr(SimBackend, "set_requested_size", at_first)
    result = resized(vm, "4G", scope=Scope.PLUGGED, stall=20.0)
    assert (result.outcome, result.notes) == (ResizeOutcome.REFUSED, ("sim: vm1: QEMU refuses: not now",))
    assert [device.requested for device in result.devices] == [2 * GiB, 2 * GiB]


def _hold_everything_of(vm: Vm, name: str) -> bool:
    """Make the unplug requests of a device fail: its wire answers BUSY from now on."""
    guest: Any = guest_of(vm).guest
    device = next(device for device in guest.devices if device.id == name)
    device.channel.faults.extend(["BUSY"] * 100_000)
    return True


def test_without_redispatch_a_stuck_node_is_partly_done(sim: Sim) -> None:
    grown = [f'do = "resize"\ndevice = "{name}"\nrequested-size = "3G"' for name in ("vm0", "vm1")]
    vm = sim(*grown, devices=TWO_DEVICES, guest=TWO_NODES)
    _hold_everything_of(vm, "vm0")
    result = resized(vm, "4G", scope=Scope.PLUGGED, stall=20.0, redispatch=False)
    assert result.outcome is ResizeOutcome.PARTLY
    assert [device.size for device in machine(vm).virtio_mem] == [3 * GiB, 2 * GiB]


def test_reboot_in_mid_resize_is_noted_and_waited_out(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')
    result = resized(vm, "4G", report=when(5, vm, Reboot()), stall=30.0)
    assert "the guest was reset after 5 s; its next driver starts again" in result.notes
    assert (result.outcome, result.devices[0].size) == (ResizeOutcome.TIMED_OUT, 0)
    assert "no driver" in facts(result)


def test_reboot_and_a_new_driver_reach_the_size_after_all(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')
    result = resized(vm, "1G", report=when(5, vm, Reboot(), Load()))
    assert (result.outcome, result.devices[0].size) == (ResizeOutcome.DONE, GiB)


def test_resize_by_another_client_ends_ours(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')
    result = resized(vm, "4G", report=when(5, vm, Resize(device="vm0", requested_size=Size(2 * GiB))))
    assert (result.outcome, result.outcome.exit_code) == (ResizeOutcome.SUPERSEDED, 1)
    assert result.notes == ("vm0: another client set its requested-size to 2G",)


def test_rollback_puts_the_request_back(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')
    result = resized(vm, "4G", rollback=True)
    assert (result.outcome, result.devices[0].requested, result.devices[0].size) == (ResizeOutcome.PARTLY, 0, 0)
    assert any(note.startswith("rolled back to the previous requested sizes") for note in result.notes)


def test_rollback_counts_no_time_and_promises_no_retry(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')
    result = resized(vm, "0", timeout=2.0, rollback=True)
    assert (result.outcome, result.seconds) == (ResizeOutcome.TIMED_OUT, 2.0)
    assert not any("try" in finding.text for finding in result.findings)


def test_one_reboot_of_several_resets_is_noted_once(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')
    left = [5, 6, 8]

    def reset(news: ResizeProgress) -> None:
        if left and news.waited >= left[0]:
            guest_of(vm).play([Reboot()])
            del left[0]

    notes = resized(vm, "4G", report=reset, stall=30.0).notes
    assert [note for note in notes if "was reset" in note] == [
        "the guest was reset after 5 s; its next driver starts again"
    ]


async def _says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


@pytest.mark.parametrize(
    ("size", "outcome"),
    [("0", ResizeOutcome.TIMED_OUT), pytest.param("5G", ResizeOutcome.PLUGGED, marks=pytest.mark.long)],
)
def test_silent_agent_is_not_waited_for_again_and_again(
    sim: Sim, serve: Any, size: str, outcome: ResizeOutcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtiomem.vm.resize.LAST_LOOK_SECONDS", 0.2)
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')

    async def run() -> tuple[ResizeResult, float]:
        loop = asyncio.get_running_loop()
        async with serve(_says_nothing) as path:
            silent = replace(vm, agent=GuestAgent(path))
            began = loop.time()
            (job,) = await plan_all([silent], ResizeOrder(target="guest", wish=Wish.parse(size)), patience=0.2)
            assert isinstance(job, PlannedResize)
            said = "what the guest has online and in use: the guest agent did not answer in 0.2 s"
            assert job.warnings[0].text == said
            (result,) = await carry_out([job], WaitPolicy(timeout=5.0))
            return result, loop.time() - began

    result, seconds = asyncio.run(run())
    assert (result.outcome, result.seconds) == (outcome, 5.0 if outcome is ResizeOutcome.TIMED_OUT else 0.0)
    assert seconds < 5, "the guest's own seconds are virtual"
    assert sum(note.startswith("not seen from inside: ") for note in result.notes) == 1
    assert not any("give --agent" in finding.text for finding in result.findings)


def test_machine_that_falls_silent_does_not_stretch_a_time_out(
    serve: Any, qmp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("virtiomem.vm.resize.LAST_LOOK_SECONDS", 0.1)
    data = {"id": "vm0", "memaddr": 1 << 32, "requested-size": 0, "max-size": GiB, "block-size": 1 << 21, "node": 0}
    table = {
        "query-memory-size-summary": {"base-memory": GiB, "plugged-memory": 0},
        "query-status": {"status": "running"},
        "query-memory-devices": [{"type": "virtio-mem", "data": data | {"size": 0}}],
        "query-migrate": {},
        "qom-list": [],
        "qom-set": b"",
    }

    async def run() -> tuple[ResizeResult, float]:
        async with serve(qmp(table)) as path:
            vm = await open_vm(parse_connection(f"vm=qmp:{path}"))
            began = asyncio.get_running_loop().time()
            (job,) = await plan_all([vm], ResizeOrder(target="vm", wish=Wish.parse("512M")))
            assert isinstance(job, PlannedResize), job
            (result,) = await carry_out([job], WaitPolicy(timeout=0.1))
            seconds = asyncio.get_running_loop().time() - began
            await vm.aclose()
        return result, seconds

    result, seconds = asyncio.run(run())
    assert result.outcome is ResizeOutcome.TIMED_OUT
    assert seconds < 5, "a monitor has 10 s to answer, and the time-out is less"


def test_not_waiting_sets_and_leaves(sim: Sim) -> None:
    vm = sim(load=False)
    result = resized(vm, "1G", wait=False)
    assert (result.outcome, result.devices[0].requested) == (ResizeOutcome.STARTED, GiB)


def test_setting_what_is_set_already_says_so(sim: Sim) -> None:
    vm = sim('do = "resize"\ndevice = "vm0"\nrequested-size = "4G"', IN_USE, guest='default-state = "online"')
    assert result_lines(resized(vm, "4G", wait=False))[0] == "guest/vm0: nothing to do: 4G -> 4G"
    resized(vm, "0", timeout=1.0)
    size = machine(vm).devices[0].size
    again = result_lines(resized(vm, "0", wait=False))[0]
    assert size
    assert again.startswith("guest/vm0: set again, which makes the driver try at once: ")


def test_interrupt_states_the_condition(sim: Sim) -> None:
    vm = sim(guest='default-state = "offline"')

    async def run() -> tuple[ResizeResult, ...]:
        (job,) = await plan_all([vm], ResizeOrder(target="guest", wish=Wish.parse("4G")))
        assert isinstance(job, PlannedResize)
        this = asyncio.current_task()
        assert this is not None

        def interrupt(news: ResizeProgress) -> None:
            if news.waited >= 3:
                this.cancel()

        return tuple(await carry_out([job], WaitPolicy(), interrupt))

    (result,) = asyncio.run(run())
    assert (result.outcome, result.outcome.exit_code) == (ResizeOutcome.INTERRUPTED, 130)
    assert (result.devices[0].size, result.devices[0].requested) == (GiB, 4 * GiB)


def test_refused_wish_touches_nothing(sim: Sim) -> None:
    vm = sim()

    async def plan() -> Any:
        return await plan_all([vm], ResizeOrder(target="guest/vm0", wish=Wish.parse("9G")))

    (refusal,) = asyncio.run(plan())
    assert isinstance(refusal, MachineRefusal)
    assert exit_code([], [refusal]) == 1
    assert machine(vm).requested == 0


def test_events_are_reported_once_and_cost_no_time(sim: Sim) -> None:
    backend = guest_of(sim())

    async def run() -> list[Any]:
        await backend.wait(1)
        before = backend.now()
        await backend.set_requested_size("vm0", GiB)
        return [await backend.wait(5), backend.now() - before, await backend.wait(5), backend.now() - before]

    assert asyncio.run(run()) == [{Event.SIZE}, 0.0, set(), 5.0]


def test_simulated_machine_knows_its_driver(sim: Sim) -> None:
    for load, driver in ((True, Driver.READY), (False, Driver.ABSENT)):
        vm = sim(load=load)
        assert asyncio.run(vm.backend.hypervisor_info(machine(vm))).drivers == {"vm0": driver}
