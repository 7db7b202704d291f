"""The core alone under its verbs: adding, removing, onlining, vetoes; check() after each."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests import refused
from virtiomem.errors import Errno
from virtiomem.memory import (
    MHP_MERGE_RESOURCE,
    BlockState,
    FaultPoint,
    Memory,
    OnlinePolicy,
    OnlineType,
    Policy,
    add_memory,
    add_memory_driver_managed,
    offline_and_remove_memory,
    remove_memory,
    store_state,
)
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.units import GiB, MiB

MB = 128 * MiB
FIRST = 8 * GiB // MB
ids = st.integers(FIRST, FIRST + 11)
kinds = st.sampled_from(OnlineType)


class CoreMachine(RuleBasedStateMachine):
    """A model of it: which blocks are there, and which of them online."""

    @initialize(state=kinds, policy=st.sampled_from(OnlinePolicy))
    def boot(self, state: OnlineType, policy: OnlinePolicy) -> None:
        iomem = ResourceTree()
        iomem.request_region(4 * GiB, 1 * GiB, "System RAM", IORESOURCE_SYSTEM_RAM)
        self.memory = Memory(iomem, policy=Policy(default_state=state, online_policy=policy))
        self.there: set[int] = set()

    @rule(first=ids, count=st.integers(1, 3), managed=st.booleans(), merge=st.booleans())
    def add(self, first: int, count: int, managed: bool, merge: bool) -> None:
        wanted = set(range(first, first + count))
        flags = MHP_MERGE_RESOURCE if merge else 0
        start, size = first * MB, count * MB
        if managed:
            rc = add_memory_driver_managed(self.memory, 0, start, size, "System RAM (x)", flags)
        else:
            rc = add_memory(self.memory, 0, start, size, flags)
        assert rc is (Errno.EEXIST if wanted & self.there else Errno.OK)
        if not rc:
            self.there |= wanted

    @rule(first=ids, count=st.integers(1, 3))
    def remove(self, first: int, count: int) -> None:
        wanted = set(range(first, first + count))
        online = any(self.memory.blocks[id_].state is BlockState.ONLINE for id_ in wanted & self.there)
        one_resource = self._one_resource(wanted)
        if not wanted <= self.there or not one_resource:
            return  # the kernel's callers remove what they added
        rc = remove_memory(self.memory, first * MB, count * MB)
        assert rc is (Errno.EBUSY if online else Errno.OK)
        if not rc:
            self.there -= wanted

    @rule(first=ids, count=st.integers(1, 3))
    def offline_and_remove(self, first: int, count: int) -> None:
        wanted = set(range(first, first + count))
        if wanted <= self.there and self._one_resource(wanted):
            assert not offline_and_remove_memory(self.memory, first * MB, count * MB)
            self.there -= wanted

    @rule(first=ids, count=st.integers(1, 3), point=st.sampled_from([FaultPoint.GOING_OFFLINE, FaultPoint.MIGRATE]))
    def offline_and_fail(self, first: int, count: int, point: FaultPoint) -> None:
        wanted = [id_ for id_ in range(first, first + count) if id_ in self.there]
        before = [self.memory.blocks[id_].state for id_ in wanted]
        if BlockState.ONLINE in before and len(wanted) == count:
            self.memory.faults.inject(point, Errno.EBUSY)
            assert offline_and_remove_memory(self.memory, first * MB, count * MB) is Errno.EBUSY
            assert [self.memory.blocks[id_].state for id_ in wanted] == before

    @rule(id_=ids, how=kinds, veto=st.booleans())
    def set_state(self, id_: int, how: OnlineType, veto: bool) -> None:
        if veto:
            self.memory.faults.inject(FaultPoint.GOING_ONLINE, Errno.EPERM)
        rc = store_state(self.memory, id_, how)
        self.memory.faults.clear()
        assert rc in (Errno.OK, Errno.EINVAL, Errno.ENOENT, Errno.EPERM)
        assert (rc is Errno.ENOENT) == (id_ not in self.there)

    @rule(bad=refused.numbers, good=ids)
    def refuse_what_is_no_range(self, bad: Any, good: int) -> None:
        for start, size in ((bad, MB), (good * MB, bad)):
            refused.refused(add_memory, self.memory, 0, start, size)
            refused.refused(add_memory_driver_managed, self.memory, 0, start, size, "System RAM (x)")
            refused.refused(remove_memory, self.memory, start, size)
            refused.refused(offline_and_remove_memory, self.memory, start, size)
        refused.refused(store_state, self.memory, bad, OnlineType.ONLINE)
        refused.refused(self.memory.users.use, "a", bad, movable=True)

    @rule(name=refused.names, first=ids, how=st.sampled_from(["offline", None, 1]))
    def refuse_what_is_no_word(self, name: Any, first: int, how: Any) -> None:
        refused.refused(add_memory_driver_managed, self.memory, 0, first * MB, MB, name)
        refused.refused(store_state, self.memory, first, how)
        refused.refused(self.memory.users.use, name, MB, movable=True)
        refused.refused(setattr, self.memory.policy, "default_state", how)

    def _one_resource(self, wanted: set[int]) -> bool:
        owners = {id(self.memory.iomem.lookup(id_ * MB)) for id_ in wanted}
        return len(owners) == 1

    @invariant()
    def blocks_are_what_was_added(self) -> None:
        if hasattr(self, "memory"):
            self.memory.check()
            assert {id_ for id_, block in self.memory.blocks.items() if not block.boot} == self.there


TestCoreMachine = CoreMachine.TestCase
TestCoreMachine.settings = settings(stateful_step_count=30)
