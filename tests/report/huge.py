"""A guest of 16 TiB in 131 072 memory blocks, made up: what no test machine has."""

from collections.abc import Iterable

from virtiomem.recording import MemoryBlock, Recording, Request, Snapshot, StepRecord, VirtioMemInfo, ZonePages
from virtiomem.recording.values import Load, Resize
from virtiomem.units import GiB, MiB, Size, TiB

BLOCK = 128 * MiB
BOOT, START, BLOCKS = 4 * GiB, 64 * GiB, 16 * TiB // (128 * MiB)
FIRST = START // BLOCK


def huge(*, merged: bool = True, blocks: int = BLOCKS) -> Recording:
    """Grow to all blocks, lose every other one of the upper half, and all except a 16th; `merged` as a stock kernel lists it."""
    full = range(blocks)
    holed = [*range(blocks // 2), *range(blocks // 2, blocks, 2)]
    small = range(blocks // 16)
    steps = [
        _step(Load(), [], [], requested=0, merged=merged),
        _step(_resize(16 * TiB), full, _requests("PLUG", full), requested=16 * TiB, merged=merged),
        _step(_resize(8 * TiB), holed, _requests("UNPLUG", sorted({*full} - {*holed}, reverse=True)), requested=8 * TiB, merged=merged),
        _step(_resize(TiB), small, _requests("UNPLUG", sorted({*holed} - {*small}, reverse=True)), requested=TiB, merged=merged),
    ]  # fmt: skip
    guest = {"kind": "embedded"}
    return Recording(
        guest=guest,
        boot=_snapshot([], requested=0, merged=merged),
        steps=steps,
        scenario={"title": "16 TiB", "guest": {"memory-block-size": BLOCK}},
    )


def _resize(size: int) -> Resize:
    return Resize(device="vm0", requested_size=Size(size))


def _requests(kind: str, numbers: Iterable[int]) -> list[Request]:
    return [Request(device="vm0", type=kind, response="ACK", addr=START + n * BLOCK, nb_blocks=64) for n in numbers]


def _step(
    step: Load | Resize, numbers: Iterable[int], requests: list[Request], *, requested: int, merged: bool
) -> StepRecord:
    snapshot = _snapshot(numbers, requested=requested, merged=merged)
    settled = snapshot.devices[0].size == requested
    return StepRecord(step=step, settled=settled, error=None, requests=requests, snapshot=snapshot)


def _snapshot(numbers: Iterable[int], *, requested: int, merged: bool) -> Snapshot:
    present = list(numbers)
    boot = range(BOOT // BLOCK)
    blocks = [*boot, *(FIRST + n for n in present)]
    return Snapshot(
        iomem=_listing(present, merged=merged),
        memory_blocks=[
            MemoryBlock(block=n, state="online", valid_zones="Movable" if n >= FIRST else "Normal", nodes=[0])
            for n in blocks
        ],
        zones={"node0": {"Movable": ZonePages(*[len(present) * BLOCK // 4096] * 3)}},
        devices=[
            VirtioMemInfo(
                id="vm0", memaddr=START, max_size=16 * TiB, requested_size=requested,
                size=len(present) * BLOCK, block_size=2 * MiB,
            )
        ],
    )  # fmt: skip


def _listing(present: list[int], *, merged: bool) -> str:
    lines = [f"00000000-{BOOT - 1:08x} : System RAM", f"{START:08x}-{START + 16 * TiB - 1:08x} : virtio0"]
    start = None
    for here, after in zip(present, [*present[1:], -1], strict=False):
        start = here if start is None else start
        if not merged or after != here + 1:
            lines.append(
                f"  {START + start * BLOCK:08x}-{START + (here + 1) * BLOCK - 1:08x} : System RAM (virtio_mem)"
            )
            start = None
    return "\n".join(lines) + "\n"
