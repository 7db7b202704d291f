"""Every kind of reason arises on a real path, and reads the same wherever it is shown."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from virtiomem import scenario
from virtiomem.cli.main import main
from virtiomem.device.mem import MemDevice
from virtiomem.driver import shortfall as driver_rest
from virtiomem.driver.parameters import Parameters
from virtiomem.errors import BackendError, Errno
from virtiomem.guest.base import DeviceConfig, DriverConfig
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.guest.linux import rest
from virtiomem.guest.linux.look import Look, parse
from virtiomem.live.capture import Capture, Section
from virtiomem.memory.refusal import why_refused
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.recording import Recording
from virtiomem.recording.page_use import UseOfPage
from virtiomem.recording.values import Load, Resize, Unload
from virtiomem.report.data import page_data
from virtiomem.report.moments import Source
from virtiomem.units import GiB, MiB, Size
from virtiomem.vm.captured import explain_capture
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors.simulated import SimBackend
from virtiomem.vm.explain import explain, not_looked
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.inside import Block, GuestMemoryInfo
from virtiomem.vm.model import Driver, HypervisorInfo, Machine, VirtioMemDevice
from virtiomem.vm.plan import DeviceTarget, Plan
from virtiomem.vm.preflight import preflight
from virtiomem.vm.resize import resize as carry_plan_out
from virtiomem.vm.results import WaitPolicy
from virtiomem.wire.mem import Config, RequestType

BLOCK = 128 * MiB
PLUG, UNPLUG = RequestType.PLUG, RequestType.UNPLUG
HEAD = """
[guest]
memory = "4G"
default-state = "{state}"
[driver]
{driver}
[[device]]
id = "vm0"
max-size = "{size}"
block-size = "{block}"
[[step]]
do = "load"
"""


def step(do: str, **keys: Any) -> str:
    return f'[[step]]\ndo = "{do}"\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def resize(size: str) -> str:
    return step("resize", device="vm0", **{"requested-size": size})


def inject(error: str, times: int = 1) -> str:
    return step("inject", at="request", error=error, times=times)


def written(steps: str, state: str = "online_movable", driver: str = "", size: str = "4G", block: str = "2M") -> str:
    return HEAD.format(state=state, driver=driver, size=size, block=block) + steps


STUCK = {
    ReasonKind.NO_DRIVER: written(step("unload") + resize("1G")),
    ReasonKind.REGION_TAKEN: written(resize("1G") + step("unload") + step("load") + resize("2G")),
    ReasonKind.GAVE_UP: written(inject("ERROR") + resize("1G")),
    ReasonKind.DEVICE_SILENT: written(inject("silence") + resize("1G")),
    ReasonKind.BELOW_UNIT: written(resize("3M"), block="1M"),
    ReasonKind.UNPLUG_ONLINE_OFF: written(resize("1G") + resize("0"), driver="unplug-online = false"),
    ReasonKind.TOO_MUCH_OFFLINE: written(resize("2G"), state="offline"),
    ReasonKind.NO_ROOM: written(resize("200M"), size="200M"),
    ReasonKind.DEVICE_BUSY: written(inject("BUSY") + resize("1G")),
    ReasonKind.NO_MEMORY: written(inject("garbage") + resize("1G")),
    ReasonKind.NO_STRUCT_PAGES: written(resize("2G")).replace('"4G"', '"4G"\nfree = "16M"', 1),
    ReasonKind.NEVER_ALLOWED: written(inject("NACK", 2000) + resize("1G")),
    ReasonKind.IN_USE: written(
        resize("128M") + step("use", id="slab", size="128M", kind="unmovable") + resize("0"), state="online"
    ),
    ReasonKind.IN_USE_NO_ROOM: written(resize("128M") + step("use", id="cache", size="3950M") + resize("0")),
    ReasonKind.HELD_BY_MEMMAP: written(
        resize("1536M") + step("use", id="cache", size="600M") + resize("0"), state="online"
    ).replace('memory = "4G"', 'memory = "2G"'),
    ReasonKind.BLOCK_REFUSED: written(
        resize("128M") + step("inject", at="offline", error="EBUSY", times=64) + resize("0"), driver="force-bbm = true"
    ),
}
"""States of an embedded guest, each with the reason that the last step leaves behind."""


def play(text: str) -> tuple[EmbeddedGuest, Recording]:
    loaded = scenario.loads(text)
    guest = EmbeddedGuest(loaded.guest, loaded.driver, loaded.devices, loaded.boot_iomem)
    steps = [guest.play(each) for each in loaded.steps]
    return guest, Recording(guest=guest.info, boot=guest.boot, steps=steps)


def squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("kind", STUCK, ids=lambda kind: kind.word)
def test_a_state_has_one_reason_in_one_wording_everywhere(
    kind: ReasonKind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guest, played = play(STUCK[kind])
    (reason,) = guest.reasons()
    assert (reason.kind, reason.device) == (kind, "vm0")
    assert played.steps[-1].held_up == [str(reason)]
    assert played.steps[-1].reasons == [reason.to_json()]
    assert page_data([Source("guest", played)])["recordings"][0]["steps"][-1]["held-up"] == [str(reason)]
    path = tmp_path / "guest.toml"
    path.write_text(STUCK[kind])
    main(["run", str(path)])
    assert str(reason) in squeezed(capsys.readouterr().out)
    main(["vm", "explain", "-c", f"sim:{path}", "--json"])
    (machine,) = json.loads(capsys.readouterr().out)["vms"]
    (found,) = [one for one in machine["findings"] if one["reason"] == kind.word and one["certainty"] == "fact"]
    assert found == reason.to_json()
    main(["vm", "status", "-c", f"sim:{path}", "--json"])
    (machine,) = json.loads(capsys.readouterr().out)["vms"]
    assert machine["reasons"] == [str(reason)]


def test_the_embedded_and_the_real_guest_say_the_same_of_the_same_state() -> None:
    for kind in (
        ReasonKind.NO_DRIVER,
        ReasonKind.GAVE_UP,
        ReasonKind.BELOW_UNIT,
        ReasonKind.UNPLUG_ONLINE_OFF,
        ReasonKind.TOO_MUCH_OFFLINE,
    ):
        guest, played = play(STUCK[kind])
        (ours,) = guest.reasons()
        assert [str(one) for one in seen_by_linux(played, scenario.loads(STUCK[kind]).driver)] == [str(ours)]


def seen_by_linux(played: Recording, driver: DriverConfig, **seen: Any) -> list[Reason]:
    """What the real guest's account would be, had its agent and QEMU shown what this recording holds."""
    last = played.steps[-1]
    config = DeviceConfig(id="vm0", max_size=Size(4 * GiB), name="virtio0")
    bound = [] if any(isinstance(one.step, Unload) for one in played.steps) else ["virtio0"]
    look = replace(look_file(), bound=bound, memory_blocks=last.snapshot.memory_blocks, memory_block_size=BLOCK)
    log = last.log if isinstance(last.log, list) else []
    at_rest = rest.Rest(replace(look, **seen), list(last.snapshot.devices), [])
    return rest.reasons(at_rest, [config], log, driver)


def look_file() -> Look:
    return parse((Path(__file__).parent / "data/linux/snapshot.txt").read_text())


def test_a_device_that_migrates_says_so_through_its_driver_and_through_its_hypervisor() -> None:
    guest, _ = play(written(""))
    guest.devices[0].owner.set_busy(True)
    record = guest.play(Resize(device="vm0", requested_size=Size(GiB)))
    busy, migrating = guest.reasons()
    assert (busy.kind, migrating.kind) == (ReasonKind.DEVICE_BUSY, ReasonKind.MIGRATING)
    assert record.held_up == [str(busy), str(migrating)]
    assert migrating.text in {one.text for one in explained(device(0, GiB), migration="active")}


def test_progress_and_report_name_the_next_try_as_explain_does(tmp_path: Path) -> None:
    text = STUCK[ReasonKind.IN_USE]
    _, played = play(text)
    path = tmp_path / "guest.toml"
    path.write_text(text)
    vm = asyncio.run(open_vm(parse_connection(f"guest=sim:{path}")))
    machine = asyncio.run(vm.backend.look())
    info = asyncio.run(vm.backend.hypervisor_info(machine))
    found = explain(MachineFacts(machine=machine, hypervisor_info=info, retry_in=50.0, exact=True))
    said = {one.text for one in found}
    assert page_data([Source("guest", played)])["recordings"][0]["steps"][-1]["retry"] in said


@pytest.mark.parametrize(
    "text",
    [
        STUCK[ReasonKind.UNPLUG_ONLINE_OFF],
        written(resize("1G") + inject("ERROR") + resize("0")),
        written(resize("1G") + inject("silence") + resize("0")),
    ],
)
def test_a_driver_that_rests_without_a_timer_is_not_said_to_try_again(text: str, tmp_path: Path) -> None:
    found = explained_sim(text, tmp_path)
    assert found
    assert not {one.kind for one in found} & {ReasonKind.RETRY_INTERVAL, ReasonKind.RETRY_DUE, ReasonKind.RETRY_WITHIN}


def test_reasons_are_of_the_devices_that_were_asked_about(tmp_path: Path) -> None:
    second = '[[device]]\nid = "vm1"\nmax-size = "4G"\n[[step]]'
    text = written(inject("BUSY", 2) + resize("1G")).replace("[[step]]", second, 1)
    found = explained_sim(text + step("resize", device="vm1", **{"requested-size": "1G"}), tmp_path, only="vm1")
    assert {one.device for one in found} <= {"vm1", None}


def explained_sim(text: str, tmp_path: Path, only: str = "vm0") -> tuple[Reason, ...]:
    path = tmp_path / "guest.toml"
    path.write_text(text)
    vm = asyncio.run(open_vm(parse_connection(f"guest=sim:{path}")))
    machine = asyncio.run(vm.backend.look())
    chosen = [one for one in machine.virtio_mem if one.id == only]
    info = asyncio.run(vm.backend.hypervisor_info(machine))
    return explain(MachineFacts(machine=machine, hypervisor_info=info), chosen)


# --- every kind is produced ---


def device(size: int, requested: int, **more: Any) -> VirtioMemDevice:
    shape = {"memaddr": 4 * GiB, "max_size": 8 * GiB, "block_size": 2 * MiB, "node": 0}
    return VirtioMemDevice(id="vm0", size=size, requested_size=requested, **shape | more)


def replace_size(of: VirtioMemDevice, size: int | None) -> VirtioMemDevice:
    return msgspec.structs.replace(of, size=size)


def explained(
    of: VirtioMemDevice,
    inside: GuestMemoryInfo | None = None,
    *,
    driver: Driver = Driver.READY,
    status: str = "running",
    later: VirtioMemDevice | None = None,
    **more: Any,
) -> tuple[Reason, ...]:
    machine, after = (Machine(status=status, boot_memory=4 * GiB, devices=(one or of,)) for one in (of, later))
    info = HypervisorInfo(hypervisor="test", drivers={"vm0": driver}, **more)
    return explain(MachineFacts(machine=machine, hypervisor_info=info, inside=inside, later=after))


def inside(online: int = 0, offline: int = 0, zone: str = "Movable", **more: Any) -> GuestMemoryInfo:
    first = 4 * GiB // BLOCK
    blocks = [
        Block(block=first + i, online=i < online, zone=zone if i < online else None) for i in range(online + offline)
    ]
    return GuestMemoryInfo(source="test", block_size=BLOCK, blocks=tuple(blocks), **more)


NOTHING = HypervisorInfo(hypervisor="test", drivers={})
EMPTY = Machine(status="running", boot_memory=GiB, devices=(device(0, 0),))


def refusals() -> Iterator[Reason | None]:
    """What the device gives for each of its refusals."""
    base = 4 * GiB
    mem = MemDevice(addr=base, region_size=8 * GiB, block_size=2 * MiB, requested_size=GiB)
    for kind, addr, count in (
        (PLUG, base, 0),
        (PLUG, base + 1, 1),
        (PLUG, base + 4 * GiB, 1),
        (PLUG, base, 513),
        (UNPLUG, base, 1),
    ):
        mem.request(kind, addr, count)
        yield mem.refusal
    mem.request(PLUG, base, 1)
    mem.request(PLUG, base, 1)
    yield mem.refusal
    mem.busy = True
    mem.request(UNPLUG, base, 1)
    yield mem.refusal


def from_outside() -> Iterator[Reason]:
    """What `explain` gives of machines that are only seen from outside."""
    yield from explained(device(0, 0))
    yield from explained(device(GiB, GiB))
    yield from explained(device(GiB, 4 * GiB), driver=Driver.UNKNOWN)
    yield from explained(device(4 * GiB, 0), status="paused", vfio=("gpu0",))
    yield from explained(device(0, GiB), driver=Driver.UNKNOWN)
    yield from explained(device(0, GiB), driver=Driver.UNKNOWN, held_back="x is not sent")
    yield from explained(device(0, GiB), driver=Driver.BROKEN)
    yield from explained(replace_size(device(0, GiB), None))
    yield from explained(device(GiB, GiB, memaddr=None), inside(online=8))
    shrinking = Machine(status="running", boot_memory=GiB, devices=(device(4 * GiB, 0),))
    for exact in (True, False):
        yield from explain(MachineFacts(machine=shrinking, hypervisor_info=NOTHING, retry_in=20.0, exact=exact))
    yield not_looked(asked=True)
    grow = Plan((DeviceTarget(device(0, 0), 4 * GiB),))
    yield from preflight(MachineFacts(machine=EMPTY, hypervisor_info=NOTHING), grow)


def from_inside() -> Iterator[Reason]:
    """What it gives when the guest shows its files."""
    odd = Plan((DeviceTarget(device(0, 0), 130 * MiB),))
    seen = inside(online=1, page_size=16 << 10)
    yield from preflight(MachineFacts(machine=EMPTY, hypervisor_info=NOTHING, inside=seen), odd)
    yield from explained(device(GiB, 4 * GiB), inside(offline=8, auto_online_blocks="offline", driver=Parameters()))
    yield from explained(device(GiB, 4 * GiB), inside(online=4, offline=4, auto_online_blocks="online", mem_free=MiB))
    yield from explained(device(GiB, 4 * GiB), inside(online=8, mem_free=GiB))
    yield from explained(device(GiB, 4 * GiB), inside(online=8, mem_free=8 * MiB, auto_online_blocks="online"))
    yield from explained(device(2 * GiB, 2 * GiB), inside(online=8, unreadable=("/proc/meminfo (disabled)",)))
    yield from explained(device(0, 8 * GiB, memaddr=4 * GiB + 2 * MiB), inside(online=1))
    yield from explained(device(4 * GiB, 0), inside(online=8, zone="Normal", mem_available=GiB))
    yield from explained(device(GiB, 0), inside(online=8, mem_available=8 * GiB))
    yield from explained(device(GiB, GiB), inside(online=16))
    yield from explained(device(GiB, 0), inside(online=8, pages_left=8, pages_seconds=10.0), later=device(0, 0))


def from_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """What the command gives of a machine without a device."""
    path = tmp_path / "none.toml"
    path.write_text('[guest]\nmemory = "4G"\n')
    main(["vm", "explain", "-c", f"sim:{path}", "--json"])
    yield from (one["reason"] for one in json.loads(capsys.readouterr().out)["vms"][0]["findings"])


def from_lying_devices() -> Iterator[Reason]:
    """What a driver gives of a device that shows an impossible configuration, or more memory than there is."""
    guest, _ = play(written(step("unload")))
    shown = Config.unpack(guest.devices[0].channel.config())
    guest.devices[0].channel.config = lambda: replace(shown, block_size=3).pack()  # type: ignore[method-assign]
    guest.play(Load())
    guest.play(Resize(device="vm0", requested_size=Size(GiB)))
    yield from guest.reasons()
    guest, _ = play(written(resize("128M")))
    shown = Config.unpack(guest.devices[0].channel.config())
    lie = replace(shown, plugged_size=shown.plugged_size + 2 * MiB, requested_size=0)
    guest.devices[0].channel.config = lie.pack  # type: ignore[method-assign]
    guest.play(Resize(device="vm0", requested_size=Size(0)))
    yield from driver_rest.reasons(guest.kernel.devices[0])


@dataclass(slots=True)
class Unanswering(SimBackend):
    """A machine that is lost before it can be asked why nothing moved."""

    async def hypervisor_info(self, machine: Machine) -> NoReturn:
        del machine
        raise BackendError("sim: connection lost")


def from_lost_machines(tmp_path: Path) -> Iterator[Reason]:
    """What a resize gives when it cannot find out."""
    path = tmp_path / "lost.toml"
    path.write_text(written(step("unload")))
    vm = asyncio.run(open_vm(parse_connection(f"guest=sim:{path}")))
    plan = Plan((DeviceTarget(asyncio.run(vm.backend.look()).virtio_mem[0], GiB),))
    vm.backend.__class__ = Unanswering
    yield from asyncio.run(carry_plan_out(vm, plan, WaitPolicy())).findings


def from_refused_memory() -> Iterator[Reason]:
    """Why Linux adds no memory: to DIMMs that it did not take, and where it would refuse a range."""
    head = '[guest]\nmemory = "1G"\nmax-memory = "8G"\nslots = 2\n'
    dimms = step("plug-dimm", id="d1", size="1G", memaddr="0x100200000")
    dimms += step("inject", at="add_memory", error="ENODEV") + step(
        "plug-dimm", id="d2", size="1G", memaddr="0x180000000"
    )
    guest, _ = play(head + dimms)
    yield from guest.reasons()
    memory = guest.kernel.memory
    yield why_refused(memory, 0, 1 << 60, BLOCK, Errno.E2BIG)
    yield why_refused(memory, 0, 0, BLOCK, Errno.EEXIST)


def from_captures() -> Iterator[Reason]:
    """Memory of every use in a block of zone Movable, as a capture without a machine has it; blocks that are offline; neither."""
    every = " ".join(f"{use}=9" for use in UseOfPage)
    memory = "block_size_bytes 8000000\nauto_online_blocks offline\n0-7 online 1 0 DMA32\n"
    sections = {
        "proc/iomem": "100000000-13fffffff : dax0.0\n  100000000-107ffffff : System RAM (kmem)\n",
        "sys/devices/system/memory": f"{memory}32 online 1 0 Movable\n40 offline 1 0 Normal/Movable\n",
        "proc/kpageflags": f"memory32 {every} held=2\n",
        "proc/vmstat": "nr_foll_pin_acquired 12\nnr_foll_pin_released 2\n",
        "sys/bus/acpi/devices": "PNP0C80:00 status=15 blocks=-\n",
        "sys/bus/dax/devices": "dax1.0 driver=device_dax resource=0x200000000 size=1073741824 target_node=1\n",
    }
    yield from explain_capture(Capture({heading: Section(text) for heading, text in sections.items()}))
    yield from explain_capture(Capture({"sys/devices/system/memory": Section(memory)}))
    types = "Pages per block:  512\nNumber of blocks type Unmovable Movable\nNode 0, zone Normal 3 60\n"
    elsewhere = sections | {"proc/kpageflags": f"memory0 {every}\n", "proc/pagetypeinfo": types}
    elsewhere["sys/devices/system/memory"] = f"{memory}32 online 1 0 Normal\n40 offline 1 0 Normal/Movable\n"
    yield from explain_capture(Capture({heading: Section(text) for heading, text in elsewhere.items()}))


def test_every_kind_is_produced_and_says_all_its_facts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = [reason for reason in refusals() if reason is not None] + list(from_outside()) + list(from_inside())
    found += [*from_refused_memory(), *from_lying_devices(), *from_lost_machines(tmp_path)]
    found += from_captures()
    for text in STUCK.values():
        found += play(text)[0].reasons()
    found += seen_by_linux(play(STUCK[ReasonKind.NO_ROOM])[1], DriverConfig())
    found += seen_by_linux(play(STUCK[ReasonKind.NO_ROOM])[1], DriverConfig(), retry_in=49.0)
    for reason in found:
        assert reason.text, reason
        assert not re.search(r"[{}]", reason.text), "a fact is missing from the sentence"
    words = {reason.kind.word for reason in found} | set(from_commands(tmp_path, capsys))
    assert words == {kind.word for kind in ReasonKind}


def test_the_page_lists_every_kind_with_its_sentence() -> None:
    page = (Path(__file__).parents[1] / "docs/reasons.md").read_text()
    listed = re.findall(r"(?m)^\| `([a-z-]+)` \| (.*) \|$", page.partition("| `reason` | sentence |")[2])
    assert listed == [(kind.word, re.sub(r":[#a-z]+}", "}", kind.value.sentence)) for kind in ReasonKind]


def test_a_sentence_is_plain_and_short() -> None:
    for kind in ReasonKind:
        for text in kind.value:
            assert not re.search(r"\b(nobody|somebody|told|tells?)\b", text), kind
            assert len(text) < 200, kind
            assert not text.endswith("."), kind


def test_the_device_refuses_in_the_order_of_the_kinds() -> None:
    order = [reason.kind for reason in refusals() if reason is not None]
    declared = [kind for kind in ReasonKind if kind in order]
    assert sorted(order, key=declared.index) == declared
    base = 4 * GiB
    mem = MemDevice(addr=base, region_size=8 * GiB, block_size=2 * MiB, requested_size=2 * MiB)
    mem.request(PLUG, base, 1)
    mem.busy = True
    for addr, count, first in (
        (base + 1, 0, ReasonKind.NO_BLOCKS),
        (base - 1, 1, ReasonKind.NOT_ALIGNED),
        (base - 2 * MiB, 9, ReasonKind.OUT_OF_BOUNDS),
        (base, 1, ReasonKind.ABOVE_REQUESTED),
    ):
        mem.request(PLUG, addr, count)
        assert mem.refusal is not None
        assert mem.refusal.kind is first
    mem.requested_size = 4 * MiB
    for addr, first in ((base, ReasonKind.ALREADY_PLUGGED), (base + 2 * MiB, ReasonKind.MIGRATING)):
        mem.request(PLUG, addr, 1)
        assert mem.refusal is not None
        assert mem.refusal.kind is first


def test_advice_is_a_reason_of_the_same_kind() -> None:
    reason = Reason(ReasonKind.NO_DRIVER, device="vm0")
    assert reason.advice is not None
    assert (reason.advice.kind, reason.advice.certainty) == (reason.kind, Certainty.ADVICE)
    assert "modprobe virtio_mem" in reason.advice.text
    assert Reason(ReasonKind.IN_USE).advice is None
