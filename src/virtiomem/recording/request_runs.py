"""Requests, alike ones counted."""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import UNSET

from virtiomem.recording.values import Request


class RequestRun(NamedTuple):
    """`times` requests, one after the other, that differ only in their address, each `stride` bytes from the one before."""

    device: str
    type: str
    response: str
    addr: int | None
    nb_blocks: int | None
    stride: int
    times: int


def request_runs(requests: Sequence[Request]) -> list[RequestRun]:
    """The requests in their order, alike ones counted."""
    found = []
    at = 0
    while at < len(requests):
        first = requests[at]
        addr = None if first.addr is UNSET else first.addr
        nb_blocks = None if first.nb_blocks is UNSET else first.nb_blocks
        stride, times = _alike(requests, at)
        found.append(RequestRun(first.device, first.type, first.response, addr, nb_blocks, stride, times))
        at += times
    return found


def _alike(requests: Sequence[Request], at: int) -> tuple[int, int]:
    """Return the stride and length of the run of requests from the `at`-th on that differ only in their address."""
    first, stride, expected = requests[at], 0, 0
    for i in range(at + 1, len(requests)):
        request = requests[i]
        if (
            request.type != first.type
            or request.device != first.device
            or request.response != first.response
            or request.nb_blocks != first.nb_blocks
            or (request.addr is UNSET) is not (first.addr is UNSET)
        ):
            return stride, i - at
        # Then neither has one: such requests are alike as they stand.
        if request.addr is UNSET or first.addr is UNSET:
            continue
        # Two requests make any stride; the third has to keep it.
        if i == at + 1:
            stride, expected = request.addr - first.addr, request.addr
        if request.addr != expected:
            return stride, i - at
        expected += stride
    return stride, len(requests) - at
