"""Everything that can be done to a guest, in any order: device, driver, core and tree agree after each step."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests import refused
from virtiomem import scenario
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording import StepRecord, values
from virtiomem.units import GiB, MiB, Size

SILENCE = values.Inject(at="request", error="silence")
STATES = ["offline", "online", "online_kernel", "online_movable"]

configurations = st.fixed_dictionaries(
    {
        "default": st.sampled_from(STATES),
        "policy": st.sampled_from(["contig-zones", "auto-movable"]),
        "block": st.sampled_from(["1M", "2M", "4M", "64M", "128M", "256M"]),
        "bbm": st.booleans(),
        "bbm_size": st.sampled_from(["0", "256M", "512M"]),
        "safe": st.booleans(),
        "online": st.booleans(),
        "merge": st.booleans(),
        "load": st.sampled_from([True, True, True, False]),
        "memory_block": st.sampled_from(["128M", "256M"]),
    }
)


def configure(choice: dict[str, Any]) -> EmbeddedGuest:
    """Two devices on two nodes, the second one's region not made of whole memory blocks."""
    block = max(256, int(choice["block"][:-1])) if choice["block"] == "256M" else 2
    text = f"""
[guest]
memory = "5G"
max-memory = "40G"
slots = 3
default-state = "{choice["default"]}"
online-policy = "{choice["policy"]}"
memory-block-size = "{choice["memory_block"]}"
[[guest.nodes]]
id = 0
memory = ["0x0-0x7fffffff"]
[[guest.nodes]]
id = 1
memory = ["0x100000000-0x1bfffffff"]
[driver]
merge-resources = {str(choice["merge"]).lower()}
force-bbm = {str(choice["bbm"]).lower()}
bbm-block-size = "{choice["bbm_size"]}"
bbm-safe-unplug = {str(choice["safe"]).lower()}
unplug-online = {str(choice["online"]).lower()}
[[device]]
id = "vm0"
max-size = "4G"
block-size = "{choice["block"]}"
[[device]]
id = "vm1"
max-size = "{1536 if block == 256 else 1602}M"
block-size = "{block}M"
memaddr = "{"0x400000000" if block == 256 else "0x402200000"}"
node = 1
"""
    loaded = scenario.loads(text)
    return EmbeddedGuest(loaded.guest, loaded.driver, loaded.devices, loaded.boot_iomem)


class GuestMachine(RuleBasedStateMachine):
    """The steps of a scenario as rules."""

    guest: EmbeddedGuest

    @initialize(choice=configurations)
    def boot(self, choice: dict[str, Any]) -> None:
        self.guest = configure(choice)
        self.uses = 0
        self.dimms = 0
        if choice["load"]:
            self.play(values.Load())

    def play(self, step: values.Step) -> StepRecord:
        record = self.guest.play(step)
        assert record.settled or record.held_up, "a device that is not settled has no reason"
        return record

    @rule()
    def load(self) -> None:
        self.play(values.Load())

    @rule(data=st.data(), slot=st.integers(0, 1), share=st.sampled_from([0, 0, 0.1, 0.25, 0.5, 0.75, 1]))
    def resize(self, data: st.DataObject, slot: int, share: float) -> None:
        config = self.guest.devices[slot].config
        blocks = round(config.max_size * share / config.block_size) + data.draw(st.integers(-3, 3))
        self.play(values.Resize(device=config.id, requested_size=Size(max(blocks, 0) * config.block_size)))

    @precondition(lambda self: len(self.guest.kernel.memory.blocks) > 40)
    @rule(data=st.data(), count=st.integers(1, 6), state=st.sampled_from(STATES))
    def set_state_of_hotplugged(self, data: st.DataObject, count: int, state: Any) -> None:
        there = sorted(id_ for id_, block in self.guest.kernel.memory.blocks.items() if not block.boot)
        if there:
            first = data.draw(st.sampled_from(there))
            self.play(values.SetState(blocks=[id_ for id_ in there if id_ >= first][:count], state=state))

    @rule(first=st.integers(0, 160), count=st.integers(1, 3), state=st.sampled_from(STATES))
    def set_state(self, first: int, count: int, state: Any) -> None:
        self.play(values.SetState(blocks=list(range(first, first + count)), state=state))

    @rule(size=st.integers(1, 600), movable=st.booleans(), seed=st.integers(0, 3))
    def use(self, size: int, movable: bool, seed: int) -> None:
        self.uses += 1
        kind: Any = "movable" if movable else "unmovable"
        self.play(values.Use(id=f"use{self.uses}", size=Size(size * MiB), kind=kind, seed=seed))

    @precondition(lambda self: self.uses)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        self.play(values.Free(id=f"use{data.draw(st.integers(1, self.uses))}"))

    @rule(seconds=st.sampled_from([1.0, 60.0, 400.0]))
    def wait(self, seconds: float) -> None:
        self.play(values.Wait(seconds=seconds))

    @rule(
        at=st.sampled_from(["add_memory", "online", "offline", "remove"]),
        error=st.sampled_from(["ENOMEM", "EBUSY", "EPERM", "EINVAL", "EEXIST", "EAGAIN"]),
        times=st.integers(1, 6),
    )
    def inject_errno(self, at: Any, error: str, times: int) -> None:
        self.play(values.Inject(at=at, error=error, times=times))

    @rule(error=st.sampled_from(["BUSY", "BUSY", "NACK", "ERROR", "garbage"]), times=st.integers(1, 3))
    def inject_answer(self, error: str, times: int) -> None:
        self.play(values.Inject(at="request", error=error, times=times))

    @rule(size=st.sampled_from([128, 256, 1024, 100]))
    def plug_dimm(self, size: int) -> None:
        self.dimms += 1
        self.play(values.PlugDimm(id=f"dimm{self.dimms}", size=Size(size * MiB), node=self.dimms % 2))

    @precondition(lambda self: self.dimms)
    @rule(data=st.data())
    def unplug_dimm(self, data: st.DataObject) -> None:
        self.play(values.UnplugDimm(id=f"dimm{data.draw(st.integers(1, self.dimms))}"))

    @rule(
        kind=st.sampled_from(["kmem", "xen", "hyperv"]),
        at=st.integers(0, 40),
        size=st.sampled_from([64, 128, 384, 1000]),
    )
    def add_memory(self, kind: Any, at: int, size: int) -> None:
        addr = 20 * GiB + at * 64 * MiB
        self.play(values.AddMemory(kind=kind, memaddr=Size(addr), size=Size(size * MiB), node=at % 3))

    @rule(to=st.sampled_from(["idle", "memory", "disk"]))
    def suspend(self, to: values.SleepWord) -> None:
        self.play(values.Suspend(to=to))

    @rule(what=st.sampled_from([values.Unload(), values.Reboot(), values.Kexec(), SILENCE]), load=st.booleans())
    def upheaval(self, what: values.Step, load: bool) -> None:
        self.play(what)
        if load:
            self.play(values.Load())

    @rule(bad=refused.numbers, name=refused.names, block=st.integers(0, 160))
    def refuse_what_is_no_step(self, bad: Any, name: Any, block: int) -> None:
        before = [slot.info for slot in self.guest.devices]
        refused.refused(self.guest.play, values.SetState(blocks=[block, -1], state="online"))
        refused.refused(self.guest.play, values.Resize(device=name, requested_size=Size(0)))
        refused.refused(self.guest.play, values.Use(id=name, size=Size(MiB)))
        refused.refused(self.guest.play, values.Inject(at="online", error="EBUSY", times=0))
        refused.refused(self.guest.play, bad)
        assert [slot.info for slot in self.guest.devices] == before

    @invariant()
    def everything_agrees(self) -> None:
        if hasattr(self, "guest"):
            self.guest.check()


TestGuestMachine = GuestMachine.TestCase
TestGuestMachine.settings = settings(stateful_step_count=30)
