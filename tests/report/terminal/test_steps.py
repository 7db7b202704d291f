from collections.abc import Iterable

import msgspec
import pytest
from msgspec import UNSET, UnsetType
from rich.text import Text

from virtiomem.reasons import Reason, ReasonKind
from virtiomem.recording import Request, Snapshot, StepRecord, VirtioMemInfo
from virtiomem.recording.palette import BlockKind
from virtiomem.recording.values import Load
from virtiomem.report.block_runs import BlockRun
from virtiomem.report.changes import map_changes
from virtiomem.report.rows import rows
from virtiomem.report.terminal import steps
from virtiomem.resource import iomem
from virtiomem.units import GiB, MiB

SIZE = 128 * MiB
HEAD = "180000000-37fffffff : virtio0\n"


def plain(lines: Iterable[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def record(
    *,
    error: str | None = None,
    size: int = 0,
    requested: int = 0,
    retry_in: float | UnsetType = UNSET,
    held_up: list[str] | UnsetType = UNSET,
    log: list[str] | UnsetType = UNSET,
) -> StepRecord:
    device = VirtioMemInfo(
        id="vm0", memaddr=6 * GiB, max_size=8 * GiB, requested_size=requested, size=size, block_size=2 * MiB
    )
    snapshot = Snapshot(iomem="", memory_blocks=[], zones={}, devices=[device])
    return StepRecord(
        step=Load(),
        settled=size == requested,
        error=error,
        requests=[],
        snapshot=snapshot,
        retry_in=retry_in,
        held_up=held_up,
        log=log,
    )


def test_heading_of_a_settled_step() -> None:
    assert steps.heading(3, record(size=GiB, requested=GiB)).plain == " 3  load the driver · settled: vm0 1G"


def test_heading_of_a_step_that_stopped_short_says_when_it_goes_on() -> None:
    heading = steps.heading(12, record(size=GiB, requested=2 * GiB, retry_in=50.0)).plain
    assert heading == "12  load the driver · stopped short: vm0 1G of 2G; the driver tries again in 50 s"


def test_heading_says_how_long_a_real_guest_took() -> None:
    took = msgspec.structs.replace(record(size=GiB, requested=GiB), elapsed=12.34)
    assert steps.heading(3, took, took=True).plain == " 3  load the driver · settled: vm0 1G · took 12.3 s"
    assert steps.heading(3, took).plain == " 3  load the driver · settled: vm0 1G", "virtual time says nothing"


def test_heading_of_a_refused_step_says_both() -> None:
    assert steps.heading(1, record(error="no")).plain == " 1  load the driver · refused, settled: vm0 0"


def test_reasons_are_wrapped_under_one_label() -> None:
    held_up = ["vm0: memory48 (Normal): busy", "vm0: memory49 (Normal): busy"]
    lines = plain(steps.reasons(record(error="word " * 12, held_up=held_up), None, 60))
    assert lines == [
        "    refused   word word word word word word word word word",
        "              word word word",
        "    held up   vm0: memory48 (Normal): busy",
        "              vm0: memory49 (Normal): busy",
    ]


def test_memory_blocks_that_were_refused_alike_are_one_reason() -> None:
    blocks = [
        (48, "Normal", "vm0"),
        (49, "Normal", "vm0"),
        (51, "Normal", "vm0"),
        (52, "Movable", "vm0"),
        (53, "Movable", "vm1"),
    ]
    refused = [
        Reason(ReasonKind.BLOCK_REFUSED, {"block": block, "zone": zone, "errno": "EBUSY"}, device)
        for block, zone, device in blocks
    ]
    used = [Reason(ReasonKind.IN_USE, {"block": block, "zone": "Normal", "uses": []}, "vm0") for block in (60, 61)]
    found = [*refused, *used]
    full = msgspec.structs.replace(
        record(held_up=[str(one) for one in found]), reasons=[one.to_json() for one in found]
    )
    said = [line.split("(")[0].removeprefix("    held up").strip() for line in plain(steps.reasons(full, None, 1000))]
    assert said == ["vm0: memory48-49, 51", "vm0: memory52", "vm1: memory53", "vm0: memory60", "vm0: memory61"]


def test_reasons_are_not_said_twice() -> None:
    before = record(held_up=["vm0: no driver is loaded"])
    assert plain(steps.reasons(record(held_up=["vm0: no driver is loaded"]), before, 100)) == [
        "    held up   as before"
    ]
    assert plain(steps.reasons(record(), before, 100)) == []


def test_many_reasons_are_counted() -> None:
    lines = plain(steps.reasons(record(held_up=[str(number) for number in range(20)]), None, 100))
    assert len(lines) == steps.MAX_LINES + 1
    assert lines[-1] == "              and 8 more reasons"


def test_log_is_its_warnings_unless_all_is_wanted() -> None:
    log = ["virtio_mem virtio0: nid: 0", "warning: virtio_mem virtio0: could not reserve device region"]
    assert plain(steps.log(record(log=log), verbose=False)) == [f"    log       {log[1]}"]
    assert plain(steps.log(record(log=log), verbose=True)) == [f"    log       {log[0]}", f"              {log[1]}"]
    assert plain(steps.log(record(), verbose=True)) == []


def request(device: str, kind: str, response: str = "ACK", addr: int = 0) -> Request:
    return Request(device=device, type=kind, addr=addr, nb_blocks=64, response=response)


def test_requests_are_counted_by_device_type_and_answer() -> None:
    requests = [request("vm0", "PLUG"), request("vm1", "PLUG"), request("vm0", "PLUG"), request("vm0", "PLUG", "NACK")]
    assert plain(steps.request_counts(requests)) == [
        "    vm0       2 PLUG, 1 PLUG answered NACK",
        "    vm1       1 PLUG",
    ]


def test_unknown_answer_is_shown_as_it_is() -> None:
    assert plain(steps.request_counts([request("vm0", "PLUG", "silence")])) == ["    vm0       1 PLUG answered silence"]


def test_every_request_is_a_line_and_a_device_is_named_once() -> None:
    requests = [request("vm0", "PLUG", addr=0x180000000), request("vm0", "UNPLUG", "BUSY"), request("vm1", "PLUG")]
    assert plain(steps.every_request(requests)) == [
        "    vm0       PLUG 0x180000000, 64 blocks: ACK",
        "              UNPLUG 0x0, 64 blocks: BUSY",
        "    vm1       PLUG 0x0, 64 blocks: ACK",
    ]


def ram(*ranges: str) -> str:
    return HEAD + "".join(f"  {span} : System RAM (virtio_mem)\n" for span in ranges)


WHOLE = "180000000-1ffffffff"
APART = [f"{start:x}-{start + SIZE - 1:x}" for start in range(0x180000000, 0x200000000, SIZE)]


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "",
            ram(WHOLE),
            [
                "    map       + 180000000-37fffffff : virtio0                         8G",
                "              +   180000000-1ffffffff : System RAM (virtio_mem)       2G  16 memory blocks, one resource",
            ],
        ),
        (
            HEAD,
            ram(*APART),
            ["    map       +   180000000-1ffffffff : 16 x System RAM (virtio_mem)       2G  128M each"],
        ),
        (
            ram(WHOLE),
            ram("180000000-1bfffffff"),
            [
                (
                    "    map       <   180000000-1bfffffff : System RAM (virtio_mem)       1G  "
                    "trimmed from 2G, 180000000-1ffffffff"
                )
            ],
        ),
        (
            ram("180000000-1bfffffff"),
            ram(WHOLE),
            [
                "    map       >   180000000-1ffffffff : System RAM (virtio_mem)       2G  grew from 1G, 180000000-1bfffffff"
            ],
        ),
        (
            ram("180000000-1a7ffffff", "1b0000000-1ffffffff"),
            ram(WHOLE),
            ["    map       >   180000000-1ffffffff : System RAM (virtio_mem)       2G  merged from 2"],
        ),
        (
            ram(WHOLE),
            ram("180000000-1a7ffffff", "1b0000000-1ffffffff"),
            [
                "    map       /   180000000-1ffffffff : System RAM (virtio_mem)       2G  split in 2:",
                "                  180000000-1a7ffffff : System RAM (virtio_mem)     640M",
                "                  1b0000000-1ffffffff : System RAM (virtio_mem)     1.2G",
            ],
        ),
        (
            ram(WHOLE),
            HEAD,
            ["    map       -   180000000-1ffffffff : System RAM (virtio_mem)       2G"],
        ),
        (ram(WHOLE), ram(WHOLE), []),
    ],
    ids=["appeared", "appeared apart", "trimmed", "grew", "merged", "split", "went", "same"],
)
def test_map_says_what_became_of_each_resource(old: str, new: str, lines: list[str]) -> None:
    changes = map_changes(rows(iomem.loads(old)), rows(iomem.loads(new)))
    assert plain(steps.map_changes(changes, SIZE)) == lines


def test_many_changes_are_counted() -> None:
    many = "".join(f"{start:08x}-{start + SIZE - 1:08x} : System RAM\n" for start in range(0, 40 * SIZE, 2 * SIZE))
    lines = plain(steps.map_changes(map_changes([], rows(iomem.loads(many))), SIZE))
    assert lines[-1] == "              and 8 more changes"


def blocks(*runs: tuple[int, int, BlockKind]) -> list[BlockRun]:
    return [BlockRun(first, times, kind, "", "", ()) for first, times, kind in runs]


def test_blocks_are_reported_by_what_they_were_and_are() -> None:
    old = blocks((0, 32, BlockKind.KERNEL), (48, 2, BlockKind.MOVABLE))
    new = blocks(
        (0, 32, BlockKind.KERNEL), (49, 1, BlockKind.OFFLINE), (50, 1, BlockKind.MOVABLE), (52, 2, BlockKind.MOVABLE)
    )
    assert plain(steps.block_changes(old, new)) == [
        "    blocks    block 48: movable → unplugged",
        "              block 49: movable → offline",
        "              blocks 50, 52-53: unplugged → movable",
    ]


def test_many_runs_of_blocks_are_counted() -> None:
    new = blocks(*((number, 1, BlockKind.MOVABLE) for number in range(100, 200, 2)))
    assert plain(steps.block_changes([], new)) == ["    blocks    blocks 100…198 (50 of them): unplugged → movable"]


def test_partly_plugged_blocks_say_how_much() -> None:
    many = dict.fromkeys(range(48, 54), 2 * MiB)
    assert plain(steps.partly_plugged({50: 44 * MiB}, SIZE)) == ["    partly    block 50: 44M of 128M"]
    assert plain(steps.partly_plugged(many, SIZE))[0].endswith("block 51: 2M of 128M, and 2 more")
    assert plain(steps.partly_plugged({}, SIZE)) == []
