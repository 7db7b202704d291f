"""What every door promises, as tests: the same for a simulated machine, a scripted hypervisor and a real one.

A rig is a running machine `one` with one virtio-mem device of at most 2G, nothing plugged, its driver loaded, and new memory
online in a kernel zone. A fake that passes what the real thing fails is a bug of the fake.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Protocol

import pytest

from tests.waiting import PATIENCE, wait_until
from virtiomem.cli.main import main
from virtiomem.errors import BackendTimeout
from virtiomem.units import GiB, MiB
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors.base import VERBS
from virtiomem.vm.doors.registry import door_of
from virtiomem.vm.model import Attaching, Machine, Vm
from virtiomem.vm.watch import watch

Capture = pytest.CaptureFixture[str]
MAX = 2 * GiB
STALL = "0.2"
"""Seconds without movement after which guests that act at once are stuck."""


class Rig(Protocol):
    """A machine behind a door."""

    connect: str
    """What --connect takes; the machine's name is `one`."""
    beside: str
    """The same for a look while a command runs: a monitor may serve one client only."""
    device: str
    agent: str | None
    """What --agent takes; None where the rig has none."""
    inside: bool
    """Whether the guest is looked into without being asked for an agent."""
    same_machine: bool
    """Whether every connection meets the same machine; a simulated one starts again."""
    stall: str

    def hold(self) -> None:
        """Let it have 512M plugged, 64M of it held by the guest's kernel for good."""

    def set_by_another(self, size: int) -> None:
        """Another client sets the requested size."""

    def lose(self) -> None:
        """The machine ends."""


class Contract:
    """The promises; `rig` is a fixture."""

    def test_device_is_shown_with_all_that_is_known(self, rig: Rig, capsys: Capture) -> None:
        code, shown, err = run(capsys, rig, "list")
        (vm,) = shown["vms"]
        (device,) = vm["devices"]
        assert (code, err, vm["vm"], vm["error"]) == (0, "", "one", None)
        assert set(device) == {
            *("id", "kind", "memaddr", "size", "requested-size", "max-size", "block-size", "node"),
        }
        assert device["id"] == rig.device
        assert device["kind"] == "virtio-mem"
        assert (device["size"], device["requested-size"], device["max-size"]) == (0, 0, MAX)
        assert (device["block-size"], device["node"]) == (2 * MiB, 0)
        assert vm["status"] == "running"
        assert vm["boot-memory"] % (128 * MiB) == 0 < vm["boot-memory"]

    def test_status_has_the_same_keys_everywhere(self, rig: Rig, capsys: Capture) -> None:
        code, shown, _ = run(capsys, rig, "status")
        (vm,) = shown["vms"]
        assert code == 0
        assert set(vm) == {
            *("vm", "error", "status", "boot-memory", "devices", "hypervisor", "drivers", "migration", "vfio"),
            *("retry-in", "reasons", "held-back", "inside"),
        }
        assert vm["drivers"][rig.device] in {"unknown", "ready"}

    def test_table_has_the_same_columns_everywhere(self, rig: Rig, capsys: Capture) -> None:
        assert main(["vm", "list", "-c", rig.connect, "-o", "+address,driver,status"]) == 0
        head, line = capsys.readouterr().out.splitlines()
        assert head.split() == [
            "VM",
            "DEVICE",
            "KIND",
            "NODE",
            "SIZE",
            "REQUESTED",
            "MAX",
            "BLOCK",
            "STATE",
            "USE",
            "ADDRESS",
            "DRIVER",
            "STATUS",
        ]
        assert len(line.split()) == len(head.split())

    def test_growth_is_waited_for_and_is_done_only_when_seen_inside(self, rig: Rig, capsys: Capture) -> None:
        code, result, _ = resized(capsys, rig, "256M")
        wanted = (0, "done", "online") if rig.inside else (64, "plugged", "not looked")
        assert (code, result["outcome"], result["inside"]) == wanted
        assert sizes(result) == [(256 * MiB, 256 * MiB)]
        if rig.same_machine:
            code, result, _ = resized(capsys, rig, "384M", "--until", "plugged")
            assert (code, result["outcome"], sizes(result)) == (0, "done", [(384 * MiB, 384 * MiB)])

    def test_agent_makes_it_done(self, rig: Rig, capsys: Capture) -> None:
        if rig.agent is None:
            pytest.skip("this rig has no agent")
        code, result, _ = resized(capsys, rig, "256M", "--agent", rig.agent)
        assert (code, result["outcome"], result["inside"]) == (0, "done", "online"), result

    def test_shrink_is_done_without_a_look(self, rig: Rig, capsys: Capture) -> None:
        resized(capsys, rig, "256M")
        code, result, _ = resized(capsys, rig, "0")
        assert (code, result["outcome"], sizes(result)) == (0, "done", [(0, 0)])

    def test_same_size_again_is_not_an_error(self, rig: Rig) -> None:
        async def twice(vm: Vm) -> Machine:
            await vm.backend.set_requested_size(rig.device, 128 * MiB)
            await vm.backend.set_requested_size(rig.device, 128 * MiB)
            return await vm.backend.look()

        assert with_machine(rig, twice).requested == 128 * MiB

    def test_relative_sizes_count_from_what_is_requested(self, rig: Rig, capsys: Capture) -> None:
        resized(capsys, rig, "+128M")
        code, result, _ = resized(capsys, rig, "+128M")
        assert sizes(result)[0][1] == (256 * MiB if rig.same_machine else 128 * MiB)
        assert code in {0, 64}

    @pytest.mark.parametrize(
        ("size", "words"), [("3G", "is above its max size 2G"), ("3M", "is not a multiple of its block size")]
    )
    def test_impossible_size_is_refused_before_anything_is_set(
        self, rig: Rig, capsys: Capture, size: str, words: str
    ) -> None:
        code, shown, err = run(capsys, rig, "resize", rig.device, size)
        assert (code, shown["results"]) == (1, [])
        assert err.startswith(f"virtiomem: one: {rig.device}: ")
        assert words in err

    def test_hypervisors_own_refusal_begins_with_where_and_changes_nothing(self, rig: Rig) -> None:
        async def refused(vm: Vm) -> tuple[str, Machine]:
            with pytest.raises(Exception, match=rig.device) as caught:
                await vm.backend.set_requested_size(rig.device, 3 * GiB)
            return str(caught.value), await vm.backend.look()

        said, machine = with_machine(rig, refused)
        assert said.startswith(str(parse_connection(rig.connect).label))
        assert "\n" not in said
        assert machine.requested == 0

    def test_shrink_of_memory_in_use_is_partly_done_with_the_reason(self, rig: Rig, capsys: Capture) -> None:
        if not rig.same_machine:
            pytest.skip("a simulated machine starts again")
        rig.hold()
        agent = [] if rig.agent is None else ["--agent", rig.agent]
        code, result, _ = resized(capsys, rig, "0", *agent, stall=rig.stall)
        ((size, requested),) = sizes(result)
        assert (code, result["outcome"], requested) == (64, "partly done", 0)
        assert 64 * MiB <= size < 512 * MiB
        said = {finding["reason"] for finding in result["findings"]}
        assert {"not-settled", "retry-interval"} <= said

    def test_size_that_another_client_sets_supersedes(self, rig: Rig, capsys: Capture) -> None:
        if not rig.same_machine:
            pytest.skip("a simulated machine starts again")
        rig.hold()
        with meanwhile(rig, lambda machine: machine.requested == 0, lambda: rig.set_by_another(384 * MiB)):
            code, result, _ = resized(capsys, rig, "0", stall="60")
        assert (code, result["outcome"]) == (1, "superseded")
        assert result["notes"] == [f"{rig.device}: another client set its requested-size to 384M"]

    def test_machine_that_ends_in_mid_resize_is_lost_and_says_where(self, rig: Rig, capsys: Capture) -> None:
        if not rig.same_machine:
            pytest.skip("a simulated machine does not end")
        rig.hold()
        with meanwhile(rig, lambda machine: machine.requested == 0, rig.lose):
            code, result, _ = resized(capsys, rig, "0", stall="60")
        assert (code, result["outcome"]) == (1, "lost")
        assert str(parse_connection(rig.connect).target) in result["notes"][-1], result["notes"]

    def test_machine_that_is_gone_is_one_line_that_says_where(self, rig: Rig, capsys: Capture) -> None:
        if not rig.same_machine:
            pytest.skip("a simulated machine does not end")
        rig.lose()
        code, _, err = run(capsys, rig, "list")
        assert code == 1
        assert err.count("\n") == 1
        assert str(parse_connection(rig.connect).target) in err

    def test_change_is_heard_while_it_is_watched(self, rig: Rig) -> None:
        if not rig.same_machine:
            pytest.skip("a simulated machine starts again")

        async def until_changed() -> float:
            async with asyncio.timeout(PATIENCE), aclosing(watch([parse_connection(rig.connect)], PATIENCE)) as samples:
                first = await anext(samples)
                assert first.machine is not None, first.error
                await asyncio.to_thread(rig.set_by_another, 128 * MiB)
                began = asyncio.get_running_loop().time()
                async for sample in samples:
                    assert sample.machine is not None, sample.error
                    if sample.machine.plugged == sample.machine.requested == 128 * MiB:
                        break
                return asyncio.get_running_loop().time() - began

        assert asyncio.run(until_changed()) < PATIENCE / 10

    def test_wait_takes_no_longer_than_it_is_given(self, rig: Rig) -> None:
        async def waits(vm: Vm) -> float:
            await vm.backend.look()
            began = vm.backend.now()
            await vm.backend.wait(0.2)
            return vm.backend.now() - began

        assert with_machine(rig, waits) < 5

    def test_closing_twice_and_after_the_end_is_harmless(self, rig: Rig) -> None:
        async def closes(vm: Vm) -> None:
            await vm.backend.look()
            if rig.same_machine:
                await asyncio.to_thread(rig.lose)
            await vm.aclose()
            await vm.aclose()

        with_machine(rig, closes)

    def test_verbs_are_possible_exactly_where_the_table_says(self, rig: Rig, capsys: Capture) -> None:
        door = door_of(parse_connection(rig.connect).target)
        assert set(door.abilities) <= set(VERBS)
        persist = run(capsys, rig, "resize", rig.device, "0", "--persist")
        assert (persist[0] != 2) is door.ability("resize --persist").can
        attach = main(["vm", "attach", "one", "128M", "--dimm", "-c", rig.connect])
        said = capsys.readouterr()
        assert (attach == 0, attach == 2) == (door.ability("attach").can, not door.ability("attach").can), said.err
        assert with_machine(rig, possible) is door.ability("attach").can
        if attach == 2:
            assert door.ability("attach").note in said.err
        elif rig.same_machine:
            assert "one/" in said.out
            name = said.out.split("one/")[1].split(":")[0]
            gone = main(["vm", "detach", f"one/{name}", "-c", rig.connect, "--timeout", "10"])
            assert (gone, capsys.readouterr().err) in {(0, ""), (124, "")}, "a real guest may keep it"


async def possible(vm: Vm) -> bool:
    return isinstance(vm.backend, Attaching)


def run(capsys: Capture, rig: Rig, *argv: str) -> tuple[int, Any, str]:
    """A verb as its user runs it, in this process: the exit code, the JSON, standard error."""
    capsys.readouterr()
    code = main(["vm", *argv, "-J", "-c", rig.connect])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def resized(capsys: Capture, rig: Rig, size: str, *options: str, stall: str | None = None) -> tuple[int, Any, str]:
    """A resize of the only device: the exit code, its result, standard error."""
    stalled = ["--stall", stall or str(PATIENCE)]
    code, shown, err = run(capsys, rig, "resize", rig.device, size, *stalled, *options)
    assert shown is not None, err
    assert shown["results"], err
    return code, shown["results"][0], err


def sizes(result: Any) -> list[tuple[int, int]]:
    return [(device["size"], device["requested-size"]) for device in result["devices"]]


def with_machine(rig: Rig, do: Callable[[Vm], Any], *, beside: bool = False) -> Any:
    """Do something with the machine, opened to be changed; by a second connection where a command runs meanwhile."""

    async def go() -> Any:
        connection = parse_connection(rig.beside if beside else rig.connect)
        vm = await open_vm(connection.changing())
        try:
            return await do(vm)
        finally:
            await vm.aclose()

    return asyncio.run(go())


@contextmanager
def meanwhile(rig: Rig, when: Callable[[Machine], bool], do: Callable[[], None]) -> Iterator[None]:
    """Do something once the machine looks like that, on a thread."""
    failed: list[BaseException] = []

    async def look(vm: Vm) -> Machine:
        return await vm.backend.look()

    def looks_like_that() -> bool:
        try:
            return when(with_machine(rig, look, beside=True))
        except BackendTimeout:  # it is merely busy
            return False

    def work() -> None:
        try:
            wait_until(looks_like_that, "it never looked like that")
            do()
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed, failed
