"""The device's side of the queue, one hostile shape after another; the words are QEMU 7.2.22's."""

import pytest

from virtiomem.device.virtqueue import MAX_SEGMENTS, Element, VirtQueue
from virtiomem.errors import ProtocolError
from virtiomem.transport.embedded import Ram
from virtiomem.wire.ring import INDEX, Descriptor, DescriptorFlag, Layout, Used

NEXT, WRITE, INDIRECT = DescriptorFlag

SIZE = 8
TABLE = 0x4000


class Bench:
    """A queue of eight entries with its driver's hands on it."""

    def __init__(self, *, event_idx: bool = False) -> None:
        self.ram = Ram(0, 1 << 17)
        self.layout = Layout.packed_at(0, SIZE)
        self.queue = VirtQueue(self.ram, self.layout, event_idx=event_idx)
        self.avail = 0

    def offer(self, *descriptors: Descriptor, head: int = 0, table: tuple[Descriptor, ...] = ()) -> None:
        for number, descriptor in enumerate(descriptors):
            self.ram.write(self.layout.descriptor(number), descriptor.pack())
        self.ram.write(TABLE, b"".join(descriptor.pack() for descriptor in table))
        self.ram.write(self.layout.avail_entry(self.avail), INDEX.pack(head))
        self.avail += 1
        self.ram.write(self.layout.avail_idx, INDEX.pack(self.avail))

    def used(self) -> list[Used]:
        count = INDEX.unpack(self.ram.read(self.layout.used_idx, 2))[0]
        return [Used.unpack(self.ram.read(self.layout.used_entry(n), 8)) for n in range(count)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


OUT = Descriptor(0x1000, 24, NEXT, 1)
IN = Descriptor(0x2000, 10, WRITE)


def test_an_empty_queue_has_nothing(bench: Bench) -> None:
    assert bench.queue.pop() is None
    assert bench.queue.empty


def test_a_direct_chain_is_walked(bench: Bench) -> None:
    bench.offer(OUT, IN)
    assert bench.queue.pop() == Element(0, ((0x1000, 24),), ((0x2000, 10),))
    assert bench.queue.pop() is None


def test_an_indirect_chain_is_walked_and_its_outer_flags_mean_nothing(bench: Bench) -> None:
    bench.offer(Descriptor(TABLE, 32, INDIRECT | NEXT | WRITE, 99), table=(OUT, IN))
    assert bench.queue.pop() == Element(0, ((0x1000, 24),), ((0x2000, 10),))


def test_an_indirect_flag_further_down_means_nothing(bench: Bench) -> None:
    bench.offer(OUT, Descriptor(0x2000, 10, WRITE | INDIRECT))
    assert bench.queue.pop() == Element(0, ((0x1000, 24),), ((0x2000, 10),))


@pytest.mark.parametrize(
    ("descriptors", "table", "said"),
    [
        ((Descriptor(0x1000, 0, NEXT, 1), IN), (), "virtio: zero sized buffers are not allowed"),
        ((OUT, Descriptor(0x2000, 0, WRITE)), (), "virtio: zero sized buffers are not allowed"),
        ((Descriptor(0x1000, 24, NEXT, SIZE), IN), (), "Desc next is 8"),
        ((Descriptor(0x1000, 24, NEXT, 0),), (), "Looped descriptor"),
        ((OUT, Descriptor(0x2000, 10, WRITE | NEXT, 0)), (), "Incorrect order for descriptors"),
        ((Descriptor(0x2000, 10, WRITE | NEXT, 1), Descriptor(0x1000, 24)), (), "Incorrect order for descriptors"),
        ((Descriptor(TABLE, 0, INDIRECT),), (), "Invalid size for indirect buffer table"),
        ((Descriptor(TABLE, 24, INDIRECT),), (OUT, IN), "Invalid size for indirect buffer table"),
        ((Descriptor(TABLE, 32, INDIRECT),), (Descriptor(0x1000, 24, NEXT, 2), IN), "Desc next is 2"),
        ((Descriptor(TABLE, 16, INDIRECT),), (Descriptor(0x1000, 24, NEXT, 0),), "Looped descriptor"),
    ],
)
def test_a_shape_that_cannot_be_walked_is_refused(
    bench: Bench, descriptors: tuple[Descriptor, ...], table: tuple[Descriptor, ...], said: str
) -> None:
    bench.offer(*descriptors, table=table)
    with pytest.raises(ProtocolError) as refusal:
        bench.queue.pop()
    assert str(refusal.value) == said


@pytest.mark.parametrize("head", [SIZE, 0xFFFF])
def test_a_head_out_of_range_is_refused(bench: Bench, head: int) -> None:
    bench.offer(OUT, IN, head=head)
    with pytest.raises(ProtocolError, match=f"Guest says index {head} is available"):
        bench.queue.pop()


def test_a_chain_of_too_many_buffers_is_refused(bench: Bench) -> None:
    table = tuple(Descriptor(0x1000, 1, NEXT, n + 1) for n in range(MAX_SEGMENTS + 1))
    bench.offer(Descriptor(TABLE, 16 * len(table), INDIRECT), table=table)
    with pytest.raises(ProtocolError, match="too many write descriptors in indirect table"):
        bench.queue.pop()


def test_answers_are_scattered_and_reported(bench: Bench) -> None:
    bench.offer(Descriptor(0x1000, 24, NEXT, 1), Descriptor(0x2000, 8, WRITE | NEXT, 2), Descriptor(0x3000, 8, WRITE))
    element = bench.queue.pop()
    assert element is not None
    assert element.room == 16
    bench.queue.push(element, b"0123456789")
    assert (bench.ram.read(0x2000, 8), bench.ram.read(0x3000, 8)) == (b"01234567", b"89" + bytes(6))
    assert bench.used() == [Used(0, 10)]


def test_requests_are_gathered_up_to_the_limit(bench: Bench) -> None:
    bench.ram.write(0x1000, b"abcdefgh")
    element = Element(0, ((0x1000, 3), (0x1003, 5)), ())
    assert bench.queue.gather(element, 5) == b"abcde"
    assert bench.queue.gather(element, 100) == b"abcdefgh"


def test_indices_run_on_over_the_end_of_the_ring(bench: Bench) -> None:
    for _ in range(3 * SIZE):
        bench.offer(OUT, IN)
        element = bench.queue.pop()
        assert element is not None
        bench.queue.push(element, b"")
    assert bench.used()[-1] == Used(0, 0)
    assert len(bench.used()) == 3 * SIZE


def test_a_driver_may_ask_not_to_be_interrupted(bench: Bench) -> None:
    assert bench.queue.should_notify()
    bench.ram.write(bench.layout.avail_flags, INDEX.pack(1))
    assert not bench.queue.should_notify()


def test_with_event_idx_the_driver_says_when_to_be_interrupted() -> None:
    bench = Bench(event_idx=True)
    bench.ram.write(bench.layout.used_event, INDEX.pack(2))
    wanted = []
    for _ in range(5):
        bench.offer(OUT, IN)
        element = bench.queue.pop()
        assert element is not None
        bench.queue.push(element, b"")
        wanted.append(bench.queue.should_notify())
    assert wanted == [True, False, True, False, False]
    assert INDEX.unpack(bench.ram.read(bench.layout.avail_event, 2)) == (5,)
