"""Recordings as JSON, in and out."""

import os
from pathlib import Path
from typing import Any

import msgspec

from virtiomem.errors import UsageError
from virtiomem.recording.values import FORMAT, Recording
from virtiomem.units import Size


def decode_size(kind: type, value: Any) -> Any:
    """Msgspec's hook for the one type it does not know: a `Size`, from a number or a text."""
    if kind is Size:
        return Size.parse(value)
    raise NotImplementedError(f"no decoding for {kind}")


def loads(text: str | bytes, *, source: str = "recording") -> Recording:
    """Read a recording.

    Raises UsageError, one line with the source and the place, for anything that is not a recording.
    """
    try:
        raw = msgspec.json.decode(text)
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            raise UsageError(f"{source}: format {raw.get('format')!r} is not {FORMAT!r}")
        _name_device_types(raw)
        return msgspec.convert(raw, Recording, dec_hook=decode_size)
    except RecursionError:
        raise UsageError(f"{source}: not a recording: nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{source}: not a recording: {error}") from None


def load(path: str | Path) -> Recording:
    """Read a recording from a file; see `loads`."""
    try:
        return loads(Path(path).read_bytes(), source=str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def dumps(recording: Recording) -> bytes:
    """A recording as JSON, indented, with a final newline."""
    return msgspec.json.format(msgspec.json.encode(recording, enc_hook=int), indent=1) + b"\n"


def dump(recording: Recording, path: str | Path) -> None:
    """Write a recording whole or not at all: to a temporary file beside `path`, then renamed."""
    write_whole(Path(path), dumps(recording))


def check_writable(path: str | Path) -> None:
    """Raise UsageError when a file could not be written there; before the work whose outcome it is to hold."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path}: Is a directory")
    place = path if _is_special(path) else path.resolve().parent
    if not place.exists():
        raise UsageError(f"{path}: No such file or directory")
    if not os.access(place, os.W_OK):
        raise UsageError(f"{path}: Permission denied")


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file's content in one step, so that no reader ever sees half of it; UsageError when it cannot be.

    A device or a pipe, such as /dev/stdout, is written to; a symbolic link keeps pointing where it does.
    """
    try:
        if _is_special(path):
            path.write_bytes(data)
        else:
            _replace(path.resolve(), data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def _is_special(path: Path) -> bool:
    """True for what is there and is neither a file nor a directory."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _replace(path: Path, data: bytes) -> None:
    """Write to a temporary file in the same directory, then rename it."""
    import tempfile  # not above: it takes a tenth of every command's start, and most write nothing

    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
