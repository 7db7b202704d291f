"""Refusals of a request, in the order in which the device decides: the answer on the wire, and the reason behind it."""

from typing import NamedTuple

from virtiomem.reasons import Reason, ReasonKind
from virtiomem.wire.mem import Response, ResponseType

_NACK, _BUSY, _ERROR = map(Response, (ResponseType.NACK, ResponseType.BUSY, ResponseType.ERROR))


class Decision(NamedTuple):
    """One decision to refuse: its kind, its answer, and what its facts are called."""

    kind: ReasonKind
    answer: Response
    facts: tuple[str, ...] = ()

    def reason(self, values: tuple[int, ...]) -> Reason:
        """The reason, with its facts."""
        return Reason(self.kind, dict(zip(self.facts, values, strict=True)))


NO_BLOCKS = Decision(ReasonKind.NO_BLOCKS, _ERROR)
NOT_ALIGNED = Decision(ReasonKind.NOT_ALIGNED, _ERROR, ("addr", "block-size"))
OUT_OF_BOUNDS = Decision(ReasonKind.OUT_OF_BOUNDS, _ERROR, ("addr", "stop", "start", "usable-stop"))
ABOVE_REQUESTED = Decision(ReasonKind.ABOVE_REQUESTED, _NACK, ("size", "plugged", "requested-size"))
ALREADY_PLUGGED = Decision(ReasonKind.ALREADY_PLUGGED, _ERROR, ("addr", "stop"))
NOT_PLUGGED = Decision(ReasonKind.NOT_PLUGGED, _ERROR, ("addr", "stop"))
MIGRATING = Decision(ReasonKind.MIGRATING, _BUSY)

ANSWERS = {
    decision.kind: decision.answer.type
    for decision in (NO_BLOCKS, NOT_ALIGNED, OUT_OF_BOUNDS, ABOVE_REQUESTED, ALREADY_PLUGGED, NOT_PLUGGED, MIGRATING)
}
"""What the device answers for each reason."""
