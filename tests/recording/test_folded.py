import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType, structs

from tests.report.huge import huge
from virtiomem import recording
from virtiomem.errors import UsageError
from virtiomem.recording import CrashHeader, MemoryBlock, Recording, Request, Snapshot, StepRecord, ZonePages, folded
from virtiomem.recording.values import Load

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = sorted(DATA.glob("recordings*/*/recording.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: f"{path.parts[-3]}-{path.parent.name}")
def test_the_file_holds_all_that_the_recording_did(path: Path) -> None:
    whole = recording.loads(path.read_bytes())
    again = recording.loads(recording.dumps(whole))
    assert again == whole
    assert recording.dumps(again, whole=True) == recording.dumps(whole, whole=True)


PAGES: list[str | UnsetType] = [UNSET, UNSET, "mk."]
NUMBERS: list[int | UnsetType] = [UNSET, 0, 1, 2, 3]
FEW: list[int | UnsetType] = [UNSET, 1, 1]
HEADERS: list[CrashHeader | UnsetType] = [
    UNSET,
    *(CrashHeader(syscall="kexec_load", kept_up_to_date=kept, ranges=[(0, 9)]) for kept in (True, False)),
]


def _lines(random: Random) -> str:
    """A listing, with lines that follow from others, or look as if they were counted."""
    odd = ["", "12 x 0-f : a", "1 x y", "0-f : a", "00000010-0000001f : a", "\r"]
    names, lines = ["System RAM", "3 x a", "é : x", "a"], [random.choice(odd[1:])]
    for _ in range(random.randrange(8)):
        start = random.randrange(6) * 16
        line = f"{' ' * random.randrange(2)}{start:08x}-{start + 16 * random.randint(1, 2) - 1:08x} : "
        lines.append(random.choice([line + random.choice(names), random.choice(odd)]))
    return "\n".join(lines)


def _snapshot(random: Random) -> Snapshot:
    blocks = [
        MemoryBlock(
            block=random.randrange(9),
            state=random.choice(["online", "offline"]),
            valid_zones="Normal",
            removable=random.choice([1, 1, 0]),
            nodes=random.choice([[0], [0], [0, 1]]),
            plugged=random.choice(FEW),
            pages=random.choice(PAGES),
        )
        for _ in range(random.randrange(9))
    ]
    return Snapshot(
        iomem=_lines(random),
        memory_blocks=random.choice([blocks, sorted(blocks, key=lambda block: block.block)]),
        zones=random.choice([{}, {"node0": {"Normal": ZonePages(1, 1, 1)}}]),
        devices=[],
        crash_header=random.choice(HEADERS),
    )


def _step(random: Random) -> StepRecord:
    requests = [
        Request(
            device=random.choice(["vm0", "vm0", "vm1"]),
            type=random.choice(["PLUG", "PLUG", "UNPLUG"]),
            response="ACK",
            addr=random.choice(NUMBERS),
            nb_blocks=random.choice(FEW),
        )
        for _ in range(random.randrange(9))
    ]
    return StepRecord(
        step=Load(), settled=random.random() < 0.5, error=None, requests=requests, snapshot=_snapshot(random)
    )


@given(st.integers())
def test_whatever_happened_is_read_as_it_was_written(seed: int) -> None:
    random = Random(seed)
    steps = [_step(random) for _ in range(random.randrange(5))]
    whole = Recording(guest={}, scenario={"title": "x"}, boot=_snapshot(random), steps=steps)
    assert recording.loads(recording.dumps(whole)) == whole


@pytest.mark.parametrize("merged", [True, False])
def test_a_large_guest_takes_little_where_neighbours_are_alike(merged: bool) -> None:
    made = huge(merged=merged, blocks=1 << 10)
    said = json.loads(recording.dumps(made))
    grown = said["steps"][1]
    assert [run["times"] for run in grown["requests"]] == [1 << 10]
    assert [run["times"] for edit in grown["snapshot"]["memory-blocks"] for run in edit["new"]] == [1 << 10]
    shrunk = said["steps"][3]["snapshot"]["memory-blocks"]
    assert all("new" not in edit for edit in shrunk), "what goes is only counted"
    assert recording.loads(recording.dumps(made)) == made


def test_what_has_not_changed_is_there_once() -> None:
    made = recording.loads(recording.dumps(huge(merged=False, blocks=64)))
    boot, loaded = made.boot, made.steps[0].snapshot
    assert loaded.memory_blocks is boot.memory_blocks
    assert loaded.iomem is boot.iomem
    grown, holed = (record.snapshot.memory_blocks for record in made.steps[1:3])
    assert {id(block) for block in holed} < {id(block) for block in grown}


def test_longer_runs_than_an_entry_may_have_take_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "MAX_TIMES", 3)
    made = huge(merged=False, blocks=10)
    said = folded.fold(made)
    assert [run.times for run in said.steps[1].requests] == [3, 3, 3, 1]
    assert [run.times for edit in said.steps[1].snapshot.memory_blocks for run in edit.new] == [3, 3, 3, 1]
    assert folded.unfold(said) == made


def _boot(said: dict[str, Any]) -> dict[str, Any]:
    boot: dict[str, Any] = said["boot"]
    return boot


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda said: _boot(said)["memory-blocks"][0]["new"][0].update(times=0), r"new\[0\]\.times: expected an integer >= 1"),
        (lambda said: _boot(said)["memory-blocks"][0]["new"][0].update(times=1 << 40), "expected an integer <= 1048576"),
        (lambda said: _boot(said)["memory-blocks"][0].update(gone=1), r"memory-blocks\[0\]: an edit must lie between entries 0 and 0, this one has 0 to 1"),
        (lambda said: _boot(said)["iomem"].append({"at": 7, "gone": 1}), r"iomem\[1\]: an edit must lie between entries 0 and 1, this one has 7 to 8"),
        (lambda said: _boot(said)["iomem"][0]["new"].append("2 x ?"), r"iomem\[0\]\.new\[2\]: 2 lines cannot follow from '\?'"),
        (lambda said: _boot(said)["iomem"][0]["new"].append("0 x 0-f : a"), r"0 lines cannot follow from '0-f : a'"),
        (lambda said: said.update(steps=said["steps"][1:2] * 9), r"steps\[.\]\.\S+: all that it stands for takes more than 64K"),
        (lambda said: _boot(said).clear(), r"iomem\[0\]: an edit must lie between entries 0 and 1, this one has 2 to 2"),
    ],
    ids=["no times", "times", "gone", "order", "line", "no line", "memory", "no boot"],
)  # fmt: skip
def test_damaged_file_is_refused_with_the_place(
    spoil: Callable[[dict[str, Any]], None], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = json.loads(recording.dumps(huge(blocks=64)))
    spoil(said)
    monkeypatch.setattr(folded, "MAX_SIZE", 64 << 10)
    with pytest.raises(UsageError, match=rf"^r\.json: not a recording: .*(?:{complaint})") as refused:
        recording.loads(json.dumps(said), source="r.json")
    assert "\n" not in str(refused.value)


def test_unknown_keys_are_passed_over() -> None:
    made = huge(blocks=4)
    more = json.loads(recording.dumps(made))
    more["weather"] = more["steps"][1]["mood"] = more["boot"]["sky"] = "fair"
    assert recording.loads(json.dumps(more)) == made


def test_unchanged_part_is_not_reported_again() -> None:
    made = huge(blocks=4)
    twice = structs.replace(made, steps=[*made.steps, made.steps[-1]])
    assert json.loads(recording.dumps(twice))["steps"][-1]["snapshot"] == {}
