"""Make the moves of a request log on another device and on the model, which does as the device in accepted policies.

`replay` compares a device with what a log says, line by line; after the first policy of its own the device is in another
state, and whatever follows differs. Here the log gives the moves only, and what is compared is device and model.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import assert_never

from virtiomem.conformance import log
from virtiomem.conformance.fuzz import Pair
from virtiomem.conformance.moves import Case
from virtiomem.conformance.record import Migrate, Move, ResetDevice, ResetSystem, SetRing, SetSize, Submit, SweepStates
from virtiomem.conformance.replay import ReadLog, ReplayDifference, ReplayResult, shape_of
from virtiomem.conformance.testbench import Target
from virtiomem.errors import DeviceError, UsageError


def retrace(path: str | Path, target: Target, accept: Collection[str]) -> ReplayResult:
    """Make the moves of a log on the device that `target` makes and on ours, each recording up to its first difference.

    Raises UsageError when the log cannot be read or the target makes no such device, BackendError when nothing answers.
    """
    starts = 0

    def recording(numbered: tuple[int, log.Line]) -> int:
        nonlocal starts
        starts += isinstance(numbered[1], log.Header)
        return starts

    lines = ReadLog(path)
    found = (_retrace(str(path), of_it, target, frozenset(accept)) for _, of_it in groupby(lines, recording))
    differences = [difference for difference in found if difference is not None]
    return lines.result(len(differences), differences[0] if differences else None)


def _retrace(
    path: str, lines: Iterator[tuple[int, log.Line]], target: Target, accept: frozenset[str]
) -> ReplayDifference | None:
    """The first difference in a recording, a header and what follows it."""
    number, header = next(lines)
    if not isinstance(header, log.Header):
        raise UsageError(f"{path}:{number}: a table of negotiations has no moves: --accept is for a recording")
    features = header.accepted
    try:
        with Pair.open(target, Case(shape_of(header), features, header.ring_size, accept)) as pair:
            for number, line in lines:  # noqa: B007 - the last one is said
                if isinstance(line, log.DeviceReset) and line.accepted is not None:
                    features = line.accepted
                with suppress(NotImplementedError):  # there is no way to make this move there
                    pair.play(_move(line, features))
                if pair.difference is not None:
                    break
    except DeviceError as error:
        raise UsageError(f"{path}:{number}: no such device: {error}") from None
    except ValueError as error:
        raise UsageError(f"{path}:{number}: cannot be replayed: {error}") from None
    found = pair.difference
    return found and replace(
        found, line=number, recorded=found.ours, ours=found.recorded
    )  # what the model says was recorded


def _move(line: log.Line, features: int) -> Move:
    """The move that made a line."""
    match line:
        case log.Batch(reqs=sent, times=times):
            return Submit(tuple(one.chain_request() for one in sent), times)
        case log.Qmp(value=value):
            return SetSize(value)
        case log.DeviceReset():
            return ResetDevice(features)
        case log.SystemReset():
            return ResetSystem()
        case log.MigrateStart() | log.MigrateCancel():
            return Migrate(start=isinstance(line, log.MigrateStart))
        case log.AvailRing(flags=flags, used_event=event):
            return SetRing(flags, event)
        case log.FinalStateSweep():
            return SweepStates()
        case log.Header() | log.Negotiation():
            raise AssertionError("not behind a header")
        case _:
            assert_never(line)
