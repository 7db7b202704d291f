"""Write machines and results of a resize: lsmem's kind of table, JSON, sentences. Text only; no terminal needed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from virtiomem.columns import Column, Columns, flowing
from virtiomem.columns import table as columns_table
from virtiomem.errors import VirtiomemError
from virtiomem.reasons import Certainty, Reason, ReasonKind
from virtiomem.units import format_approx, format_exact, size_format
from virtiomem.vm.inside import GuestMemoryInfo, Seen
from virtiomem.vm.model import Device, Driver, HypervisorInfo, Machine, VirtioMemDevice, kind
from virtiomem.vm.results import ResizeOutcome, ResizeResult
from virtiomem.vm.watch import Sample

BAR_WIDTH = 20
UNKNOWN = "?"
"""What stands for a size, an address or a state that the hypervisor does not tell."""
MAX_FINDINGS = 10
"""Lines about one kind of reason; sixty blocks in use are one story."""


class View(Struct, frozen=True):
    """Knowledge about one machine; `machine` is None when it could not be seen, and `error` says why.

    `later`: the machine once more, after the look inside.
    """

    vm: str
    machine: Machine | None = None
    error: VirtiomemError | None = None
    hypervisor_info: HypervisorInfo | None = None
    inside: GuestMemoryInfo | None = None
    later: Machine | None = None


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device of a machine."""

    view: View
    device: Device

    @property
    def driver(self) -> str:
        """State of the driver; empty for a DIMM and where it was not asked for."""
        if self.view.hypervisor_info is None or not isinstance(self.device, VirtioMemDevice):
            return ""
        return self.view.hypervisor_info.drivers.get(self.device.id, Driver.UNKNOWN)

    @property
    def state(self) -> str:
        """State of the resize: settled, shrinking or growing."""
        if self.device.size is None:
            return UNKNOWN
        if self.device.settled:
            return "settled"
        return "shrinking" if self.device.size > self.device.requested_size else "growing"


class DeviceCell(NamedTuple):
    """A row, and how its sizes are printed."""

    row: DeviceRow
    in_bytes: bool = False

    def size(self, size: int | None) -> str:
        """A size as a cell."""
        return UNKNOWN if size is None else size_format(in_bytes=self.in_bytes)(size)


def _column(
    name: str, cell: Callable[[DeviceRow], object], *default: str, right: bool = False, rank: int = 0
) -> Column[DeviceCell]:
    return Column(name, lambda shown: str(cell(shown.row)), right=right, default=default, rank=rank)


def _size_column(name: str, size: Callable[[Device], int | None], *default: str, rank: int = 0) -> Column[DeviceCell]:
    return Column(name, lambda shown: shown.size(size(shown.row.device)), right=True, default=default, rank=rank)


_SIZES = ("size", "requested-size", "max-size", "block-size")

COLUMNS = Columns(
    _column("vm", lambda row: row.view.vm, "list"),
    _column("device", lambda row: row.device.id, "list", "status"),
    _column("kind", lambda row: kind(row.device), "list", "status", rank=3),
    _column("node", lambda row: row.device.node, "list", "status", right=True, rank=4),
    _size_column("size", lambda device: device.size, "list", "status"),
    _size_column("requested", lambda device: device.requested_size, "list", "status"),
    _size_column("max", lambda device: device.max_size, "list", "status", rank=5),
    _size_column("block", lambda device: device.block_size, "list", rank=2),
    _column("address", lambda row: UNKNOWN if row.device.memaddr is None else f"{row.device.memaddr:#x}", right=True),
    _column("state", lambda row: row.state, "list", "status"),
    _column("driver", lambda row: row.driver or "-", "status"),
    _column("status", lambda row: row.view.machine.status if row.view.machine else ""),
    _column("use", lambda row: bar(row.device), "list", "status", rank=1),
)
LIST_COLUMNS = COLUMNS.default("list")
STATUS_COLUMNS = COLUMNS.default("status")


def bar(device: Device, width: int = BAR_WIDTH) -> str:
    """A device's region in that many characters: plugged ``#``, asked for but not there ``+``, plugged but to go ``-``,
    free ``.``; all ``?`` while it is unknown what is plugged.
    """
    if device.size is None:
        return UNKNOWN * width
    whole = max(device.max_size, device.size, 1)

    def cells(size: int) -> int:
        return min(-(-size * width // whole), width)

    # Rounded up by `cells`: one block of a large device shows as a mark, not as nothing.
    both = cells(min(device.size, device.requested_size))
    either = cells(max(device.size, device.requested_size))
    between = "-" if device.size > device.requested_size else "+"
    return "#" * both + between * (either - both) + "." * (width - either)


def table(
    rows: Sequence[DeviceRow],
    columns: Sequence[str],
    *,
    in_bytes: bool = False,
    headings: bool = True,
    width: int | None = None,
) -> str:
    """Aligned columns, two spaces apart, a line per device."""
    shown = (DeviceCell(row, in_bytes) for row in rows)
    chosen = [COLUMNS[name] for name in columns]
    return columns_table(shown, chosen, headings=headings, width=width, elsewhere="--output LIST, --json")


def rows_of(views: Iterable[View]) -> list[DeviceRow]:
    """A row for every device of every machine that could be seen."""
    return [DeviceRow(view, device) for view in views if view.machine is not None for device in view.machine.devices]


def status_text(
    view: View, columns: Sequence[str], *, in_bytes: bool = False, headings: bool = True, width: int | None = None
) -> str:
    """Return the full status of one machine: totals, memory per node, devices, and the guest's own figures."""
    machine = view.machine
    if machine is None:
        return f"{view.vm}  unreachable\n"
    size = size_format(in_bytes=in_bytes)
    head = [view.vm, machine.status]
    if view.hypervisor_info is not None:
        head += [view.hypervisor_info.hypervisor]
        head += [f"migration {view.hypervisor_info.migration}"] if view.hypervisor_info.migration else []
        head += [f"passed-through devices: {', '.join(view.hypervisor_info.vfio)}"] if view.hypervisor_info.vfio else []
    plugged = machine.plugged
    total, part = (UNKNOWN, UNKNOWN) if plugged is None else (size(machine.fixed + plugged), size(plugged))
    lines = ["  ".join(head)]
    lines.append(f"  memory {total}: boot and DIMMs {size(machine.fixed)}, virtio-mem {part}")
    lines += [f"  {line}" for line in _node_lines(machine, size)]
    if view.hypervisor_info is not None and view.hypervisor_info.held_back is not None:
        lines.append(f"  {view.hypervisor_info.held_back}")
    if view.inside is not None:
        lines += flowing(f"  inside ({view.inside.source}): ", inside_text(view.inside, size), width)
    else:
        lines.append("  inside: not looked")
    if machine.devices:
        within = None if width is None else width - 2
        shown = table(rows_of([view]), columns, in_bytes=in_bytes, headings=headings, width=within)
        lines += [f"  {line}" for line in shown.splitlines()]
    return "\n".join(lines) + "\n"


def _node_lines(machine: Machine, size: Callable[[int], str]) -> list[str]:
    """Return a line per node, if there is more than one."""
    nodes = sorted({device.node for device in machine.virtio_mem})
    lines = []
    for node in nodes if len(nodes) > 1 else ():
        devices = [device for device in machine.virtio_mem if device.node == node]
        sizes, requested = [d.size for d in devices], sum(d.requested_size for d in devices)
        plugged = UNKNOWN if None in sizes else size(sum(filter(None, sizes)))
        lines.append(f"node {node}: virtio-mem {plugged} of {size(requested)} requested")
    return lines


def inside_text(inside: GuestMemoryInfo, size: Callable[[int], str] = format_approx) -> str:
    """Summarise a guest in one line."""
    online = sum(block.online for block in inside.blocks)
    parts = [] if inside.mem_total is None else [f"MemTotal {size(inside.mem_total)}"]
    parts += [] if inside.mem_available is None else [f"available {size(inside.mem_available)}"]
    parts += [f"{online} blocks online, {len(inside.blocks) - online} offline"] if inside.blocks else []
    parts += [f"new blocks come {inside.auto_online_blocks}"] if inside.auto_online_blocks else []
    return ", ".join(parts) or "nothing"


def exact_size(size: int | None) -> str:
    """A size that says exactly how big, or that it is unknown."""
    return UNKNOWN if size is None else format_exact(size)


def finding_lines(findings: Iterable[Reason]) -> list[str]:
    """Format findings, certain ones first; a text that several devices share stands once, long lists of one kind are cut."""
    devices: dict[tuple[Certainty, ReasonKind], dict[str, list[str]]] = {}
    for finding in sorted(findings, key=lambda finding: list(Certainty).index(finding.certainty)):
        alike = devices.setdefault((finding.certainty, finding.kind), {})
        alike.setdefault(finding.text, []).extend([finding.device] if finding.device else [])
    lines = []
    for (certainty, _), alike in devices.items():
        texts = [f"{', '.join(ids)}: {text}" if ids else text for text, ids in alike.items()]
        if len(texts) > MAX_FINDINGS:
            # Cut within one kind only: what is cut must not hide another reason.
            texts[MAX_FINDINGS - 1 :] = [f"… and {len(texts) - MAX_FINDINGS + 1} more like these (--json has all)"]
        lines += [f"{certainty.value:<8}{text}" for text in texts]
    return lines


def result_lines(result: ResizeResult) -> list[str]:
    """Describe the end of a resize: a line per device, then notes and findings."""
    lines = []
    plugged = result.outcome is ResizeOutcome.PLUGGED
    for device in result.devices:
        way = f"{exact_size(device.size_before)} -> {exact_size(device.size)}"
        if device.size != device.requested:
            way += f", {format_exact(device.requested)} requested"
        same = device.requested_before == device.requested and device.size_before == device.size
        if same and device.size == device.requested and result.outcome in {ResizeOutcome.DONE, ResizeOutcome.STARTED}:
            how = "nothing to do"
        elif same and result.outcome is ResizeOutcome.STARTED:
            how = "set again, which makes the driver try at once"
        else:
            ended = f"the device has plugged {exact_size(device.size)}" if plugged else result.outcome.value
            how = f"{ended} after {result.seconds:.1f} s"
        lines.append(f"{result.vm}/{device.id}: {how}: {way}")
    lines += [f"  note    {note}" for note in result.notes]
    return lines + [f"  {line}" for line in finding_lines(result.findings)]


def _device_json(device: Device) -> dict[str, Any]:
    """A device; of a DIMM the sizes are all the same."""
    sizes = {key: getattr(device, key.replace("-", "_")) for key in _SIZES}
    return {"id": device.id, "kind": kind(device), "memaddr": device.memaddr, **sizes, "node": device.node}


def view_json(view: View) -> dict[str, Any]:
    """A machine for `--json`; keys as in QMP."""
    shown: dict[str, Any] = {"vm": view.vm, "error": str(view.error) if view.error else None}
    for part in (view.machine, view.hypervisor_info):
        if part is not None:
            shown |= msgspec.to_builtins(part)
    if view.hypervisor_info is not None:
        shown["reasons"] = [str(reason) for reason in view.hypervisor_info.reasons]
    if view.machine is not None:
        if view.machine.plugged_sum is None:
            del shown["plugged-sum"]
        shown["devices"] = [_device_json(device) for device in view.machine.devices]
        shown["inside"] = Seen.NOT_LOOKED.value if view.inside is None else msgspec.to_builtins(view.inside)
    return shown


def findings_json(view: View, findings: Iterable[Reason]) -> dict[str, Any]:
    """Return the reasons why a machine's devices are stuck, or why nothing is known, for `--json`."""
    error = str(view.error) if view.error else None
    return {"vm": view.vm, "error": error, "findings": [finding.to_json() for finding in findings]}


def result_json(result: ResizeResult) -> dict[str, Any]:
    """A resize's end for `--json`."""
    keys = {"size_before": "size-before", "requested_before": "requested-size-before", "requested": "requested-size"}
    devices = [{keys.get(k, k): v for k, v in msgspec.structs.asdict(d).items()} for d in result.devices]
    return {
        "vm": result.vm,
        "outcome": result.outcome.value,
        "exit-code": result.outcome.exit_code,
        "inside": result.inside.value,
        "seconds": round(result.seconds, 3),
        "devices": devices,
        "notes": list(result.notes),
        "findings": [finding.to_json() for finding in result.findings],
    }


def sample_json(sample: Sample) -> dict[str, Any]:
    """One look of a watcher for `--json`, a line each."""
    shown = {"seconds": round(sample.seconds, 3)} | view_json(View(sample.vm, sample.machine, sample.error))
    return shown | {"events": sorted(sample.events)}


def sample_lines(sample: Sample) -> list[str]:
    """One look of a watcher as plain lines."""
    if sample.machine is None:
        return [f"{sample.seconds:8.1f}  {sample.error}"]
    said = [event.value for event in sorted(sample.events) if event.value != "size"]
    return [
        "  ".join(
            (
                f"{sample.seconds:8.1f}",
                f"{sample.vm}/{device.id}",
                f"{exact_size(device.size)} of {format_exact(device.requested_size)} requested",
                bar(device),
                *said,
            )
        )
        for device in sample.machine.virtio_mem
    ]
