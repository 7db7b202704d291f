"""Refusals of a request: the answer to each, in the order in which the device decides, and the facts behind it."""

from virtiomem.reasons import Reason, ReasonKind
from virtiomem.units import Span
from virtiomem.wire.mem import Response, ResponseType

ANSWERS = {
    ReasonKind.NO_BLOCKS: Response(ResponseType.ERROR),
    ReasonKind.NOT_ALIGNED: Response(ResponseType.ERROR),
    ReasonKind.OUT_OF_BOUNDS: Response(ResponseType.ERROR),
    ReasonKind.ABOVE_REQUESTED: Response(ResponseType.NACK),
    ReasonKind.ALREADY_PLUGGED: Response(ResponseType.ERROR),
    ReasonKind.NOT_PLUGGED: Response(ResponseType.ERROR),
    ReasonKind.MIGRATING: Response(ResponseType.BUSY),
}
"""What the device answers for each reason, the first decision first."""


def misplaced(asked: Span, block_size: int, usable: Span) -> Reason:
    """The reason for blocks that are empty, not aligned, or not inside the usable region."""
    if not asked.size:
        return Reason(ReasonKind.NO_BLOCKS)
    if (asked.start - usable.start) % block_size:
        return Reason(ReasonKind.NOT_ALIGNED, {"addr": asked.start, "block-size": block_size})
    facts = {"addr": asked.start, "stop": asked.stop, "start": usable.start, "usable-stop": usable.stop}
    return Reason(ReasonKind.OUT_OF_BOUNDS, facts)


def above_requested(size: int, plugged: int, requested: int) -> Reason:
    """The reason for a PLUG of `size` bytes that exceeds the requested size."""
    return Reason(ReasonKind.ABOVE_REQUESTED, {"size": size, "plugged": plugged, "requested-size": requested})


def wrong_state(asked: Span, *, plug: bool) -> Reason:
    """The reason for blocks that are already in the state that is asked for."""
    kind = ReasonKind.ALREADY_PLUGGED if plug else ReasonKind.NOT_PLUGGED
    return Reason(kind, {"addr": asked.start, "stop": asked.stop})
