"""Requests, alike ones counted; and what they leave plugged at each device."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import UNSET

from virtiomem.recording.values import Reboot, Recording, Request, Snapshot, StepRecord, VirtioMemInfo
from virtiomem.report.spans import SpanSet
from virtiomem.units import Span


class RequestRun(NamedTuple):
    """`times` requests, one after the other, that differ only in their address, each `stride` bytes from the one before."""

    device: str
    type: str
    response: str
    addr: int | None
    nb_blocks: int | None
    stride: int
    times: int


def request_runs(requests: Iterable[Request]) -> list[RequestRun]:
    """The requests in their order, alike ones counted."""
    found: list[RequestRun] = []
    for request in requests:
        addr = None if request.addr is UNSET else request.addr
        nb_blocks = None if request.nb_blocks is UNSET else request.nb_blocks
        new = RequestRun(request.device, request.type, request.response, addr, nb_blocks, 0, 1)
        joined = _joined(found[-1], new) if found else None
        if joined is None:
            found.append(new)
        else:
            found[-1] = joined
    return found


def _joined(run: RequestRun, new: RequestRun) -> RequestRun | None:
    """The run with one more request, or None when that one is not its next."""
    if run[:3] != new[:3] or run.nb_blocks != new.nb_blocks:
        return None
    if run.addr is None or new.addr is None:
        return run._replace(times=run.times + 1) if run.addr is new.addr is None else None
    if run.times == 1:
        return run._replace(stride=new.addr - run.addr, times=2)
    if new.addr == run.addr + run.stride * run.times:
        return run._replace(times=run.times + 1)
    return None


Plugged = dict[str, SpanSet | None]
"""What is plugged at each device by its id; None where the requests do not tell."""


def plugged_by_step(recording: Recording) -> Iterator[Plugged]:
    """What is plugged after boot and after each step, as far as the requests tell.

    Whether they tell is seen at the end of each step: what they leave must be as much as the device's `size`. Where it
    is not, the answer is None until the device is empty or full again.
    """
    plugged: Plugged = {}
    yield _settle(plugged, recording.boot)
    for record in recording.steps:
        _play(plugged, record)
        yield _settle(plugged, record.snapshot)


def _play(plugged: Plugged, record: StepRecord) -> None:
    """Apply a step's requests; a machine reset unplugs everything before any of them."""
    blocks = {device.id: device.block_size for device in virtio_mem(record.snapshot)}
    if isinstance(record.step, Reboot):
        plugged.update((name, SpanSet()) for name in blocks)
    for run in request_runs(record.requests):
        spans = plugged.get(run.device)
        if run.response != "ACK" or spans is None:
            continue
        if run.type == "UNPLUG_ALL":
            plugged[run.device] = SpanSet()
        elif run.type in {"PLUG", "UNPLUG"} and run.device in blocks:
            for span in _touched(run, blocks[run.device]):
                (spans.add if run.type == "PLUG" else spans.remove)(span)


def _touched(run: RequestRun, block_size: int) -> Iterator[Span]:
    """The addresses that a run of requests is about."""
    if run.addr is None or run.nb_blocks is None:
        return
    size = run.nb_blocks * block_size
    last = run.addr + run.stride * (run.times - 1)
    if abs(run.stride) == size:
        yield Span(min(run.addr, last), max(run.addr, last) + size)
        return
    for i in range(run.times):
        yield Span.sized(run.addr + run.stride * i, size)


def _settle(plugged: Plugged, snapshot: Snapshot) -> Plugged:
    """Hold what was followed against each device's `size`; a copy."""
    devices = {device.id: device for device in virtio_mem(snapshot)}
    for gone in plugged.keys() - devices.keys():
        del plugged[gone]
    for name, device in devices.items():
        spans = plugged.get(name)
        if spans is None or spans.size != device.size:
            plugged[name] = _known(device)
    return {name: None if spans is None else spans.copy() for name, spans in plugged.items()}


def _known(device: VirtioMemInfo) -> SpanSet | None:
    """What is plugged at an empty or full device."""
    if device.size == 0:
        return SpanSet()
    region = Span.sized(device.memaddr, device.max_size)
    return SpanSet([region]) if device.size == device.max_size else None


def virtio_mem(snapshot: Snapshot) -> list[VirtioMemInfo]:
    """The virtio-mem devices of a snapshot."""
    return [device for device in snapshot.devices if isinstance(device, VirtioMemInfo)]


def trace(runs: Sequence[RequestRun], device: VirtioMemInfo, before: int) -> list[tuple[int, int]]:
    """How a device's plugged size went during a step: after which request (1, 2, …) it was how many bytes.

    Starts at (0, `before`), is linear between the points, and is empty when it does not arrive at the device's `size`.
    """
    points, at, size = [(0, before)], 0, before
    for run in runs:
        at += run.times
        if run.device == device.id and run.response == "ACK":
            if run.type == "UNPLUG_ALL":
                size = 0
            else:
                sign = {"PLUG": 1, "UNPLUG": -1}.get(run.type, 0)
                size += sign * run.times * (run.nb_blocks or 0) * device.block_size
        points.append((at, size))
    return points if size == device.size else []
