"""Follow requests to the blocks that they leave plugged at each device."""

from collections.abc import Iterable, Iterator, Sequence

from virtiomem.recording.request_runs import RequestRun
from virtiomem.recording.values import Reboot, Snapshot, StepRecord, VirtioMemInfo
from virtiomem.report.spans import SpanSet
from virtiomem.units import Span

Plugged = dict[str, SpanSet | None]
"""What is plugged at each device by its id; None where the requests do not tell."""


def plugged_after(plugged: Plugged, record: StepRecord, runs: Iterable[RequestRun]) -> Plugged:
    """Return the plugged spans after a step, going by its requests, from what was `plugged` before.

    Whether they tell is seen at the end of the step: what they leave must be as much as the device's `size`. Where it
    is not, the answer is None until the device is empty or full again.
    """
    # Copies: the moment before keeps what it had.
    now = {name: None if spans is None else spans.copy() for name, spans in plugged.items()}
    blocks = {device.id: device.block_size for device in record.snapshot.virtio_mem}
    if isinstance(record.step, Reboot):  # a machine reset unplugs everything before any request
        now.update((name, SpanSet()) for name in blocks)
    for run in runs:
        spans = now.get(run.device)
        # Only what the device acknowledged was done.
        if run.response != "ACK" or spans is None:
            continue
        if run.type == "UNPLUG_ALL":
            now[run.device] = SpanSet()
        elif run.type in {"PLUG", "UNPLUG"} and run.device in blocks:
            for span in _touched(run, blocks[run.device]):
                (spans.add if run.type == "PLUG" else spans.remove)(span)
    return plugged_at(record.snapshot, now)


def plugged_at(snapshot: Snapshot, followed: Plugged | None = None) -> Plugged:
    """Return the plugged spans of each device: `followed` if their sum is its `size`, else what the size alone shows."""
    known = {}
    for device in snapshot.virtio_mem:
        spans = (followed or {}).get(device.id)
        # A request that the recording lacks would leave the sum wrong: then nothing is shown rather than a guess.
        known[device.id] = spans if spans is not None and spans.size == device.size else _told_by_size(device)
    return known


def _told_by_size(device: VirtioMemInfo) -> SpanSet | None:
    """Return the plugged spans of an empty or full device."""
    if device.size == 0:
        return SpanSet()
    return SpanSet([device.region]) if device.size == device.max_size else None


def _touched(run: RequestRun, block_size: int) -> Iterator[Span]:
    """The addresses that a run of requests is about."""
    if run.addr is None or run.nb_blocks is None:
        return
    size = run.nb_blocks * block_size
    last = run.addr + run.stride * (run.times - 1)
    # Next to each other, upwards or downwards, they are one span: a terabyte takes one step, not a million.
    if abs(run.stride) == size:
        yield Span(min(run.addr, last), max(run.addr, last) + size)
        return
    for i in range(run.times):
        yield Span.sized(run.addr + run.stride * i, size)


def trace(runs: Sequence[RequestRun], device: VirtioMemInfo, before: int) -> list[tuple[int, int]]:
    """Return how a device's plugged size changed during a step: pairs of request number (1, 2, …) and bytes after it.

    Starts at (0, `before`), is linear between the points, and is empty when it does not arrive at the device's `size`.
    """
    points, at, size = [(0, before)], 0, before
    for run in runs:
        # Of every device: the numbers are those of the step's requests.
        at += run.times
        if run.device == device.id and run.response == "ACK":
            if run.type == "UNPLUG_ALL":
                size = 0
            else:
                sign = {"PLUG": 1, "UNPLUG": -1}.get(run.type, 0)
                size += sign * run.times * (run.nb_blocks or 0) * device.block_size
        points.append((at, size))
    return points if size == device.size else []
