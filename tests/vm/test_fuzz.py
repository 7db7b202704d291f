"""Whatever a monitor or a guest says is a value or a refusal; whatever is done to a machine ends in a stated condition."""

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.qemu import validation
from virtiomem.qemu.memory_devices import MemoryDevice
from virtiomem.recording.values import Free, Load, Reboot, Resize, SetState, Unload, Use
from virtiomem.units import U64_MAX, MiB, Size
from virtiomem.vm import inside
from virtiomem.vm.doors.qmp import _device
from virtiomem.vm.doors.simulated import SimAgent, SimBackend, open_sim
from virtiomem.vm.fleet import PlannedResize, ResizeOrder, carry_out, plan_all, policy_for
from virtiomem.vm.model import Event, VirtioMemDevice, Vm
from virtiomem.vm.plan import Scope, Spread, Wish
from virtiomem.vm.results import ResizeOutcome, WaitPolicy

numbers = st.one_of(st.integers(-2, 1 << 70), st.sampled_from([0, 1 << 21, U64_MAX, U64_MAX + 1]), st.floats())
anything = st.recursive(st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)), st.lists, max_leaves=4)
names = ["id", "size", "node", "memaddr", "addr", "max-size", "requested-size", "block-size"]
devices = st.fixed_dictionaries(
    {"type": st.sampled_from(["virtio-mem", "dimm", "nvdimm", "?"])},
    optional={"data": st.one_of(anything, st.dictionaries(st.sampled_from(names), anything))},
)


@given(raw=devices)
def test_memory_device_is_sound_or_refused(raw: Any) -> None:
    try:
        found = validation.read(raw, MemoryDevice)
    except validation.Unsound:
        return
    device = _device(found)
    assert device.size is not None
    assert 0 <= device.size <= U64_MAX
    assert device.id.isprintable()
    assert (
        not isinstance(device, VirtioMemDevice) or device.block_size & (device.block_size - 1) == 0 < device.block_size
    )


@given(text=st.text(alphabet="Nodezn, MemTotal:kBpagsfr\n\t 0123456789", max_size=200))
def test_files_of_a_guest_are_read_or_left_out(text: str) -> None:
    assert all(0 <= size < 1 << 64 for size in inside.parse_meminfo(text).values())
    assert all(zone.present >= 0 for zone in inside.parse_zoneinfo(text))
    assert inside.one_word(text) is None or text.strip() == inside.one_word(text)


SCENARIO = """
[guest]
memory = "2G"
max-memory = "20G"
default-state = "{default}"
[[device]]
id = "vm0"
max-size = "1G"
[[device]]
id = "vm1"
max-size = "2G"
block-size = "4M"
"""

meanwhile = st.lists(
    st.sampled_from(
        [
            Load(),
            Unload(),
            Reboot(),
            Use(id="a", size=Size(700 * MiB), kind="unmovable"),
            Use(id="b", size=Size(900 * MiB), kind="movable"),
            Free(id="a"),
            SetState(blocks=list(range(16, 20)), state="online_movable"),
            Resize(device="vm0", requested_size=Size(512 * MiB)),
        ]
    ),
    max_size=3,
)
resizes = st.tuples(
    st.integers(0, 800),
    st.sampled_from([Scope.PLUGGED, Scope.TOTAL]),
    st.sampled_from(["even", "pack", "weighted"]),
    meanwhile,
)


@given(
    default=st.sampled_from(["offline", "online", "online_movable"]),
    before=meanwhile,
    todo=st.lists(resizes, min_size=1, max_size=3),
    rollback=st.booleans(),
)
def test_every_resize_ends_in_the_condition_it_states(
    tmp_path_factory: Any, default: str, before: list[Any], todo: list[Any], rollback: bool
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(SCENARIO.format(default=default))
    backend = open_sim(str(path), label="sim:fuzz")
    backend.play([Load(), *before])
    for blocks, scope, spread, steps in todo:
        base = 2048 * MiB if scope is Scope.TOTAL else 0
        order = ResizeOrder(target="vm", wish=Wish(base + blocks * 4 * MiB), scope=scope, spread=Spread.parse(spread))
        asyncio.run(one(backend, order, steps, WaitPolicy(redispatch=True, rollback=rollback, stall=55.0)))
        assert isinstance(backend.guest, EmbeddedGuest)
        backend.guest.check()


class Meddled:
    """A backend in whose guest something happens at every wait."""

    def __init__(self, backend: SimBackend, steps: list[Any]) -> None:
        self._backend = backend
        self._steps = list(steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def wait(self, seconds: float) -> frozenset[Event]:
        if self._steps:
            self._backend.play([self._steps.pop(0)])
        return await self._backend.wait(seconds)


async def one(backend: SimBackend, order: ResizeOrder, steps: list[Any], policy: WaitPolicy) -> None:
    vm = Vm("vm", Meddled(backend, steps), SimAgent(backend))
    (job,) = await plan_all([vm], order)
    if not isinstance(job, PlannedResize):
        return
    (result,) = await carry_out([job], policy_for(order, policy))
    seen = await vm.backend.look()
    stated = {device.id: (device.size, device.requested) for device in result.devices}
    assert stated == {device.id: (device.size, device.requested_size) for device in seen.virtio_mem}
    if result.outcome is ResizeOutcome.DONE:
        assert sum(size or 0 for size, _ in stated.values()) == job.plan.total
    if policy.rollback and result.outcome in {ResizeOutcome.PARTLY, ResizeOutcome.TIMED_OUT} and not steps:
        assert {c.device.id: c.before for c in job.plan.changes} == {name: asked for name, (_, asked) in stated.items()}
