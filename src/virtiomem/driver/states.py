"""The state of every unit (memory block or big block) of a device, with a counter for each state.

One byte a unit: finding the next unit in a state is a search for a byte, which costs next to nothing even for a
hundred thousand units.

Models: mb_states[], bb_states[], mb_count[], bb_count[] and the for-each macros of virtio_mem.c (v6.1).
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=IntEnum)


class UnitStates(Generic[S]):
    """States of the units `first` to `next` - 1; states count from 0, which is where every unit starts."""

    def __init__(self, kind: type[S], first: int) -> None:
        self._kinds = tuple(kind)  # indexing beats calling the enum
        self.first = first
        """Id of the first unit of the device."""
        self.count = [0] * len(self._kinds)
        """How many units are in each state, indexed by state."""
        self._states = bytearray()

    @property
    def next(self) -> int:
        """Id of the unit that comes into being next; it never decreases."""
        return self.first + len(self._states)

    def __getitem__(self, id_: int) -> S:
        return self._kinds[self._states[id_ - self.first]]

    def __setitem__(self, id_: int, state: S) -> None:
        """The one way to change a state: the counters follow."""
        at = id_ - self.first
        self.count[self._states[at]] -= 1
        self.count[state] += 1
        self._states[at] = state

    def __contains__(self, id_: int) -> bool:
        return self.first <= id_ < self.next

    def append(self) -> int:
        """Bring the next unit into being, UNUSED; returns its id."""
        self._states.append(0)
        self.count[0] += 1
        return self.next - 1

    def each(self, state: S) -> Iterator[int]:
        """Units in `state`, ascending; each is looked at when reached, so states may change on the way."""
        at = -1
        # The counter first, as in Linux: most states have no unit, or none that is left, and then nothing is searched.
        while self.count[state] and (at := self._states.find(state, at + 1)) >= 0:
            yield self.first + at

    def each_reversed(self, state: S) -> Iterator[int]:
        """Units in `state`, descending; see `each`."""
        at = len(self._states)
        while self.count[state] and (at := self._states.rfind(state, 0, at)) >= 0:
            yield self.first + at

    def counts(self) -> dict[str, int]:
        """Return the number of units in each state, by name; states without units are left out."""
        return {state.name: self.count[state] for state in self._kinds if self.count[state]}

    def check(self) -> None:
        """Assert that the counters count."""
        for state in self._kinds:
            assert self.count[state] == self._states.count(state), f"{state.name} is miscounted"
