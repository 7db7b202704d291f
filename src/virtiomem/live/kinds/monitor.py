"""Read the output of a QEMU monitor: a QMP transcript (its own lines, or those of a tool that shows both sides), HMP's
tables.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from virtiomem.errors import UsageError
from virtiomem.live.kinds.values import Brought, Fact
from virtiomem.qemu.memory_devices import MemoryDevice
from virtiomem.recording.values import VirtioMemInfo
from virtiomem.text import described, shown

_DEVICE = re.compile(r"Memory device \[(?P<type>[\w-]+)\]: \"(?P<id>[^\"]*)\"")
_FIELD = re.compile(r"  (?P<what>[a-z][a-z-]*): (?P<value>.*)")
_SUMMARY = re.compile(r"(?P<what>(?:base|plugged) memory): (?P<size>[0-9]{1,20})")
_SIZES = ("size", "requested-size", "max-size", "block-size")
MAX_MESSAGES = 10_000
"""A transcript with more is refused."""


def read(text: str, source: str) -> Brought:
    """Read the devices, the sizes and the events that were told, the last of each. Raises UsageError where nothing of
    memory is.
    """
    facts = tuple(_qmp(text, source)) if "{" in text else tuple(_hmp(text))
    if not facts:
        raise UsageError(f"{shown(source)}: nothing of memory in it (query-memory-devices and its like tell)")
    return Brought({}, facts)


def _qmp(text: str, source: str) -> Iterator[Fact]:
    for message in _messages(text, source):
        answer = message.get("return")
        data = message.get("data")
        if isinstance(answer, list):
            yield from _devices(answer)
        elif isinstance(answer, dict):
            for what in ("base-memory", "plugged-memory", "status"):
                if isinstance(value := answer.get(what), int | str) and not isinstance(value, bool):
                    yield Fact("machine", what, value if isinstance(value, int) else shown(value))
        # QEMU sends an id only for a device that was given one.
        if message.get("event") == "MEMORY_DEVICE_SIZE_CHANGE" and isinstance(data, dict):
            yield Fact(
                shown(data.get("id") or data.get("qom-path") or "?"), "size, by an event", _number(data.get("size"))
            )
        if message.get("execute") == "qom-set" and isinstance(asked := message.get("arguments"), dict):
            yield Fact(
                shown(asked.get("path")), f"{shown(asked.get('property'))}, asked for", _number(asked.get("value"))
            )
        if isinstance(error := message.get("error"), dict):
            yield Fact("monitor", "refused", shown(error.get("desc")))


def _number(value: Any) -> int | str:
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 64 else described(value)
    )


def _messages(text: str, source: str) -> Iterator[dict[str, Any]]:
    """The objects in a text, whatever stands between them."""
    import json  # the one reader that says where an object ends

    decoder = json.JSONDecoder()
    at = seen = 0
    while (at := text.find("{", at)) >= 0:
        try:
            # A transcript is no JSON document: prompts and times stand between its objects.
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            number = text.count("\n", 0, at) + 1
            raise UsageError(f"{shown(source)}:{number}: a QMP message that is cut, or no JSON") from None
        seen += 1
        if seen > MAX_MESSAGES:
            raise UsageError(f"{shown(source)}: more than {MAX_MESSAGES} QMP messages")
        if isinstance(value, dict):
            yield value


def _devices(answer: list[Any]) -> Iterator[Fact]:
    try:
        devices = msgspec.convert(answer, list[MemoryDevice])
    except (msgspec.ValidationError, UnicodeEncodeError):  # the answer to another question
        return
    for device in devices:
        info = device.info
        yield Fact(shown(info.id), "kind", shown(device.type))
        if isinstance(info, VirtioMemInfo):
            yield from (Fact(shown(info.id), what, getattr(info, what.replace("-", "_"))) for what in _SIZES)
            yield Fact(shown(info.id), "memaddr", f"{info.memaddr:#x}")
        else:
            yield Fact(shown(info.id), "size", info.size)
            yield Fact(shown(info.id), "addr", f"{info.addr:#x}")
        yield Fact(shown(info.id), "node", str(info.node))


def _hmp(text: str) -> Iterator[Fact]:
    device = ""
    for line in text.splitlines():
        if match := _DEVICE.search(line):
            device = shown(match["id"])
            yield Fact(device, "kind", match["type"])
        elif match := _SUMMARY.search(line):
            yield Fact("machine", match["what"], int(match["size"]))
        elif device and (match := _FIELD.fullmatch(line)):
            value = match["value"]
            sized = match["what"] in _SIZES and value.isdecimal() and len(value) <= 20
            yield Fact(device, match["what"], int(value) if sized else shown(value))
