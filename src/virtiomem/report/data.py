"""Everything a page shows, as JSON: made once here, only drawn in the browser.

Addresses and sizes that may pass 2^53 are hexadecimal texts; rows are arrays. `docs/report.md` says what stands where.
"""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from virtiomem.recording.palette import RESPONSES, BlockKind, Change, Look
from virtiomem.recording.values import Recording, Snapshot, StepRecord
from virtiomem.recording.words import describe
from virtiomem.report.axis import folded_axis
from virtiomem.report.blocks import BlockRun, block_changes, block_runs, memory_block_size
from virtiomem.report.changes import map_changes
from virtiomem.report.facts import added_at_once, facts
from virtiomem.report.kinds import ResourceKind, resource_kind
from virtiomem.report.requests import Plugged, plugged_by_step, request_runs, trace, virtio_mem
from virtiomem.report.rows import Row, rows
from virtiomem.resource import iomem
from virtiomem.units import Span

FORMAT = "virtiomem-report/1"


class Source(NamedTuple):
    """A recording and what to call it."""

    name: str
    recording: Recording


def page_data(sources: Sequence[Source]) -> dict[str, Any]:
    """What one page says about one or more recordings."""
    listings = [
        [rows(iomem.loads(s.iomem, source=source.name)) for s in snapshots(source.recording)] for source in sources
    ]
    regions = {
        Span.sized(device.memaddr, device.max_size)
        for source in sources
        for snapshot in snapshots(source.recording)
        for device in virtio_mem(snapshot)
    }
    axis = folded_axis((listing for of_one in listings for listing in of_one), regions)
    return {
        "format": FORMAT,
        "looks": {
            "resources": _looks((kind.name, kind.look) for kind in ResourceKind),
            "blocks": _looks((kind.name, kind.look) for kind in BlockKind),
            "changes": _looks((change.name, change.look) for change in Change),
            "responses": _looks(RESPONSES.items()),
        },
        "axis": [[f"{s.start:x}", f"{s.stop:x}", s.folded] for s in axis],
        "recordings": [_recording(source, of_one) for source, of_one in zip(sources, listings, strict=True)],
    }


def snapshots(recording: Recording) -> list[Snapshot]:
    """The snapshot of boot and of every step."""
    return [recording.boot, *(record.snapshot for record in recording.steps)]


def _looks(looks: Iterable[tuple[str, Look]]) -> dict[str, dict[str, str]]:
    return {name: {"word": look.word, "symbol": look.symbol, "color": look.color} for name, look in looks}


def _recording(source: Source, listings: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """One recording; equal names, and equal looks of blocks, are numbered and told once."""
    recording = source.recording
    names, looks = Table(), Table()
    block_size = memory_block_size(recording, listings[0])
    unit = added_at_once(recording, block_size)
    steps = []
    previous = None
    records: list[StepRecord | None] = [None, *recording.steps]
    blocks: list[BlockRun] = []
    for record, snapshot, listing, plugged in zip(
        records, snapshots(recording), listings, plugged_by_step(recording), strict=True
    ):
        before, blocks = blocks, block_runs(snapshot, block_size, plugged)
        steps.append(
            {
                **_step(record, previous),
                "rows": [_row(row, names) for row in listing],
                "changes": [] if previous is None else _changes(previous[1], listing, names),
                "blocks": [[run.first, run.times, looks[run[2:]]] for run in blocks],
                "block-changes": [] if previous is None else _block_changes(before, blocks, looks),
                "plugged": _plugged(plugged),
                "devices": msgspec.to_builtins(snapshot.devices, enc_hook=int),
                "zones": msgspec.to_builtins(snapshot.zones),
                "facts": facts(listing, snapshot, unit)._asdict(),
            }
        )
        previous = (snapshot, listing)
    return {
        "source": source.name,
        "title": title(source),
        "guest": recording.guest,
        "recorded": None if recording.recorded is UNSET else recording.recorded,
        "block-size": block_size,
        "names": [[name, resource_kind(name).name] for name in names],
        "block-looks": [[kind.name, state, zones, list(nodes)] for kind, state, zones, nodes in looks],
        "steps": steps,
    }


class Table(dict[Any, int]):
    """Numbers values in the order in which they are first asked for."""

    def __missing__(self, value: Any) -> int:
        self[value] = number = len(self)
        return number


def title(source: Source) -> str:
    """What the scenario calls itself, else what the file or its folder is called."""
    scenario = source.recording.scenario if isinstance(source.recording.scenario, dict) else {}
    said = scenario.get("title")
    if isinstance(said, str) and said:
        return said
    path = PurePath(source.name)
    return (path.parent.name if path.stem == "recording" else path.stem) or source.name


def _row(row: Row, names: Table) -> list[Any]:
    return [row.depth, f"{row.start:08x}", f"{row.size:x}", row.times, names[row.name]]


def _changes(old: Sequence[Row], new: Sequence[Row], names: Table) -> list[Any]:
    return [
        [change.change.name, [_row(row, names) for row in change.before], [_row(row, names) for row in change.after]]
        for change in map_changes(old, new)
    ]


def _block_changes(old: Sequence[BlockRun], new: Sequence[BlockRun], looks: Table) -> list[Any]:
    return [
        [change.first, change.times, *(None if look is None else looks[look] for look in (change.was, change.now))]
        for change in block_changes(old, new)
    ]


def _plugged(plugged: Plugged) -> dict[str, list[str] | None]:
    """Each device's plugged spans as start, size, start, size, …"""
    return {
        name: None if spans is None else [f"{n:x}" for span in spans for n in (span.start, span.size)]
        for name, spans in plugged.items()
    }


def _step(record: StepRecord | None, previous: tuple[Snapshot, Sequence[Row]] | None) -> dict[str, Any]:
    """What was done and what came of it; for boot, nothing was."""
    if record is None or previous is None:
        return {"title": "boot", "settled": True, "error": None, "requests": [], "trace": {}}
    runs = request_runs(record.requests)
    before = {device.id: device.size for device in virtio_mem(previous[0])}
    optional = {"held-up": record.held_up, "retry-in": record.retry_in, "elapsed": record.elapsed}
    return {
        "title": describe(record.step),
        "settled": record.settled,
        "error": record.error,
        "requests": [[*run[:3], None if run.addr is None else f"{run.addr:08x}", *run[4:]] for run in runs],
        "trace": {d.id: trace(runs, d, before.get(d.id, 0)) for d in virtio_mem(record.snapshot)},
        **{key: value for key, value in optional.items() if value is not UNSET},
    }
