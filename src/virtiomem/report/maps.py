"""What `virtiomem map` draws: a listing from a file or a pipe, that of a capture, or one step of a recording."""

from pathlib import Path
from typing import Any, NamedTuple

from virtiomem.errors import UsageError
from virtiomem.listing import repair
from virtiomem.live.reading import read_any, source_of, up_to, usable
from virtiomem.recording.describe import describe
from virtiomem.recording.values import StepRecord
from virtiomem.report.block_runs import block_changes
from virtiomem.report.data import title
from virtiomem.report.moments import Source, story
from virtiomem.report.picture import BlockStrip, picture, plugged_everywhere
from virtiomem.report.rows import Row, rows
from virtiomem.units import Span


class Map(NamedTuple):
    """A listing, what to call it, and its memory blocks where they are known."""

    name: str
    listing: list[Row]
    blocks: BlockStrip | None = None
    changed: Span | None = None
    """From the first to the last memory block that the step changed."""
    repairs: tuple[str, ...] = ()
    """What was put right in a damaged listing, with the line."""
    at_least: bool = False
    """Whether something of it may be missing."""

    def picture(self, title: str | None = None) -> str:
        """As SVG."""
        name = self.name if title is None else title
        return picture(self.listing, title=name, blocks=self.blocks, changed=self.changed, at_least=self.at_least)

    def as_json(self) -> list[dict[str, Any]]:
        """The resources, equal neighbours counted."""
        return [
            {"start": row.start, "size": row.size, "times": row.times, "depth": row.depth, "name": row.name}
            for row in self.listing
        ]


def read(file: str, *, step: int | None = None, lenient: bool = False, kind: str | None = None) -> Map:
    """Read a listing, a capture or a recording; `-` is standard input. `lenient` puts a damaged listing right, `kind`
    says what it is.

    Raises UsageError when the file cannot be read, has no such step, or is neither; ListingError for a listing that is
    damaged, or that hides its addresses from unprivileged readers.
    """
    source = source_of(file)
    found = read_any(file, verb="map", kind=kind)
    if found.recording is not None:
        return of_recording(Source(source, found.recording), step)
    if step is not None:
        raise UsageError(f"--step {step}: {source} is not a recording")
    capture = usable(found, "map", source)
    reading = repair.read(capture.iomem, source=source, lenient=lenient)
    return Map(
        Path(source).name, rows(reading.tree), repairs=(*capture.told, *reading.told(source)), at_least=reading.at_least
    )


def _but(record: StepRecord) -> str:
    """Say in a title what keeps a step from being done."""
    return " (refused)" if record.error is not None else "" if record.settled else " (stopped short)"


def of_recording(source: Source, step: int | None) -> Map:
    """The map after a step of a recording; the last when `step` is None."""
    at = len(up_to(source.recording, step, source.name).steps)
    whole = story(source)
    moment = whole.moments[at]
    strip = BlockStrip(moment.blocks, whole.block_size, plugged_everywhere(moment.plugged))
    did = "at boot" if moment.record is None else f"step {at}, {describe(moment.record.step)}{_but(moment.record)}"
    # At boot nothing has changed: against nothing, everything would have.
    before = whole.moments[at - 1].blocks if at else moment.blocks
    ends = [(one.first, one.first + one.times) for one in block_changes(before, moment.blocks)]
    changed = Span(ends[0][0] * whole.block_size, ends[-1][1] * whole.block_size) if ends else None
    return Map(f"{title(source)}: {did}", list(moment.listing), strip, changed)
