"""Everything a page shows, as JSON: made once here, only drawn in the browser.

Addresses and sizes that may pass 2^53 are hexadecimal texts; rows are arrays. `docs/report.md` says what stands where.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

import msgspec
from msgspec import UNSET

from virtiomem.live.load import driver_config
from virtiomem.reasons import retry
from virtiomem.recording.compare import differences
from virtiomem.recording.describe import describe
from virtiomem.recording.palette import RESPONSES, Appearance, BlockKind, ChangeKind, ResourceKind
from virtiomem.recording.values import Free, Reboot, Recording, Use, VirtioMemInfo
from virtiomem.report.axis import folded_axis
from virtiomem.report.block_runs import BlockChange, block_changes
from virtiomem.report.changes import MapChange, map_changes
from virtiomem.report.facts import facts, header_facts
from virtiomem.report.kinds import resource_kind
from virtiomem.report.moments import Moment, Source, Story, story
from virtiomem.report.plugged import trace
from virtiomem.report.spans import SpanSet

FORMAT = "virtiomem-report/1"


class Table(dict[Any, int]):
    """Numbers values in the order in which they are first asked for."""

    def __missing__(self, value: Any) -> int:
        self[value] = number = len(self)
        return number


def page_data(sources: Sequence[Source]) -> dict[str, Any]:
    """Return the data of a page about one or more recordings."""
    stories = [story(source) for source in sources]
    moments = [moment for told in stories for moment in told.moments]
    regions = {d.region for moment in moments for d in moment.snapshot.virtio_mem}
    axis = folded_axis((moment.listing for moment in moments), regions)
    return {
        "format": FORMAT,
        "looks": {
            "resources": _looks((kind.name, kind.look) for kind in ResourceKind),
            "blocks": _looks((kind.name, kind.look) for kind in BlockKind),
            "changes": _looks((change.name, change.look) for change in ChangeKind),
            "responses": _looks(RESPONSES.items()),
        },
        "axis": [[f"{s.start:x}", f"{s.stop:x}", s.folded] for s in axis],
        "recordings": [_recording(told) for told in stories],
        "differences": _differences(*(source.recording for source in sources)) if len(sources) == 2 else {},
    }


def _differences(a: Recording, b: Recording) -> dict[int, dict[str, Any]]:
    """Return the differences of two recordings by step (0: boot): how many, and the first of each kind."""
    found: dict[int, dict[str, Any]] = {}
    for difference in differences(a, b):
        step = found.setdefault(difference.step or 0, {"times": 0, "shown": {}})
        step["times"] += 1
        # Differences whose words differ in numbers alone are of one kind: one of them is shown, the others are counted.
        kind = re.sub(r"\d+", "", difference.what)
        step["shown"].setdefault(kind, [difference.what, difference.a, difference.b])
    return {number: {"times": step["times"], "shown": list(step["shown"].values())} for number, step in found.items()}


def _looks(looks: Iterable[tuple[str, Appearance]]) -> dict[str, dict[str, str]]:
    return {name: {"word": look.word, "symbol": look.symbol, "color": look.color} for name, look in looks}


def _recording(told: Story) -> dict[str, Any]:
    """One recording; equal names, and equal looks of blocks, are numbered and told once."""
    recording = told.source.recording
    names, looks = Table(), Table()
    size, driver = told.block_size, driver_config(recording).parameters
    row = recording.architecture
    counted = [facts(now.listing, now.snapshot, size, driver, row) for now in told.moments]
    steps = [
        _state(now, names, looks)
        | {"uses": uses, "in-use": _in_use(now)}
        | _step(now, before, names, looks)
        | {
            "facts": found._asdict(),
            "crash": [crash._asdict() | {"unmerged": crash.unmerged(found, row)} for crash in now.crash],
            **({} if now.standing is None else {"crash-header": header_facts(now.standing)._asdict()}),
        }
        # Boot has no moment before it, so that list is shifted by one, and ends with the others.
        for before, now, found, uses in zip(
            [None, *told.moments], told.moments, counted, _uses(recording), strict=False
        )
    ]
    return {
        "source": told.source.name,
        "title": title(told.source),
        "guest": recording.guest,
        "recorded": None if recording.recorded is UNSET else recording.recorded,
        "block-size": told.block_size,
        "page-size": recording.page_size,
        "names": [[name, resource_kind(name).name] for name in names],
        "block-looks": [[kind.name, state, zones, list(nodes)] for kind, state, zones, nodes in looks],
        "steps": steps,
    }


def _state(now: Moment, names: Table, looks: Table) -> dict[str, Any]:
    """The guest at rest."""
    return {
        "rows": [[row.depth, f"{row.start:08x}", f"{row.size:x}", row.times, names[row.name]] for row in now.listing],
        "blocks": [[run.first, run.times, looks[run[2:]]] for run in now.blocks],
        "plugged": {device.id: _spans(device, now.plugged[device.id]) for device in now.snapshot.virtio_mem},
        "devices": msgspec.to_builtins(now.snapshot.devices, enc_hook=int),
        "zones": msgspec.to_builtins(now.snapshot.zones),
    }


def _uses(recording: Recording) -> list[list[tuple[str, int, str]]]:
    """At boot and after each step, what the scenario has made the guest use: id, bytes, and of which kind."""
    uses: dict[str, tuple[str, int, str]] = {}
    after = [[*uses.values()]]
    for record in recording.steps:
        match record.step:
            case Use(id=name, size=size, kind=kind) if record.error is None:
                uses[name] = (name, int(size), kind)
            case Free(id=name) if record.error is None:
                uses.pop(name, None)
            case Reboot() if record.error is None:
                uses.clear()
        after.append([*uses.values()])
    return after


def _in_use(now: Moment) -> list[tuple[int, int, str]]:
    """The memory blocks that something holds which should go: number, bytes in use, and the reason in words."""
    found = []
    for reason in now.record.reasons or () if now.record is not None else ():
        values = reason.get("values", {})
        uses = values.get("uses")
        # A recording may come from elsewhere: what it holds is looked at before it is added up.
        if isinstance(uses, list) and isinstance(values.get("block"), int):
            pages = sum(use["pages"] for use in uses if isinstance(use, dict) and isinstance(use.get("pages"), int))
            found.append((values["block"], pages * now.page_size, str(reason.get("text", ""))))
    return found


def _spans(device: VirtioMemInfo, plugged: SpanSet | None) -> list[int] | None:
    """Return the plugged blocks as [first, number, first, number, …], in blocks of the device counted from its memaddr."""
    if plugged is None:
        return None
    return [n // device.block_size for span in plugged for n in (span.start - device.memaddr, span.size)]


def _step(now: Moment, before: Moment | None, names: Table, looks: Table) -> dict[str, Any]:
    """Return a step and its outcome; boot has no step."""
    if before is None or now.record is None:
        done = {"title": "boot", "settled": None, "error": None}
        return done | {"requests": [], "trace": {}, "changes": [], "block-changes": []}
    record = now.record
    sizes = {device.id: device.size for device in before.snapshot.virtio_mem}
    optional: dict[str, Any] = {
        "held-up": record.held_up,
        "log": record.log,
        "retry-in": record.retry_in,
        "elapsed": record.elapsed,
    }
    # In words as well, so that the page's script and the terminal say the same.
    if record.retry_in is not UNSET:
        optional["retry"] = retry(record.retry_in).text
    return {
        "title": describe(record.step),
        "settled": record.settled,
        "error": record.error,
        "requests": [[*run[:3], None if run.addr is None else f"{run.addr:08x}", *run[4:]] for run in now.requests],
        "trace": {d.id: trace(now.requests, d, sizes.get(d.id, 0)) for d in record.snapshot.virtio_mem},
        "changes": [_change(change, names) for change in map_changes(before.listing, now.listing)],
        "block-changes": [_block_change(change, looks) for change in block_changes(before.blocks, now.blocks)],
        **{key: value for key, value in optional.items() if value is not UNSET},
    }


def _change(change: MapChange, names: Table) -> list[Any]:
    """The word and where: of this depth and name, everything there in either listing is part of the change."""
    row = (change.before + change.after)[0]
    return [change.change.name, row.depth, f"{change.start:x}", f"{change.stop:x}", names[row.name]]


def _block_change(change: BlockChange, looks: Table) -> list[Any]:
    was, now = (None if look is None else looks[look] for look in (change.was, change.now))
    return [change.first, change.times, was, now]


def title(source: Source) -> str:
    """Return the scenario's title, else the name of the file or its folder."""
    path = PurePath(source.name)
    return source.recording.title or (path.parent.name if path.stem == "recording" else path.stem) or source.name
