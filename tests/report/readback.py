"""A page's data, read back into what was recorded: what the page says must be what happened."""

from typing import Any

from virtiomem.recording import Recording


def listing(recording: dict[str, Any], step: dict[str, Any]) -> str:
    """The text of /proc/iomem."""
    lines = []
    for depth, start, size, times, name in step["rows"]:
        for i in range(times):
            first = int(start, 16) + i * int(size, 16)
            text = recording["names"][name][0]
            lines.append(f"{'  ' * min(depth, 5)}{first:08x}-{first + int(size, 16) - 1:08x} : {text}\n")
    return "".join(lines)


def requests(step: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every request as (device, type, response, address, blocks)."""
    found = []
    for device, kind, response, addr, blocks, stride, times in step["requests"]:
        first = None if addr is None else int(addr, 16)
        found += [
            (device, kind, response, first if first is None else first + i * stride, blocks) for i in range(times)
        ]
    return found


def blocks(recording: dict[str, Any], step: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every memory block as (number, state, valid zones, nodes)."""
    found = []
    for first, times, look in step["blocks"]:
        _, state, zones, nodes = recording["block-looks"][look]
        found += [(first + i, state, zones, nodes) for i in range(times) if state]
    return found


def plugged(step: dict[str, Any]) -> dict[str, int | None]:
    """Bytes plugged at each device, from its spans."""
    sizes = {device["id"]: device.get("block-size") for device in step["devices"]}
    return {name: None if spans is None else sum(spans[1::2]) * sizes[name] for name, spans in step["plugged"].items()}


def agree(recording: dict[str, Any], told: Recording) -> None:
    """Assert that the data of a page says what `told` says, step by step."""
    assert len(recording["steps"]) == len(told.steps) + 1
    for step, snapshot in zip(recording["steps"], [told.boot, *(r.snapshot for r in told.steps)], strict=True):
        assert listing(recording, step) == snapshot.iomem
        assert blocks(recording, step) == [(b.block, b.state, b.valid_zones, b.nodes) for b in snapshot.memory_blocks]
        assert step["zones"] == {
            node: {
                name: {"spanned": z.spanned, "present": z.present, "managed": z.managed} for name, z in zones.items()
            }
            for node, zones in snapshot.zones.items()
        }
        assert [(d["id"], d["size"]) for d in step["devices"]] == [(d.id, d.size) for d in snapshot.devices]
        for device in step["devices"]:
            assert plugged(step).get(device["id"]) in {device["size"], None}
    for step, record in zip(recording["steps"][1:], told.steps, strict=True):
        assert step["settled"] == record.settled
        assert step["error"] == record.error
        assert requests(step) == [
            (r.device, r.type, r.response, r.addr or None, r.nb_blocks or None) for r in record.requests
        ]
