from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import UsageError
from virtiomem.recording import DimmInfo
from virtiomem.units import GiB, MiB
from virtiomem.vm.model import Device, Machine, VirtioMemDevice
from virtiomem.vm.plan import (
    Bounds,
    PlanError,
    Scope,
    Spread,
    Wish,
    distribute,
    held_back,
    plan_device,
    plan_machine,
    replan,
)


def device(
    name: str = "vm0",
    *,
    size: int = 0,
    requested: int | None = None,
    largest: int = 4 * GiB,
    block: int = 2 * MiB,
    node: int = 0,
) -> VirtioMemDevice:
    return VirtioMemDevice(
        id=name,
        memaddr=4 * GiB,
        size=size,
        requested_size=size if requested is None else requested,
        max_size=largest,
        block_size=block,
        node=node,
    )


def machine(*devices: Device, boot: int = 4 * GiB) -> Machine:
    return Machine(status="running", boot_memory=boot, devices=devices)


def shares(plan_of: object) -> list[int]:
    return [change.after for change in plan_of.changes]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "base", "size"),
    [("2G", 5, 2 * GiB), ("+512M", GiB, GiB + 512 * MiB), ("-1G", 3 * GiB, 2 * GiB), ("-2G", GiB, -GiB)],
)
def test_wish_is_absolute_or_relative_to_what_is_requested(text: str, base: int, size: int) -> None:
    assert Wish.parse(text).of(base) == size


@pytest.mark.parametrize("text", ["", "+", "2X", "--1G", "1e9", "-", "99999999999999999999"])
def test_what_is_not_a_size_is_usage(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        Wish.parse(text)


def test_one_device_is_set_to_its_wish() -> None:
    assert shares(plan_device(device(size=GiB), Wish.parse("+512M"))) == [GiB + 512 * MiB]


def test_relative_wish_counts_from_requested_and_not_from_what_is_plugged_so_far() -> None:
    assert shares(plan_device(device(size=0, requested=2 * GiB), Wish.parse("+1G"))) == [3 * GiB]


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ("3M", r"vm0: 3M \(0x300000\) is not a multiple of its block size 2M \(--round makes it 4M\)"),
        ("5G", r"vm0: 5G \(0x140000000\) is above its max size 4G"),
        ("-2G", "vm0: -2G of 1G requested is below nothing"),
    ],
)
def test_device_refuses_in_plain_words(wish: str, words: str) -> None:
    with pytest.raises(PlanError, match=words) as refused:
        plan_device(device(size=GiB), Wish.parse(wish))
    assert refused.value.exit_code == 1


def test_rounding_goes_up_and_only_when_asked() -> None:
    assert shares(plan_device(device(), Wish.parse("3M"), round_up=True)) == [4 * MiB]


def test_total_counts_boot_memory_and_dimms() -> None:
    dimm = DimmInfo(id="d0", addr=0, size=GiB)
    plan = plan_machine(machine(device(), dimm), Scope.TOTAL, Wish.parse("7G"), Spread())
    assert shares(plan) == [2 * GiB]


def test_even_gives_equal_parts_and_what_one_cannot_hold_to_the_others() -> None:
    devices = device("a", largest=GiB), device("b"), device("c")
    assert shares(plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("7G"), Spread())) == [GiB, 3 * GiB, 3 * GiB]


def test_weighted_follows_max_size() -> None:
    devices = device("a", largest=GiB), device("b", largest=3 * GiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("2G"), Spread.parse("weighted"))
    assert shares(plan) == [512 * MiB, 1536 * MiB]


def test_pack_fills_device_after_device() -> None:
    devices = device("a"), device("b"), device("c")
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("5G"), Spread.parse("pack"))
    assert shares(plan) == [4 * GiB, GiB, 0]


def test_one_node_takes_the_whole_change() -> None:
    devices = device("a", size=GiB, node=0), device("b", size=GiB, node=1)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("+1G"), Spread.parse("node=1"))
    assert [(change.device.id, change.after) for change in plan.changes] == [("b", 2 * GiB)]


def test_what_another_node_has_not_given_up_counts() -> None:
    devices = device("a", size=308 * MiB, requested=0, node=0), device("b", node=1)
    node = Spread.parse("node=1")
    assert shares(plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("640M"), node)) == [332 * MiB]
    assert shares(plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("+640M"), node)) == [640 * MiB]


def test_refusal_says_what_other_nodes_keep() -> None:
    devices = device("a", size=514 * MiB, node=0), device("b", largest=2 * GiB, node=1)
    with pytest.raises(PlanError, match=r"is 510M .* can hold \(2G .*\) next to 514M on other nodes than 1$"):
        plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("3G"), Spread.parse("node=1"))


def test_node_without_a_device_is_refused() -> None:
    with pytest.raises(PlanError, match="no virtio-mem device on node 3"):
        plan_machine(machine(device()), Scope.PLUGGED, Wish.parse("1G"), Spread.parse("node=3"))


def test_total_below_boot_memory_is_refused_with_what_it_keeps() -> None:
    with pytest.raises(PlanError, match=r"1G in all is 3G .* below what it keeps .4G boot memory and DIMMs"):
        plan_machine(machine(device()), Scope.TOTAL, Wish.parse("1G"), Spread())


def test_more_than_all_devices_hold_is_refused() -> None:
    with pytest.raises(PlanError, match=r"9G of virtio-mem memory is 1G .* above what its devices can hold \(8G"):
        plan_machine(machine(device("a"), device("b")), Scope.PLUGGED, Wish.parse("9G"), Spread())


def test_small_blocks_take_what_big_blocks_cannot() -> None:
    devices = device("big", block=GiB), device("small", block=2 * MiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("3076M"), Spread())
    assert shares(plan) == [GiB, 2052 * MiB]


def test_size_no_block_can_express_is_refused_or_rounded() -> None:
    devices = device("a", block=GiB), device("b", block=GiB)
    with pytest.raises(PlanError, match="not a multiple"):
        plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("1025M"), Spread())
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("1025M"), Spread(), round_up=True)
    assert plan.total == 2 * GiB


def test_stuck_device_keeps_its_size_and_the_others_take_over() -> None:
    devices = device("a", size=512 * MiB, requested=2 * GiB), device("b", size=2 * GiB), device("c", size=2 * GiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("6G"), Spread())
    again = replan(machine(*devices), plan, {"a": 512 * MiB}, Spread())
    assert again is not None
    assert shares(again) == [512 * MiB, 2816 * MiB, 2816 * MiB]


def test_stuck_shrink_is_made_up_for_by_the_others_while_they_can() -> None:
    devices = device("a", size=3 * GiB, requested=GiB), device("b", size=GiB, requested=GiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("2G"), Spread())
    again = replan(machine(*devices), plan, {"a": 1536 * MiB}, Spread())
    assert again is not None
    assert shares(again) == [1536 * MiB, 512 * MiB]


def test_more_than_the_others_can_make_up_for_stays_requested_of_the_stuck() -> None:
    devices = device("a", size=3 * GiB, requested=GiB), device("b", size=GiB, requested=GiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("2G"), Spread.parse("even"))
    again = replan(machine(*devices), plan, {"a": 3 * GiB}, Spread())
    assert again is not None
    assert shares(again) == [2 * GiB, 0]
    assert replan(machine(*devices), again, {"a": 3 * GiB}, Spread()) is None, "no more can be done"


def test_less_than_the_others_can_take_over_stays_requested_of_the_stuck() -> None:
    devices = device("a", requested=3 * GiB), device("b", size=3 * GiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("6G"), Spread())
    again = replan(machine(*devices), plan, {"a": 0}, Spread())
    assert again is not None
    assert shares(again) == [2 * GiB, 4 * GiB]


def test_stuck_devices_do_not_change_places_where_no_other_can_help() -> None:
    devices = device("a", requested=3 * GiB), device("b", requested=GiB)
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("4G"), Spread())
    assert replan(machine(*devices), plan, {"a": 0, "b": 0}, Spread()) is None


def test_total_that_is_requested_stays_as_it_is_spread_until_a_rule_is_named() -> None:
    devices = device("a", size=3 * GiB), device("b", size=GiB)
    assert shares(plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("4G"), Spread())) == [3 * GiB, GiB]
    even = Spread.parse("even")
    assert shares(plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("4G"), even)) == [2 * GiB, 2 * GiB]


def test_growth_is_held_back_until_others_gave_up_as_much() -> None:
    devices = device("a", size=3 * GiB), device("b", size=GiB), device("c")
    plan = plan_machine(machine(*devices), Scope.PLUGGED, Wish.parse("4500M"), Spread.parse("even"))
    assert shares(plan) == [1500 * MiB] * 3
    assert shares(held_back(machine(*devices), plan)) == [1500 * MiB, GiB + 404 * MiB, 0]
    smaller = device("a", size=1500 * MiB), *devices[1:]
    assert shares(held_back(machine(*smaller), plan)) == shares(plan)


sizes = st.integers(0, 40)
fleets = st.lists(st.tuples(sizes, st.sampled_from([1, 1, 2, 4, 8])), min_size=1, max_size=3)


@given(fleet=fleets, target=sizes, rule=st.sampled_from(["even", "weighted", "pack"]))
def test_shares_are_exact_whenever_any_are(fleet: list[tuple[int, int]], target: int, rule: str) -> None:
    """Against brute force: a distribution is found exactly when there is one, and it keeps every bound."""
    devices = [device(str(i), largest=largest * MiB, block=block * MiB) for i, (largest, block) in enumerate(fleet)]
    bounds = {d.id: Bounds(0, d.max_size - d.max_size % d.block_size) for d in devices}
    ways = product(*(range(0, bounds[d.id].high + 1, d.block_size) for d in devices))
    possible = any(sum(way) == target * MiB for way in ways)
    found = distribute(devices, target * MiB, Spread.parse(rule), bounds)
    assert (found is not None) == possible
    if found is not None:
        assert sum(found.values()) == target * MiB
        for d in devices:
            assert 0 <= found[d.id] <= bounds[d.id].high
            assert found[d.id] % d.block_size == 0


@given(largest=st.lists(st.integers(0, 2000), min_size=1, max_size=8), part=st.floats(0, 1))
def test_even_shares_differ_by_a_block_at_most(largest: list[int], part: float) -> None:
    devices = [device(str(i), largest=blocks * 2 * MiB) for i, blocks in enumerate(largest)]
    target = int(sum(largest) * part) * 2 * MiB
    found = distribute(devices, target, Spread(), {d.id: Bounds(0, d.max_size) for d in devices})
    assert found is not None
    free = [found[d.id] for d in devices if found[d.id] < d.max_size]
    full = [found[d.id] for d in devices if found[d.id] == d.max_size]
    assert not free or max(free) - min(free) <= 2 * MiB
    assert not free or not full or max(full) <= max(free) + 2 * MiB


@given(fleet=fleets, target=sizes, rule=st.sampled_from(["even", "weighted", "pack"]))
def test_repeating_a_plan_changes_nothing(fleet: list[tuple[int, int]], target: int, rule: str) -> None:
    devices = [device(str(i), largest=largest * MiB, block=block * MiB) for i, (largest, block) in enumerate(fleet)]
    wish, spread = Wish(target * MiB), Spread.parse(rule)
    try:
        plan = plan_machine(machine(*devices), Scope.PLUGGED, wish, spread)
    except PlanError:
        return
    after = [
        device(c.device.id, size=c.after, largest=c.device.max_size, block=c.device.block_size) for c in plan.changes
    ]
    assert shares(plan_machine(machine(*after), Scope.PLUGGED, wish, spread)) == shares(plan)
