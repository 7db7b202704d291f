import pytest

from virtiomem.errors import UsageError
from virtiomem.recording import DimmInfo
from virtiomem.units import GiB, MiB
from virtiomem.vm.connect import parse_connection
from virtiomem.vm.doors.base import Connection
from virtiomem.vm.model import Device, Machine, VirtioMemDevice
from virtiomem.vm.plan import PlanError, Scope, Spread, Wish
from virtiomem.vm.target import device_pattern, plan_target, select

WEB1, WEB2, DB = (parse_connection(f"{name}=qmp:/run/{name}.sock") for name in ("web1", "web2", "db"))
ALL = [WEB1, WEB2, DB]


def device(name: str) -> VirtioMemDevice:
    return VirtioMemDevice(id=name, memaddr=0, size=0, requested_size=0, max_size=GiB, block_size=2 * MiB)


@pytest.mark.parametrize(
    ("target", "chosen"),
    [
        ("all", ALL),
        ("web1", [WEB1]),
        ("web*", [WEB1, WEB2]),
        ("web2/vm0", [WEB2]),
        ("*/vm0", ALL),
        ("w*/vm[01]", [WEB1, WEB2]),
    ],
)
def test_target_selects_machines_by_name_or_pattern(target: str, chosen: list[Connection]) -> None:
    assert select(target, ALL) == chosen


def test_device_alone_is_enough_for_the_only_machine() -> None:
    assert select("vm0", [DB]) == [DB]


@pytest.mark.parametrize("target", ["vm0", "web3", "web3/vm0", ""])
def test_target_that_names_nothing_is_usage_and_lists_the_machines(target: str) -> None:
    with pytest.raises(UsageError, match=r"names none of the machines(, did you mean '\w+'\?)? \(web1, web2, db\)"):
        select(target, ALL)


def test_a_machine_that_is_nearly_named_is_named() -> None:
    with pytest.raises(UsageError, match="names none of the machines, did you mean 'web1'"):
        select("web11", ALL)


@pytest.mark.parametrize(
    ("target", "name", "pattern"),
    [
        ("all", "web1", None),
        ("web1", "web1", None),
        ("web1/vm0", "web1", "vm0"),
        ("vm0", "web1", "vm0"),
        ("*/device[0]", "db", "device[0]"),
    ],
)
def test_device_part_of_a_target(target: str, name: str, pattern: str | None) -> None:
    assert device_pattern(target, name) == pattern


def plan(pattern: str | None, *devices: Device, scope: Scope = Scope.DEVICE) -> list[tuple[str, int]]:
    machine = Machine(status="running", boot_memory=GiB, devices=devices)
    changes = plan_target(machine, pattern, scope, Wish(512 * MiB), Spread()).changes
    return [(change.device.id, change.after) for change in changes]


def test_only_device_of_a_machine_need_not_be_named() -> None:
    assert plan(None, device("vm0"), DimmInfo(id="d0", addr=0, size=GiB)) == [("vm0", 512 * MiB)]


def test_pattern_names_many_devices_and_each_gets_the_size() -> None:
    assert plan("vm*", device("vm0"), device("vm1")) == [("vm0", 512 * MiB), ("vm1", 512 * MiB)]


def test_brackets_in_a_name_are_taken_literally() -> None:
    assert plan("device[0]", device("device[0]"), device("device[1]")) == [("device[0]", 512 * MiB)]


@pytest.mark.parametrize(
    ("pattern", "devices", "words"),
    [
        (
            None,
            (device("vm0"), device("vm1")),
            r"2 virtio-mem devices \(vm0, vm1\): name one, or give --plugged or --total",
        ),
        (None, (), "it has no virtio-mem device"),
        ("vm9", (device("vm0"),), "it has no device 'vm9'"),
        ("d0", (DimmInfo(id="d0", addr=0, size=GiB),), "d0 is not a virtio-mem device: its size is fixed"),
    ],
)
def test_what_cannot_be_meant_is_refused(pattern: str | None, devices: tuple[Device, ...], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        plan(pattern, *devices)


def test_sum_of_one_device_is_usage() -> None:
    with pytest.raises(UsageError, match="--total is for whole machines"):
        plan("vm0", device("vm0"), scope=Scope.TOTAL)
