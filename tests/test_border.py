"""What public calls take, and in which words they refuse the rest."""

from typing import Any

import pytest

from tests.refused import refused
from virtiomem import (
    Clock,
    Loopback,
    MemDevice,
    Memory,
    Parameters,
    VirtioMemModule,
    border,
    iomem,
    recording,
    scenario,
)
from virtiomem.errors import ArgumentError, ArgumentTypeError, ArgumentValueError, UsageError
from virtiomem.units import GiB, MiB, Size

WRONG: list[tuple[Any, tuple[Any, ...], str]] = [
    (border.integer, ("size", 1.5), "size must be an integer, not 1.5"),
    (border.integer, ("size", True), "size must be an integer, not True"),
    (border.integer, ("size", "1\n2"), r"size must be an integer, not '1\n2'"),
    (border.integer, ("size", [1]), "size must be an integer, not an object of class list"),
    (border.integer, ("size", -1), "size must be from 0 to 2^64-1, not -1"),
    (border.integer, ("size", 1 << 64), "size must be from 0 to 2^64-1, not 0x10000000000000000"),
    (border.integer, ("size", 1 << 9999), "size must be from 0 to 2^64-1, not a number of 10000 bits"),
    (border.power_of_two, ("align", 3), "align must be a power of two from 1 to 2^64-1, not 3"),
    (border.power_of_two, ("block_size", 1, 2, 8), "block_size must be a power of two from 2 to 8, not 1"),
    (border.real, ("seconds", float("nan"), 0, 10), "seconds must be from 0 to 10, not nan"),
    (border.real, ("seconds", None, 0, 10), "seconds must be a number, not None"),
    (border.name, ("name", "a\x1b"), r"without blanks at its end, not 'a\x1b'"),
    (border.name, ("name", None), "name must be str, not None"),
    (border.one_of, ("error", "c", ["a", "b"]), "error must be one of a, b, not 'c'"),
    (border.function, ("work", 5), "work must be something to call, not 5"),
    (border.instance, ("clock", 5, Clock), "clock must be Clock, not 5"),
    (border.instance, ("flag", True, int), "flag must be int, not True"),
]


@pytest.mark.parametrize(("check", "arguments", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_refusal_names_the_argument_what_it_must_be_and_what_it_was(
    check: Any, arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ArgumentError) as error:
        check(*arguments)
    assert words in str(error.value)
    assert len(str(error.value)) <= 300
    assert str(error.value).isprintable()


def test_wrong_kinds_are_type_errors_and_wrong_values_value_errors() -> None:
    assert issubclass(ArgumentTypeError, TypeError)
    assert issubclass(ArgumentValueError, ValueError)
    assert issubclass(ArgumentError, UsageError)


def test_integers_of_other_classes_are_integers() -> None:
    border.integer("size", Size(4096))
    border.power_of_two("align", Size(4096))


DEVICE = MemDevice(addr=8 * GiB, region_size=GiB)
CALLS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (Memory, (None,), {}),
    (Loopback, (None,), {}),
    (Loopback, (DEVICE,), {"features": "all"}),
    (VirtioMemModule, (None, Clock(), []), {}),
    (VirtioMemModule, (Memory(iomem.loads("")), None, []), {}),
    (VirtioMemModule, (Memory(iomem.loads("")), Clock(), [("virtio\n0", Loopback(DEVICE))]), {}),
    (VirtioMemModule, (Memory(iomem.loads("")), Clock(), [("virtio0", None)]), {}),
    (VirtioMemModule, (Memory(iomem.loads("")), Clock(), [Loopback(DEVICE)]), {}),
    *((Parameters, (), {"bbm_block_size": size}) for size in (None, "1", -1, 1.5, float("nan"), 1 << 70, True)),
    (Parameters, (), {"force_bbm": 1}),
    *((call, (bad,), {}) for call in (iomem.loads, iomem.load, iomem.dumps) for bad in (None, 5, 1.5)),
    *((call, (bad,), {}) for call in (scenario.loads, scenario.load, scenario.to_dict) for bad in (None, 5, True)),
    *((call, (bad,), {}) for call in (recording.loads, recording.load, recording.dumps) for bad in (None, 5, True)),
    (scenario.embedded_guest, (None,), {}),
    (scenario.play, (None, None), {}),
    (scenario.boot_listing, (None, 1), {}),
]


@pytest.mark.parametrize(("call", "arguments", "options"), CALLS)
def test_public_call_refuses_in_its_own_words(call: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    refused(call, *arguments, **options)


def test_big_block_larger_than_any_region_is_never_plugged() -> None:
    memory, clock = Memory(iomem.loads("00000000-7fffffff : System RAM\n")), Clock()
    device = MemDevice(addr=8 * GiB, region_size=GiB)
    module = VirtioMemModule(
        memory, clock, [("virtio0", Loopback(device))], Parameters(force_bbm=True, bbm_block_size=1 << 52)
    )
    device.requested_size = 512 * MiB
    clock.run_until_idle()
    assert device.plugged_size == 0
    module.check()
