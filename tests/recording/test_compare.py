import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from virtiomem import recording
from virtiomem.recording import MemoryBlock, Recording, Request, Snapshot, StepRecord
from virtiomem.recording.apart import set_apart
from virtiomem.recording.compare import Rules, compare, not_compared
from virtiomem.recording.values import Wait

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*/recording.json"))


@pytest.fixture
def real() -> Recording:
    return recording.load(next(path for path in RECORDINGS if path.parent.name == "d-two-devices"))


def with_step(whole: Recording, index: int, **changed: Any) -> Recording:
    steps = list(whole.steps)
    steps[index] = structs.replace(steps[index], **changed)
    return structs.replace(whole, steps=steps)


def with_snapshot(whole: Recording, index: int, change: Callable[[Snapshot], dict[str, Any]]) -> Recording:
    snapshot = whole.steps[index].snapshot
    return with_step(whole, index, snapshot=structs.replace(snapshot, **change(snapshot)))


def with_block(whole: Recording, index: int, number: int, **changed: Any) -> Recording:
    def change(snapshot: Snapshot) -> dict[str, Any]:
        blocks = [
            structs.replace(block, **changed) if block.block == number else block for block in snapshot.memory_blocks
        ]
        return {"memory_blocks": blocks}

    return with_snapshot(whole, index, change)


def with_device(whole: Recording, index: int, **changed: Any) -> Recording:
    return with_snapshot(
        whole, index, lambda before: {"devices": [structs.replace(before.devices[0], **changed), *before.devices[1:]]}
    )


def with_zone(whole: Recording, index: int, **changed: Any) -> Recording:
    def change(snapshot: Snapshot) -> dict[str, Any]:
        movable = structs.replace(snapshot.zones["node0"]["Movable"], **changed)
        return {"zones": {**snapshot.zones, "node0": {**snapshot.zones["node0"], "Movable": movable}}}

    return with_snapshot(whole, index, change)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_recording_is_the_same_as_itself(path: Path) -> None:
    assert compare(recording.load(path), recording.load(path)) is None


def test_real_kernel_without_merging_differs_in_the_map_first() -> None:
    merged, apart = (
        recording.load(path) for path in RECORDINGS if path.parent.name in {"a-patch-exact", "nomerge-a-patch-exact"}
    )
    difference = compare(merged, apart)
    assert difference is not None
    assert str(difference) == (
        "step 1 (load the driver): iomem: 140000000-1bfffffff : System RAM (virtio_mem) against "
        "140000000-147ffffff : System RAM (virtio_mem)"
    )


DIFFERENT: dict[str, tuple[Callable[[Recording], Recording], str]] = {
    "another step": (
        lambda real: with_step(real, 2, step=Wait(seconds=60)),
        "step 3 (not the same step): what is done: resize vm1 to 600M against wait 60 s",
    ),
    "a step too few": (
        lambda real: structs.replace(real, steps=real.steps[:-1]),
        "step 11 (not the same step): what is done: resize vm0 to 0 against no more steps",
    ),
    "refused": (
        lambda real: with_step(real, 1, error="Device or resource busy"),
        "step 2 (resize vm0 to 1G): whether it was refused: taken against Device or resource busy",
    ),
    "settled": (
        lambda real: with_step(real, 1, settled=False),
        "step 2 (resize vm0 to 1G): settled: settled against stopped short",
    ),
    "response": (
        lambda real: with_step(
            real, 1, requests=[structs.replace(real.steps[1].requests[0], response="BUSY"), *real.steps[1].requests[1:]]
        ),
        (
            "step 2 (resize vm0 to 1G): request 1 of vm0: PLUG 0x180000000, 64 blocks: ACK against "
            "PLUG 0x180000000, 64 blocks: BUSY"
        ),
    ),
    "a request too many": (
        lambda real: with_step(
            real,
            1,
            requests=[*real.steps[1].requests, Request(device="vm0", type="UNPLUG_ALL", response="ACK")],
        ),
        "step 2 (resize vm0 to 1G): request 9 of vm0: no such request against UNPLUG_ALL: ACK",
    ),
    "order of requests": (
        lambda real: with_step(real, 1, requests=real.steps[1].requests[::-1]),
        (
            "step 2 (resize vm0 to 1G): request 1 of vm0: PLUG 0x180000000, 64 blocks: ACK against "
            "PLUG 0x1b8000000, 64 blocks: ACK"
        ),
    ),
    "plugged size": (lambda real: with_device(real, 1, size=0), "size of vm0: 1G against 0"),
    "requested size": (lambda real: with_device(real, 1, requested_size=1), "requested-size of vm0: 1G against 1"),
    "max size": (lambda real: with_device(real, 1, max_size=8 << 30), "max-size of vm0: 4G against 8G"),
    "block size": (lambda real: with_device(real, 1, block_size=4 << 20), "block-size of vm0: 2M against 4M"),
    "a device less": (
        lambda real: with_snapshot(real, 1, lambda before: {"devices": before.devices[:1]}),
        "step 2 (resize vm0 to 1G): device vm1: a virtio-mem device against not there",
    ),
    "listing": (
        lambda real: with_snapshot(real, 1, lambda before: {"iomem": before.iomem.replace("virtio1", "virtio2")}),
        "step 2 (resize vm0 to 1G): iomem: 280000000-37fffffff : virtio1 against 280000000-37fffffff : virtio2",
    ),
    "a shorter listing": (
        lambda real: with_snapshot(
            real, 1, lambda before: {"iomem": "".join(before.iomem.splitlines(keepends=True)[:-1])}
        ),
        "iomem: fd00000000-ffffffffff : Reserved against end of the listing",
    ),
    "state": (
        lambda real: with_block(real, 1, 50, state="offline", valid_zones="Normal Movable"),
        (
            "memory block 50: online, valid zones 'Movable', nodes [0] against "
            "offline, valid zones 'Normal Movable', nodes [0]"
        ),
    ),
    "valid zones": (lambda real: with_block(real, 1, 50, valid_zones="Normal"), "valid zones 'Normal'"),
    "nodes": (lambda real: with_block(real, 1, 50, nodes=[1]), "nodes [0] against"),
    "a block less": (
        lambda real: with_snapshot(
            real, 1, lambda before: {"memory_blocks": [one for one in before.memory_blocks if one.block != 55]}
        ),
        "memory block 55: online, valid zones 'Movable', nodes [0] against not there",
    ),
    "spanned": (lambda real: with_zone(real, 1, spanned=1), "spanned pages of zone Movable on node0: 262144 against 1"),
    "present": (lambda real: with_zone(real, 1, present=2), "present pages of zone Movable on node0: 262144 against 2"),
    "boot": (
        lambda real: structs.replace(
            real, boot=structs.replace(real.boot, iomem=real.boot.iomem.replace("100000000-17f", "100000000-1bf"))
        ),
        "boot: iomem: 100000000-17fffffff : System RAM against 100000000-1bfffffff : System RAM",
    ),
}


@pytest.mark.parametrize(("change", "words"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_difference_is_found_and_said(real: Recording, change: Callable[[Recording], Recording], words: str) -> None:
    difference = compare(real, change(real))
    assert difference is not None
    assert words in str(difference)
    assert (difference.step is None) == words.startswith("boot")


SAME: dict[str, Callable[[Recording], Recording]] = {
    "wording of a refusal": lambda real: with_step(with_step(real, 1, error="b"), 1, error="a"),
    "interleaving of devices": lambda real: with_step(
        real, 1, requests=sorted(real.steps[1].requests, key=lambda request: request.device)
    ),
    "managed pages": lambda real: with_zone(real, 1, managed=7),
    "removable": lambda real: with_block(real, 1, 50, removable=0),
    "boot block": lambda real: with_block(real, 1, 3, state="offline", valid_zones="DMA32 Movable"),
    "claims inside a BAR": lambda real: with_snapshot(
        real, 1, lambda before: {"iomem": before.iomem + "    febf4000-febf7fff : virtio-pci-modern\n"}
    ),
    "the kernel's own lines": lambda real: with_snapshot(
        real, 1, lambda before: {"iomem": before.iomem.replace("01000000-01e01ef1 : Kernel code", "02 : Kernel code")}
    ),
    "an empty zone that is not listed": lambda real: with_snapshot(
        real,
        1,
        lambda before: {
            "zones": {
                node: {name: zone for name, zone in zones.items() if name != "Device"}
                for node, zones in before.zones.items()
            }
        },
    ),
    "the order of devices": lambda real: with_snapshot(real, 1, lambda before: {"devices": before.devices[::-1]}),
    "what more is known": lambda real: with_step(real, 1, retry_in=50.0, held_up=["block 50 is busy"], elapsed=0.1),
    "who made it": lambda real: structs.replace(real, guest={"kind": "embedded"}, recorded="today"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_what_cannot_be_predicted_is_not_a_difference(
    real: Recording, change: Callable[[Recording], Recording]
) -> None:
    changed = change(real)
    base = with_step(real, 1, error="a") if changed.steps[1].error else real
    assert compare(base, changed) is None


def test_boot_block_is_one_that_both_had_at_boot(real: Recording) -> None:
    extra = MemoryBlock(block=200, state="online", valid_zones="Normal", nodes=[0])
    more = structs.replace(real, boot=structs.replace(real.boot, memory_blocks=[*real.boot.memory_blocks, extra]))
    difference = compare(real, more)
    assert difference is not None
    assert difference.what == "memory block 200"


def test_step_is_reported_by_its_number_from_one(real: Recording) -> None:
    last: StepRecord = real.steps[-1]
    difference = compare(real, with_step(real, len(real.steps) - 1, settled=not last.settled))
    assert difference is not None
    assert difference.step == len(real.steps)


NEWER = {
    "  01000000-01e01ef1 : Kernel code\n": "  01000000-01ffffff : Kernel code\n",
    "PCI MMCONFIG 0000": "PCI ECAM 0000",
    "fee00000-fee00fff : Local APIC\n": "",
}
"""What Linux 6.12 prints instead on the same machine."""
OTHER_FIRMWARE = {
    "0009fc00-0009ffff : Reserved\n": "",
    "00001000-0009fbff : System RAM": "00001000-0009ffff : System RAM",
    "  000f0000-000fffff : System ROM\n": "",
    "7ffe0000-7fffffff : Reserved\n": "7ffe0000-7ffeffff : ACPI Tables\n7fff0000-7fffffff : System RAM\n",
}


def elsewhere(whole: Recording, words: dict[str, str]) -> Recording:
    """The recording as another kernel or another firmware would have made it."""

    def change(snapshot: Snapshot) -> Snapshot:
        iomem = snapshot.iomem
        for old, new in words.items():
            assert old in iomem
            iomem = iomem.replace(old, new)
        return structs.replace(snapshot, iomem=iomem)

    steps = [structs.replace(record, snapshot=change(record.snapshot)) for record in whole.steps]
    return structs.replace(whole, boot=change(whole.boot), steps=steps)


@pytest.mark.parametrize("words", [NEWER, OTHER_FIRMWARE, NEWER | OTHER_FIRMWARE], ids=["kernel", "firmware", "both"])
def test_what_is_the_kernels_or_the_firmwares_own_is_set_apart(real: Recording, words: dict[str, str]) -> None:
    other = elsewhere(real, words)
    assert compare(real, other) is None
    assert compare(other, real) is None
    assert compare(real, other, Rules(everything=True)) is not None
    apart = set_apart(real.boot, other.boot)
    ones, others = ({*whole.boot.iomem.splitlines()} for whole in (real, other))
    assert ({*apart.a}, {*apart.b}) == (ones - others, others - ones)


def test_everything_else_is_still_compared_between_two_kernels(real: Recording) -> None:
    other = elsewhere(real, NEWER | OTHER_FIRMWARE)
    for changed in (
        with_device(other, 1, size=0),
        with_block(other, 1, 50, state="offline"),
        with_zone(other, 1, present=2),
        with_line(other, 2, "virtio1", "virtio2"),
        with_line(other, 2, "fed00000-fed003ff : HPET 0\n", ""),
    ):
        difference = compare(real, changed)
        assert difference is not None
        assert difference.step == 2


def test_less_boot_memory_is_no_business_of_the_firmware(real: Recording) -> None:
    less = elsewhere(real, NEWER | {"100000000-17fffffff : System RAM\n": ""})
    difference = compare(real, less)
    assert difference is not None
    assert (difference.step, difference.a) == (None, "100000000-17fffffff : System RAM")


def test_pages_that_the_firmware_kept_at_boot_are_set_apart_and_what_comes_later_is_not(real: Recording) -> None:
    def fewer(snapshot: Snapshot) -> Snapshot:
        dma32 = snapshot.zones["node0"]["DMA32"]
        zones = snapshot.zones["node0"] | {"DMA32": structs.replace(dma32, present=dma32.present - 32)}
        return structs.replace(snapshot, zones=snapshot.zones | {"node0": zones})

    steps = [structs.replace(record, snapshot=fewer(record.snapshot)) for record in real.steps]
    other = structs.replace(real, boot=fewer(real.boot), steps=steps)
    assert compare(real, other) is None
    assert set_apart(real.boot, other.boot).a[0].startswith("present pages of zone DMA32 on node0: ")
    late = compare(real, structs.replace(other, steps=[*steps[:1], real.steps[1], *steps[2:]]))
    assert late is not None
    assert (late.step, late.what) == (2, "present pages of zone DMA32 on node0")


def test_what_is_known_to_differ_is_ignored_in_the_map_and_elsewhere(real: Recording) -> None:
    other = with_device(with_line(real, 2, "virtio1", "virtio7"), 2, requested_size=1)
    assert compare(real, other, Rules(ignore=(re.compile("virtio[17]"), re.compile("^requested-size of vm0:")))) is None
    difference = compare(real, other, Rules(ignore=(re.compile("virtio[17]"),)))
    assert difference is not None
    assert difference.what == "requested-size of vm0"


@pytest.mark.parametrize(
    "name", ["managed pages", "removable", "boot block", "claims inside a BAR", "the kernel's own lines"]
)
def test_with_everything_only_time_is_left_out(real: Recording, name: str) -> None:
    changed = SAME[name](real)
    assert compare(real, changed) is None
    assert compare(real, changed, Rules(everything=True)) is not None
    assert compare(real, real, Rules(everything=True)) is None


def test_with_everything_the_wording_of_a_refusal_counts(real: Recording) -> None:
    one, other = (with_step(real, 1, error=words) for words in "ab")
    assert compare(one, other) is None
    assert compare(one, other, Rules(everything=True)) is not None


@pytest.fixture
def after_kexec() -> Recording:
    """Load, resize, kexec (step 3), load, resize, reboot (step 6), load."""
    return recording.load(next(path for path in RECORDINGS if path.parent.name == "z-kexec"))


def with_line(whole: Recording, step: int, old: str, new: str) -> Recording:
    """The recording with a line of the map after a step changed."""

    def change(snapshot: Snapshot) -> dict[str, Any]:
        assert old in snapshot.iomem
        return {"iomem": snapshot.iomem.replace(old, new)}

    return with_snapshot(whole, step - 1, change)


BOOT_RAM = "00100000-0010000f : System RAM\n00100010-7ffdffff : System RAM\n"
"""What kexec-tools made of the firmware's 00100000-7ffdffff."""


@pytest.mark.parametrize("step", [3, 4, 5])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (BOOT_RAM, "00100000-7ffdffff : System RAM\n"),
        (BOOT_RAM, "00100000-0010ffff : Reserved\n00110000-7ffdffff : System RAM\n"),
        ("00000400-00000fff : Reserved", "00000000-00000fff : Reserved"),
        (BOOT_RAM, BOOT_RAM + "  43a80000-4408ffff : reserved\n"),
    ],
    ids=["RAM in one piece", "RAM reserved", "another start", "reserved inside RAM, as on arm64"],
)
def test_second_kernel_has_boot_memory_in_pieces_of_its_own(
    after_kexec: Recording, step: int, old: str, new: str
) -> None:
    assert compare(after_kexec, with_line(after_kexec, step, old, new)) is None


@pytest.mark.parametrize(
    ("step", "old", "new"),
    [
        (3, "a80000000-127fffffff : PCI", "100000000-1ffffffff : virtio0\na80000000-127fffffff : PCI"),
        (3, "a80000000-127fffffff : PCI", "100000000-107ffffff : System RAM\na80000000-127fffffff : PCI"),
        (4, "100000000-11fffffff : System RAM (virtio_mem)", "100000000-117ffffff : System RAM (virtio_mem)"),
        (5, "100000000-1ffffffff : virtio0", "100000000-1ffffffff : virtio1"),
        (5, "  100000000-10fffffff : System RAM (virtio_mem)\n", ""),
        (5, "  000f0000-000fffff : System ROM\n", ""),
        (6, "00100000-7ffdffff : System RAM", BOOT_RAM.rstrip()),
        (7, "00000000-00000fff : Reserved", "00000400-00000fff : Reserved"),
    ],
    ids=[
        *("region left behind", "memory left behind", "added less", "another name", "not added"),
        *("another child of boot memory", "split after the reboot", "moved after the reboot"),
    ],
)
def test_everything_else_after_a_kexec_is_compared(after_kexec: Recording, step: int, old: str, new: str) -> None:
    difference = compare(after_kexec, with_line(after_kexec, step, old, new))
    assert difference is not None
    assert (difference.step, difference.what) == (step, "iomem")


def test_boot_memory_is_compared_before_a_kexec_and_after_a_refused_one(after_kexec: Recording) -> None:
    line = "00100000-7ffdffff : System RAM"
    early = compare(after_kexec, with_line(after_kexec, 2, line, BOOT_RAM.rstrip()))
    assert early is not None
    assert early.step == 2
    refused = with_step(after_kexec, 2, error="kexec: not found")
    late = compare(refused, with_line(refused, 3, BOOT_RAM.rstrip(), line))
    assert late is not None
    assert late.step == 3
    assert not not_compared(refused)


def test_what_is_not_compared_is_said(real: Recording, after_kexec: Recording) -> None:
    words = "System RAM and Reserved lines of boot memory, from step 3 (kexec) to the next reboot"
    assert not_compared(after_kexec) == words
    assert not_compared(real) == ""


def test_pages_of_other_sizes_are_the_first_difference(real: Recording) -> None:
    large = structs.replace(real, guest={**real.guest, "page-size": 65536})
    difference = compare(real, large)
    assert difference is not None
    assert str(difference) == "boot: page size: 4K against 64K"
    assert compare(real, structs.replace(real, guest={**real.guest, "page-size": 4096})) is None
