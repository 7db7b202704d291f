"""How far real guests can grow before they are out of memory for struct pages, and how far the model says they can.

    python -m tests.real.memory_cost [--play] [--only WORD ...]

`--play` grows real guests, one after the other (`--only`: those whose line has every word), and keeps what they did in
docs/memory-cost.json; without it the kept ones are compared with the model again. Prints the table of docs/memory-cost.md and
puts it there. Exits 1 where the model is further off than the page promises.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from docs.marked import page_with
from virtiomem.errors import BackendError, ProtocolError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.guest.linux.devices import MemoryDevices
from virtiomem.guest.machine import MachineLayout
from virtiomem.recording.values import Load, PlugDimm, Resize, StepRecord
from virtiomem.scenario import boot_listing
from virtiomem.units import KiB, MiB, Size, format_approx, format_size, parse_size

DOCS = Path(__file__).parents[2] / "docs"
KEPT, PAGE = DOCS / "memory-cost.json", DOCS / "memory-cost.md"
BEGIN, END = "<!-- made by tests/real/memory_cost.py -->\n", "<!-- end of the table -->\n"
BLOCK = 128 * MiB

GROWTHS = [
    ("256M", "virtio-mem", "8G", "online_movable"),
    ("256M", "virtio-mem", "64G", "online"),
    ("256M", "virtio-mem", "16G", "auto-movable"),
    ("256M", "DIMM", "2G", "online"),
    ("256M", "DIMM", "8G", "offline"),
    ("512M", "virtio-mem", "16G", "online_movable"),
    ("512M", "virtio-mem", "64G", "online_movable"),
    ("512M", "DIMM", "16G", "online_movable"),
    ("512M", "DIMM", "64G", "offline"),
    ("1G", "virtio-mem", "2G", "offline"),
    ("1G", "virtio-mem", "64G", "online_movable"),
    ("2G", "virtio-mem", "64G", "auto-movable"),
    ("4G", "DIMM", "64G", "online_movable"),
]
"""Boot memory, what grows it, by how much, and what becomes of added memory."""
KERNELS = ("6.1", "6.12")


class Grown(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a real guest did; sizes in bytes."""

    kernel: str
    """The whole release."""
    qemu: str
    memory: str
    by: str
    growth: str
    state: str
    free: int
    """MemFree when the driver was loaded, or before the DIMM came."""
    added: int
    """What the guest had of it in the end."""
    killed: int
    """Processes that it killed for lack of memory."""
    end: str
    """``settled``, ``stopped``, or ``lost``: it panicked, or does not answer."""

    @property
    def key(self) -> tuple[str, ...]:
        """Which growth it is."""
        return (".".join(self.kernel.split(".")[:2]), self.memory, self.by, self.growth, self.state)

    @property
    def short(self) -> bool:
        """Whether it ran out of memory."""
        return self.end != "settled" or bool(self.killed)


def config(kernel: str, memory: str, growth: str, state: str, free: int | None = None) -> GuestConfig:
    """The guest of a growth."""
    auto, boot = state == "auto-movable", parse_size(memory)
    return GuestConfig(
        kernel=kernel,
        memory=Size(boot),
        max_memory=Size(boot + parse_size(growth)),
        slots=1,
        default_state="online" if auto else state,  # type: ignore[arg-type]
        online_policy="auto-movable" if auto else "contig-zones",
        free=None if free is None else Size(free),
    )


def device(growth: str) -> DeviceConfig:
    """The device that grows it."""
    return DeviceConfig(id="vm0", max_size=Size(parse_size(growth)), memaddr=Size(1 << 32))


def step(by: str, growth: str) -> Resize | PlugDimm:
    """What grows it."""
    size = Size(parse_size(growth))
    return PlugDimm(id="dimm0", size=size) if by == "DIMM" else Resize(device="vm0", requested_size=size)


def added(record: StepRecord, before: int, by: str) -> int:
    """What it has of it: what the device has plugged, or the memory blocks of a DIMM."""
    if by == "DIMM":
        return (len(record.snapshot.memory_blocks) - before) * BLOCK
    return sum(info.size for info in record.snapshot.virtio_mem)


def play_model(key: tuple[str, ...], free: int | None = None) -> tuple[int, bool]:
    """What the model adds, and whether it says that all is well."""
    kernel, memory, by, growth, state = key
    table = config(kernel, memory, growth, state, free)
    devices = [device(growth)] if by != "DIMM" else []
    guest = EmbeddedGuest(
        table, DriverConfig(), devices, boot_listing(MachineLayout.of(table, devices), len(devices), table.release)
    )
    if devices:
        guest.play(Load())
    record = guest.play(step(by, growth))
    guest.check()
    return added(record, len(guest.boot.memory_blocks), by), record.settled


def play_linux(key: tuple[str, ...]) -> Grown:
    """What a real guest does."""
    kernel, memory, by, growth, state = key
    devices = [device(growth)] if by != "DIMM" else []
    with tempfile.NamedTemporaryFile() as console:
        setup = Setup(kernel=kernel, accel="tcg", console=console.name, timeout=1200)
        with LinuxGuest(config(kernel, memory, growth, state), devices, setup=setup) as guest:
            if devices:
                guest.play(Load())
            free = int(guest.shell("grep MemFree /proc/meminfo").text.split()[1]) * KiB
            there, end = 0, "lost"
            try:
                record = guest.play(step(by, growth))
                there = added(record, len(guest.boot.memory_blocks), by)
                end = "settled" if record.settled and there == parse_size(growth) else "stopped"
            except (BackendError, ProtocolError) as error:
                print(f"    {error}"[:300], file=sys.stderr)  # noqa: T201
                if by != "DIMM":
                    there = last_size(guest)
            said = Path(console.name).read_text(errors="replace")
            return Grown(
                kernel=guest.info["kernel"],
                qemu=guest.info["qemu"],
                memory=memory,
                by=by,
                growth=growth,
                state=state,
                free=free,
                added=there,
                killed=said.count("Out of memory: Killed"),
                end=end,
            )


def last_size(guest: LinuxGuest) -> int:
    """What the device has when its driver has come to an end."""
    devices, size = MemoryDevices(guest.qmp), -1
    while size != (size := sum(info.size for info in devices.query())):
        time.sleep(3)
    return size


def kept() -> dict[tuple[str, ...], Grown]:
    """What real guests did, by growth."""
    if not KEPT.exists():
        return {}
    return {one.key: one for one in msgspec.json.decode(KEPT.read_bytes(), type=list[Grown])}


def keep(grown: dict[tuple[str, ...], Grown]) -> None:
    """Write what real guests did, in the order of the growths."""
    order = [(kernel, *growth) for kernel in KERNELS for growth in GROWTHS]
    rows = [grown[key] for key in order if key in grown]
    KEPT.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


class Row(msgspec.Struct, frozen=True):
    """A growth, real and modelled."""

    real: Grown
    given: int
    default: int
    settled: bool
    """Whether the model, with the measured default, says that all is well."""

    def off(self, modelled: int) -> float:
        """How far off the model is: 0 within two memory blocks, else as a share of what the real one added."""
        apart = abs(modelled - self.real.added)
        return 0.0 if apart <= 2 * BLOCK else apart / max(self.real.added, BLOCK)


def rows() -> Iterator[Row]:
    """Every kept growth against the model."""
    for key, real in kept().items():
        default, settled = play_model(key)
        yield Row(real, play_model(key, real.free)[0], default, settled)


def text(found: list[Row]) -> str:
    """The table in Markdown."""
    lines = [
        "| Linux | boot memory | grown by | state | free | the real one added | the model, given that | with the default |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        real = row.real
        end = {"settled": "", "stopped": ", then no more", "lost": ", and was lost"}[real.end]
        killed = f", {real.killed} killed" if real.killed else ""
        cells = [
            ".".join(real.kernel.split(".")[:2]),
            real.memory,
            f"{real.growth} {real.by}",
            f"`{real.state}`",
            format_approx(real.free),
            f"{format_size(real.added)}{end}{killed}",
            format_size(row.given),
            format_size(row.default),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    near = sum(row.off(row.given) <= 0.03 for row in found)
    rough = sum(row.off(row.default) <= 0.1 for row in found)
    wrong = sum(row.settled and row.real.short for row in found)
    said = f"Within 3 % or two memory blocks: {near} of {len(found)}; with the default within 10 %: {rough} of {len(found)}."
    return "\n".join([*lines, "", f"{said} Called settled where the real one was short: {wrong}."])


def main(arguments: list[str]) -> int:
    """Play, compare, write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.memory_cost")
    parser.add_argument("--play", action="store_true")
    parser.add_argument("--missing", action="store_true", help="with --play: only what is not kept yet")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    args = parser.parse_args(arguments)
    grown = kept()
    for key in [(kernel, *growth) for kernel in KERNELS for growth in GROWTHS] if args.play else []:
        if set(args.only) <= set(key) and not (args.missing and key in grown):
            print(" ".join(key), end=": ", flush=True)  # noqa: T201
            grown[key] = play_linux(key)
            print(f"{format_size(grown[key].added)}, {grown[key].end}, {grown[key].killed} killed", flush=True)  # noqa: T201
            keep(grown)
    found = list(rows())
    table = text(found)
    print(table)  # noqa: T201
    PAGE.write_text(page_with(PAGE.read_text(), BEGIN, END, table))
    far = [row for row in found if row.off(row.given) > 0.03]
    bad = [row for row in found if row.off(row.default) > 0.1 or (row.settled and row.real.short)]
    return 1 if len(far) * 20 > len(found) or bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
