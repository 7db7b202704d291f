"""The requests of virtio-mem devices, from QEMU's trace.

QEMU prints a request and its response on two lines, without the device; the line of the queue's notification before
them has the address of the device in QEMU's memory. Which device lives there is learnt from the first request whose
range lies in a device's region; an UNPLUG_ALL, which has none, is only ever sent to a device that was plugged before.

Models: hw/virtio/trace-events (v7.2), as printed by the log backend.
"""

import re
from collections.abc import Iterable, Mapping

from virtiomem.errors import ProtocolError
from virtiomem.recording import Request
from virtiomem.units import Span
from virtiomem.wire.mem import ResponseType

EVENTS = (
    "virtio_queue_notify",
    "virtio_mem_plug_request",
    "virtio_mem_unplug_request",
    "virtio_mem_unplug_all_request",
    "virtio_mem_state_request",
    "virtio_mem_send_response",
)

# The prefix, process and time, is the log backend's and not always there.
_LINE = re.compile(
    r"^(?:\d+@\d+\.\d+:)?(?P<event>" + "|".join(EVENTS) + r") ?(?:vdev (?P<vdev>0x[0-9a-f]+) .*)?"
    r"(?:addr=(?P<addr>0x[0-9a-f]{1,16}) nb_blocks=(?P<blocks>\d{1,5}))?(?:type=(?P<type>\d{1,5}))?$"
)


class TraceReader:
    """Turns trace lines, in order, into requests; `regions` are the devices' memory, by id."""

    def __init__(self, regions: Mapping[str, Span]) -> None:
        self._regions = dict(regions)
        self._known: dict[str, str] = {}
        self._vdev: str | None = None
        self._pending: tuple[str, int | None, int | None] | None = None

    def read(self, lines: Iterable[str]) -> list[Request]:
        """The requests that these lines complete; lines of anything else are passed over."""
        requests = []
        for line in lines:
            match = _LINE.match(line)
            if match is None:
                continue
            event = match["event"]
            if event == "virtio_queue_notify":
                # Kept until the next notification: several requests may follow one.
                self._vdev = match["vdev"]
            elif event == "virtio_mem_send_response":
                requests.append(self._answered(match["type"]))
            else:
                kind = event.removeprefix("virtio_mem_").removesuffix("_request").upper()
                self._pending = (kind, _number(match["addr"]), _number(match["blocks"]))
        return requests

    def _answered(self, response: str | None) -> Request:
        if self._pending is None or response is None or int(response) >= len(ResponseType):
            raise ProtocolError(f"QEMU's trace has a response {response!r} without a request")
        (kind, addr, blocks), self._pending = self._pending, None
        device, answer = self._device(addr), ResponseType(int(response)).name
        if addr is None or blocks is None:
            return Request(device=device, type=kind, response=answer)
        return Request(device=device, type=kind, response=answer, addr=addr, nb_blocks=blocks)

    def _device(self, addr: int | None) -> str:
        """Return the device of a request: the one notified last, which its first request identifies."""
        known = self._known.get(self._vdev or "")
        if known is None:
            # By address first; UNPLUG_ALL has none, and then only a device that is not known yet can have sent it.
            known = self._by_address(addr) or self._left_over()
            if self._vdev is not None:
                self._known[self._vdev] = known
        return known

    def _by_address(self, addr: int | None) -> str | None:
        return next(
            (name for name, span in self._regions.items() if addr is not None and span.start <= addr < span.stop), None
        )

    def _left_over(self) -> str:
        """The only device that is not identified yet."""
        names = [name for name in self._regions if name not in self._known.values()]
        if len(names) != 1:
            raise ProtocolError("QEMU's trace has a request that belongs to no device known so far")
        return names[0]


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 0)
