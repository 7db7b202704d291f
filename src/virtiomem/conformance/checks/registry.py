"""Registry of checks: which check tests which rule.

A check is a function that takes a bench with a fresh, powered-on device and returns a sentence: how the rule was seen
to hold. It raises Violation or NotApplicable otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

from virtiomem.conformance.rules import BY_ID
from virtiomem.conformance.testbench import SPEC, Bench
from virtiomem.transport.virtio_transport import DeviceSpec

Function = Callable[[Bench], str]


@dataclass(frozen=True, slots=True)
class Check:
    """One look at a device for one rule."""

    function: Function
    spec: DeviceSpec
    virtio: bool
    """What it sees is the virtio device itself: its registers and its ring."""

    @property
    def words(self) -> str:
        """Name of what it looks at, and the file."""
        # Checks that a function makes are named after that function: `_may_be_busy.<locals>.check`.
        name = self.function.__qualname__.partition(".")[0].strip("_")
        return f"{name.replace('_', ' ')} ({self.function.__module__.rpartition('.')[2]}.py)"


CHECKS: dict[str, list[Check]] = {}
"""By the rule's number; a rule is kept when all its checks hold."""


def sees(rule: str, *, spec: DeviceSpec = SPEC, virtio: bool = False) -> Callable[[Function], Function]:
    """Register a check of `rule`, on a device as `spec` says; `virtio`: of the virtio device itself (`Check.virtio`)."""
    assert rule in BY_ID, f"no rule {rule}"
    assert BY_ID[rule].unseen is None, f"rule {rule} cannot be seen"

    def register(function: Function) -> Function:
        CHECKS.setdefault(rule, []).append(Check(function, spec, virtio))
        return function

    return register
