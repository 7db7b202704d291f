"""A recording as a row of moments: the guest at rest after boot and after each step, with everything that is known of it."""

from collections.abc import Sequence
from typing import NamedTuple

from virtiomem.live.load import memory_block_size
from virtiomem.recording.values import Recording, Snapshot, StepRecord
from virtiomem.report.blocks import BlockRun, block_runs
from virtiomem.report.facts import Crash, crash_facts
from virtiomem.report.requests import Plugged, RequestRun, plugged_after, plugged_at, request_runs
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem


class Source(NamedTuple):
    """A recording and what to call it, usually its path."""

    name: str
    recording: Recording


class Moment(NamedTuple):
    """A guest at rest; `record` is the step that led here, None at boot."""

    record: StepRecord | None
    snapshot: Snapshot
    listing: Sequence[Row]
    crash: Sequence[Crash]
    requests: Sequence[RequestRun]
    plugged: Plugged
    blocks: Sequence[BlockRun]


class Story(NamedTuple):
    """What happened to a guest; sizes in bytes."""

    source: Source
    block_size: int
    moments: Sequence[Moment]


def story(source: Source) -> Story:
    """Work out every moment of a recording.

    Raises ListingError when an iomem text cannot be read.
    """
    recording = source.recording
    block_size = memory_block_size(recording)
    plugged = plugged_at(recording.boot)
    moments = [_moment(source, block_size, None, recording.boot, [], plugged)]
    for record in recording.steps:
        requests = request_runs(record.requests)
        plugged = plugged_after(plugged, record, requests)
        moments.append(_moment(source, block_size, record, record.snapshot, requests, plugged))
    return Story(source, block_size, moments)


def _moment(
    source: Source,
    block_size: int,
    record: StepRecord | None,
    snapshot: Snapshot,
    requests: Sequence[RequestRun],
    plugged: Plugged,
) -> Moment:
    tree = iomem.loads(snapshot.iomem, source=source.name)
    blocks = block_runs(snapshot, block_size, plugged)
    return Moment(record, snapshot, rows(tree), crash_facts(tree), requests, plugged, blocks)
