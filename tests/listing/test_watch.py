from collections.abc import Iterator

import pytest

from virtiomem.errors import ArgumentError, ListingError
from virtiomem.listing.diff import ResourceChangeKind
from virtiomem.listing.watch import MemoryEvents, watch
from virtiomem.resource import iomem
from virtiomem.resource.node import Resource

MAPS = [
    "140000000-33fffffff : virtio0\n",
    "140000000-33fffffff : virtio0\n",
    "140000000-33fffffff : virtio0\n  140000000-147ffffff : System RAM (virtio_mem)\n",
    "140000000-33fffffff : virt",
    "140000000-33fffffff : virtio0\n  140000000-14fffffff : System RAM (virtio_mem)\n",
]


def test_each_reading_is_compared_with_the_last_that_fitted_together() -> None:
    texts: Iterator[str] = iter(MAPS)
    left = len(MAPS)

    def read() -> Resource:
        return iomem.loads(next(texts))

    def wait() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    seen = [[change.kind for change in changes] for changes in watch(read, wait)]
    assert seen == [[ResourceChangeKind.ADDED], [ResourceChangeKind.GREW]]


def test_a_map_that_cannot_be_read_any_more_is_said_to_be_lost_once_and_read_again() -> None:
    texts = iter([MAPS[0], "nonsense", MAPS[0], *["nonsense"] * 3, MAPS[2], "nonsense", "nonsense", MAPS[4], ""])
    lost: list[str] = []
    left = 10

    def wait() -> bool:
        nonlocal left
        left -= 1
        return left > 0

    seen = list(watch(lambda: iomem.loads(next(texts)), wait, lambda error: lost.append(str(error))))
    assert [[change.kind for change in changes] for changes in seen] == [
        [ResourceChangeKind.ADDED],
        [ResourceChangeKind.GREW],
    ]
    assert lost == ["iomem:1: not a resource line: 'nonsense'"] * 2


def test_a_first_reading_that_fails_is_said() -> None:
    def read() -> Resource:
        return iomem.loads("nonsense\n")

    try:
        next(watch(read, lambda: True))
    except ListingError:
        return
    raise AssertionError("the damaged map was taken")


def test_without_uevents_time_passes() -> None:
    events = MemoryEvents(0.001, uevents=False)
    assert events.wait()
    events.close()


def test_with_uevents_time_passes_too_when_nothing_happens() -> None:
    events = MemoryEvents(0.001)
    assert events.wait()
    events.close()


@pytest.mark.parametrize("interval", [0, -1, "1s", float("nan")])
def test_interval_of_nothing_or_of_words_is_refused(interval: float) -> None:
    with pytest.raises(ArgumentError, match=r"^interval must be "):
        MemoryEvents(interval)


def test_two_in_one_process_both_hear_the_kernel() -> None:
    first, second = MemoryEvents(1.0), MemoryEvents(1.0)
    assert (first._socket is None) == (second._socket is None)
    first.close()
    second.close()
