from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.readback import agree
from virtiomem import scenario
from virtiomem.errors import UsageError
from virtiomem.recording import MemoryBlock, Recording, Request, Snapshot, StepRecord, VirtioMemInfo
from virtiomem.recording.values import Load, Reboot
from virtiomem.report.data import page_data
from virtiomem.report.moments import Source
from virtiomem.units import GiB, MiB

Recorded = Callable[[str], Recording]


def test_data_says_what_was_recorded(each_recorded: Recording) -> None:
    data = msgspec.json.decode(msgspec.json.encode(page_data([Source("x", each_recorded)])))
    agree(data["recordings"][0], each_recorded)


def test_two_recordings_share_an_axis(recorded: Recorded) -> None:
    one, other = recorded("a-movable"), recorded("a-patch-exact")
    data = page_data([Source("x", one), Source("y", other)])
    assert [r["source"] for r in data["recordings"]] == ["x", "y"]
    assert data["axis"][0][0] == "0"
    assert all(a[1] == b[0] for a, b in zip(data["axis"], data["axis"][1:], strict=False))


def test_what_is_counted_is_counted_as_its_architecture_does() -> None:
    """kexec-tools on arm64 dumps no memory that a driver has added; pages of 64K make blocks of 512M."""
    text = '[guest]\nmachine = "virt"\nmemory = "4G"\ndefault-state = "online_movable"\n'
    steps = '[[step]]\ndo = "load"\n[[step]]\ndo = "resize"\ndevice = "vm0"\nrequested-size = "1G"\n'
    for page_size, block in (("4K", 128 * MiB), ("16K", 128 * MiB), ("64K", 512 * MiB)):
        guest = f'{text}page-size = "{page_size}"\n[[device]]\nid = "vm0"\nmax-size = "2G"\n{steps}'
        played = scenario.loads(guest)
        told = scenario.play(played, scenario.embedded_guest(played))
        (data,) = page_data([Source("x", told)])["recordings"]
        assert data["block-size"] == block
        assert data["steps"][-1]["facts"] | {"resources": 0} == {
            "resources": 0,
            "ram": 2,
            "merged": 2,
            "unmerged": 1 + GiB // block,
        }
        kernel, tools = data["steps"][-1]["crash"]
        assert (kernel["size"], kernel["lost"]) == (5 * GiB, 0)
        assert (tools["size"], tools["lost"]) == (4 * GiB, GiB)
        assert [one["unmerged"] for one in (kernel, tools)] == [2, 1], "neighbours are one there all the same"


@pytest.mark.parametrize(
    ("name", "title"), [("runs/shrink/recording.json", "shrink"), ("shrink.json", "shrink"), ("x", "x")]
)
def test_without_a_title_the_file_names_the_page(recorded: Recorded, name: str, title: str) -> None:
    assert page_data([Source(name, recorded("a-movable"))])["recordings"][0]["title"] == title


def test_damaged_listing_is_named(recorded: Recorded) -> None:
    told = recorded("a-movable")
    damaged = msgspec.structs.replace(told, boot=msgspec.structs.replace(told.boot, iomem="what is this\n"))
    with pytest.raises(UsageError, match=r"bad\.json.*what is this"):
        page_data([Source("bad.json", damaged)])


NAMES = st.sampled_from(["System RAM", "System RAM (virtio_mem)", "virtio0", "PCI Bus 0000:00", "a : b", " x"])


@st.composite
def listings(draw: st.DrawFn, start: int = 0, stop: int = 1 << 40, depth: int = 0) -> list[str]:
    """The lines of a sound listing."""
    lines: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        first = start + draw(st.integers(0, 1 << 34))
        end = first + draw(st.integers(1, 1 << 35))  # one byte at 0 would read as a masked listing
        if end >= stop:
            break
        lines.append(f"{'  ' * depth}{first:08x}-{end:08x} : {draw(NAMES)}\n")
        if depth < 3:
            lines += draw(listings(first, end + 1, depth + 1))
        start = end + 1
    return lines


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    blocks = st.builds(
        MemoryBlock,
        block=st.integers(0, 300),
        state=st.sampled_from(["online", "offline", "going-offline"]),
        valid_zones=st.sampled_from(["Normal", "Movable", "none"]),
        nodes=st.just([0]),
    )
    device = VirtioMemInfo(
        id="vm0",
        memaddr=draw(st.integers(0, 100)) * 2 * MiB,
        max_size=GiB,
        requested_size=0,
        size=draw(st.integers(0, 512)) * 2 * MiB,
        block_size=2 * MiB,
    )
    found = draw(st.lists(blocks, max_size=12, unique_by=lambda block: block.block))
    return Snapshot(
        iomem="".join(draw(listings())),
        memory_blocks=sorted(found, key=lambda block: block.block),
        zones={},
        devices=[device],
    )


steps = st.builds(
    StepRecord,
    step=st.just(Load()) | st.just(Reboot()),
    settled=st.booleans(),
    error=st.none() | st.text(max_size=4),
    requests=st.lists(
        st.builds(
            Request,
            device=st.sampled_from(["vm0", "vm9"]),
            type=st.sampled_from(["PLUG", "UNPLUG", "STATE", "what"]),
            response=st.sampled_from(["ACK", "ERROR"]),
            addr=st.integers(1, 200).map(lambda n: n * 2 * MiB),
            nb_blocks=st.integers(1, 70),
        ),
        max_size=6,
    ),
    snapshot=snapshots(),
)


@given(st.builds(Recording, guest=st.just({}), boot=snapshots(), steps=st.lists(steps, max_size=3)))
def test_whatever_was_recorded_is_what_the_data_says(told: Recording) -> None:
    data = msgspec.json.decode(msgspec.json.encode(page_data([Source("x", told)])))
    agree(data["recordings"][0], told)


def test_absurdly_long_ram_is_no_trouble() -> None:
    whole = Snapshot(iomem=f"00000000-{(1 << 64) - 1:x} : System RAM\n", memory_blocks=[], zones={}, devices=[])
    (told,) = page_data([Source("x", Recording(guest={}, boot=whole, steps=[]))])["recordings"]
    assert told["steps"][0]["rows"] == [[0, "00000000", f"{1 << 64:x}", 1, 0]]
