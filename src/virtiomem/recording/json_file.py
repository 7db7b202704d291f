"""Recordings as JSON, in and out."""

import os
from typing import TYPE_CHECKING, Any

from virtiomem import border
from virtiomem.errors import ArgumentError, UsageError
from virtiomem.files import StrPath, read_bytes
from virtiomem.notation import NotationError, check_format, convert, json_bytes, json_values
from virtiomem.recording.values import FORMAT as WHOLE
from virtiomem.recording.values import Recording
from virtiomem.text import shown
from virtiomem.units import Size

if TYPE_CHECKING:
    from virtiomem.recording.folded import FoldedRecording


def decode_size(kind: type, value: Any) -> Any:
    """Msgspec's hook for the one type it does not know: a `Size`, from a number or a text."""
    if kind is Size:
        return Size.parse(value)
    raise NotImplementedError(f"no decoding for {kind}")


def loads(text: str | bytes, *, source: str = "recording") -> Recording:
    """Read a recording.

    Raises UsageError, one line with the source and the place, for anything that is not a recording.
    """
    from virtiomem.recording import folded  # not above: a run that keeps no recording does without

    border.instance("text", text, str, bytes)
    try:
        raw = json_values(text)
        if check_format(raw, WHOLE, folded.FORMAT) == folded.FORMAT:
            recording = folded.unfold(convert(raw, folded.FoldedRecording, dec_hook=decode_size))
        else:
            # Format 2 is younger than the type.
            _name_device_types(raw)
            recording = convert(raw, Recording, dec_hook=decode_size)
        # `guest` is an unchecked table, and other code divides by this number.
        border.page_size(recording.page_size)
    except (NotationError, ArgumentError) as error:
        raise UsageError(f"{shown(source)}: not a recording: {error}") from None
    # Every Linux has a map: without one the file was cut, or made up.
    if any(not snapshot.iomem for snapshot in (recording.boot, *(record.snapshot for record in recording.steps))):
        raise UsageError(f"{shown(source)}: not a recording: a map without a line, so nothing of the guest was seen")
    return recording


def load(path: StrPath) -> Recording:
    """Read a recording from a file; see `loads`."""
    border.instance("path", path, str, os.PathLike)
    return loads(read_bytes(path), source=os.fsdecode(path))


def dumps(recording: Recording, *, whole: bool = False) -> bytes:
    """A recording as JSON, indented, with a final newline; a byte of a name that is not UTF-8 becomes a question mark.

    `whole`: with all of every snapshot (format 1), not only what has changed (format 2).
    """
    border.instance("recording", recording, Recording)
    record: Recording | FoldedRecording = recording
    if not whole:
        from virtiomem.recording.folded import fold

        record = fold(recording)
    return json_bytes(record, enc_hook=int, indent=1) + b"\n"


def dump(recording: Recording, path: StrPath) -> None:
    """Write a recording, in format 2; the file is written whole or not at all, see `write_whole`."""
    from virtiomem.writing import write_whole  # not above: reading needs none of it

    write_whole(path, dumps(recording))


def _name_device_types(raw: Any) -> None:
    """Older recordings leave `type` out for virtio-mem devices; say it."""
    if not isinstance(raw, dict):
        return
    steps = raw.get("steps")
    holders = [raw.get("boot")]
    holders += [step.get("snapshot") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    for snapshot in holders:
        devices = snapshot.get("devices") if isinstance(snapshot, dict) else None
        for device in devices if isinstance(devices, list) else []:
            if isinstance(device, dict):
                device.setdefault("type", "virtio-mem")
