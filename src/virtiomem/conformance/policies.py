"""Policies of QEMU's device, and a model of it that can follow another device in them.

The specification leaves some things to the device, and in others QEMU's device deviates from it. A device that does
them otherwise would be in another state than our model of QEMU's from then on. Where a policy is *accepted*, the model
looks at what the other device did and does the same, as long as that is within the policy; so both stay in the same
state, and whatever else differs is a finding.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from virtiomem.conformance import log
from virtiomem.device.mem import MemDevice
from virtiomem.errors import ProtocolError, UsageError
from virtiomem.reasons import ReasonKind
from virtiomem.text import nearest, quoted
from virtiomem.wire.mem import RESPONSE_SIZE, Request, RequestType, Response, ResponseType, State
from virtiomem.wire.virtio import Isr, Status


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """A policy of QEMU's device, and what else is accepted of a device by its name."""

    name: str
    rules: str
    """Rules of the suite that it concerns."""
    qemu: str
    accepted: str


USABLE_REGION = DevicePolicy(
    "usable-region",
    "CFG-4, CFG-6, CFG-8, UAPI-7",
    "usable_region_size is 256M more than requested_size (1G on arm64), and 0 when nothing is requested",
    "any whole blocks from requested_size to region_size, that become fewer at UNPLUG ALL and a system reset only",
)
UNKNOWN_TYPE = DevicePolicy(
    "unknown-type", "SOUND-6", "a request of an unknown type breaks the device until it is reset", "ERROR"
)
REFUSAL_ORDER = DevicePolicy(
    "refusal-order",
    "PLUG-4, PLUG-5, UNPLUG-5, UAPI-1",
    "of several reasons to refuse usable blocks the first one counts: too much (NACK), plugged or unplugged already "
    "(ERROR), a migration (BUSY)",
    "the answer to any of those that hold",
)
BUSY_UNPLUG_ALL = DevicePolicy(
    "busy-unplug-all",
    "ALL-3, ALL-4",
    "before 8.1, UNPLUG ALL is BUSY in a migration although nothing is plugged",
    "ACK",
)
BUSY_RESET = DevicePolicy(
    "busy-reset", "OPS-7", "a system reset in a migration leaves everything plugged", "it unplugs all blocks"
)
SAME_SIZE = DevicePolicy(
    "same-size", "CFG-11", "setting requested-size is notified, also to what it was", "the same size is not notified"
)

POLICIES = (USABLE_REGION, UNKNOWN_TYPE, REFUSAL_ORDER, BUSY_UNPLUG_ALL, BUSY_RESET, SAME_SIZE)
NAMES = tuple(policy.name for policy in POLICIES)
ALL = "all"


def accepted(names: Iterable[str]) -> frozenset[str]:
    """The names of policies, `ALL` for all of them. Raises UsageError for another name."""
    chosen: set[str] = set()
    for name in names:
        if name != ALL and name not in NAMES:
            known = (*NAMES, ALL)
            raise UsageError(f"no policy {quoted(name)}{nearest(name, known)} (policies: {', '.join(known)})")
        chosen.update(NAMES if name == ALL else [name])
    return frozenset(chosen)


_REFUSALS = {kind: Response(kind).pack() for kind in (ResponseType.NACK, ResponseType.BUSY, ResponseType.ERROR)}
_ACK, _ERROR = Response(ResponseType.ACK).pack(), _REFUSALS[ResponseType.ERROR]
"""On the wire."""
_RIGHT = {RequestType.PLUG: State.UNPLUGGED, RequestType.UNPLUG: State.PLUGGED}
"""State of blocks that can be plugged, and unplugged."""
_OF_USABLE_BLOCKS = {
    ReasonKind.ABOVE_REQUESTED,
    ReasonKind.ALREADY_PLUGGED,
    ReasonKind.NOT_PLUGGED,
    ReasonKind.MIGRATING,
}
"""Reasons to refuse a request whose blocks are all usable."""


class FollowingModel:
    """Wrapper around our device that does as another device did, where a policy is accepted."""

    def __init__(self, mem: MemDevice, accept: Collection[str]) -> None:
        self._mem = mem
        self._accept = accept
        self.followed: Counter[str] = Counter()
        """How often a policy of the other device was followed."""
        self.unfollowed: dict[str, None] = {}
        """Policies that the last line would have needed, in that order."""
        self._line: log.Observed | None = None
        self._sent: list[log.Sent] = []
        self._listeners: list[Callable[[], None]] = []
        self._often = False
        self._quiet = False
        mem.on_config_change(self._tell)

    def __getattr__(self, name: str) -> Any:
        # Whatever is not followed here is our device's own.
        return getattr(self._mem, name)

    def watch(self, line: log.Line) -> None:
        """Look at what the other device did, before the same is done here."""
        self.unfollowed = {}
        self._line, self._sent, self._often = line, [], False
        match line:
            case log.Header(before=before):
                self._line = before
                self._follow_usable()
            case log.SystemReset(before_init=before):
                self._line = before
            case log.Batch(reqs=sent, order=order):
                # Requests reach the model in the order in which the other device returned them.
                first = order or []
                self._sent = [sent[number] for number in first]
                self._sent += [one for number, one in enumerate(sent) if number not in first]
                self._often = line.times > 1

    # --- as MemDevice has it ---

    @property
    def busy(self) -> bool:
        """The machine migrates."""
        return self._mem.busy

    @busy.setter
    def busy(self, busy: bool) -> None:
        self._mem.busy = busy

    @property
    def requested_size(self) -> int:
        """The owner's wish."""
        return self._mem.requested_size

    @requested_size.setter
    def requested_size(self, size: int) -> None:
        seen, before = self._line, self._mem.usable_region_size
        # Without DRIVER_OK a device may not notify, so that its silence shows nothing.
        unheard = seen is not None and seen.status & Status.DRIVER_OK and not seen.isr & Isr.CONFIG
        self._quiet = bool(size == self._mem.requested_size and unheard and self._follows(SAME_SIZE))
        try:
            self._mem.requested_size = size
        finally:
            self._quiet = False
        # No less than before: a resize may not shrink the usable region (CFG-8).
        self._follow_usable(before)

    def on_config_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` as MemDevice does, unless the other device was quiet."""
        self._listeners.append(listener)

    def handle(self, data: bytes) -> bytes:
        """Answer as MemDevice does, or as the other device did."""
        # First, and once for each request: to look it up crosses it off.
        theirs = self._answer_to(data)
        try:
            ours = self._mem.handle(data)
        except ProtocolError:
            if theirs == _ERROR and self._follows(UNKNOWN_TYPE):
                return _ERROR
            raise
        if theirs != ours:
            ours = self._otherwise(Request.unpack(data), ours, theirs)
        if data[0] == RequestType.UNPLUG_ALL and ours == _ACK:
            self._follow_usable()
        return ours

    def system_reset(self) -> None:
        """Reset as MemDevice does, or as the other device did."""
        seen, mem = self._line, self._mem
        apart = seen is not None and not seen.cfg.plugged_size and (mem.plugged_size or self._usable_differs(seen))
        # Only where it shows: with nothing plugged on either side both policies look the same.
        if mem.busy and apart and self._follows(BUSY_RESET):
            self._while_idle(mem.system_reset)
        else:
            mem.system_reset()
        self._follow_usable()

    # --- following ---

    def _tell(self) -> None:
        if not self._quiet:
            for listener in self._listeners:
                listener()

    def _follows(self, policy: DevicePolicy) -> bool:
        """Return whether to follow the other device; counts the policy as followed, or notes it as needed."""
        if policy.name not in self._accept:
            self.unfollowed[policy.name] = None
            return False
        self.followed[policy.name] += 1
        return True

    def _answer_to(self, data: bytes) -> bytes:
        """The other device's answer to the next request with these bytes; empty when it gave none."""
        text = data.hex()
        for number, sent in enumerate(self._sent):
            scrambled = "scrambled" in (sent.desc or "")  # its request, and its answer, may be any bytes of the ring
            # A request is the first 24 bytes of what the driver made readable; more may follow.
            if scrambled or sent.out.startswith(text):
                if not self._often:
                    del self._sent[: number + 1]
                if sent.used_len is None:
                    return b""
                answer = bytes.fromhex(sent.data)[:RESPONSE_SIZE]
                return _ERROR if scrambled and answer not in _REFUSALS.values() else answer
        return b""

    def _otherwise(self, request: Request, ours: bytes, theirs: bytes) -> bytes:
        """Return the other device's answer if a policy explains the difference, else ours."""
        mem = self._mem
        if request.type is RequestType.UNPLUG_ALL:
            idle = not mem.plugged_size and ours == _REFUSALS[ResponseType.BUSY] and theirs == _ACK
            if idle and self._follows(BUSY_UNPLUG_ALL):
                self._while_idle(lambda: mem.request(request.type))
                return theirs
        elif ours in _REFUSALS.values() and theirs in self._refusals(request) and self._follows(REFUSAL_ORDER):
            return theirs
        return ours

    def _refusals(self, request: Request) -> set[bytes]:
        """Every answer for which there is a reason to refuse usable blocks, as our device just did."""
        mem, right = self._mem, _RIGHT.get(request.type)
        if right is None or mem.refusal is None or mem.refusal.kind not in _OF_USABLE_BLOCKS:
            return set()
        plugged = mem.plugged_size + request.nb_blocks * mem.block_size
        holds = {
            ResponseType.NACK: request.type is RequestType.PLUG and plugged > mem.requested_size,
            # By a STATE, which is answered while busy and changes nothing.
            ResponseType.ERROR: mem.request(RequestType.STATE, request.addr, request.nb_blocks).state is not right,
            ResponseType.BUSY: mem.busy,
        }
        return {_REFUSALS[answer] for answer, so in holds.items() if so}

    def _while_idle(self, do: Callable[[], object]) -> None:
        """Do something as if the machine did not migrate."""
        self._mem.busy = False
        do()
        self._mem.busy = True

    def _usable_differs(self, seen: log.Observed) -> bool:
        return seen.cfg.usable_region_size != self._mem.usable_region_size

    def _follow_usable(self, at_least: int = 0) -> None:
        """Take the usable region that the other device has, if it is one that the specification allows."""
        seen, mem = self._line, self._mem
        if seen is None or not self._usable_differs(seen):
            return
        size = seen.cfg.usable_region_size
        # CFG-4 wants requested_size, which at power-on may exceed the region (UAPI-7 forbids to follow it).
        least = max(min(mem.requested_size, mem.region_size), at_least)
        if not size % mem.block_size and least <= size <= mem.region_size and self._follows(USABLE_REGION):
            mem.set_usable_region_size(size)
