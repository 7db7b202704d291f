from itertools import pairwise

import pytest

from virtiomem.errors import ScenarioError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, NodeConfig
from virtiomem.guest.linux.command import kernel_command_line, qemu_arguments
from virtiomem.units import GiB, MiB, Size


def device(identifier: str = "vm0", **more: object) -> DeviceConfig:
    return DeviceConfig(id=identifier, max_size=Size(GiB), **more)  # type: ignore[arg-type]


def value_of(arguments: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(arguments) if name == option]


def test_the_machine_has_room_for_its_devices() -> None:
    arguments = qemu_arguments(GuestConfig(machine="pc"), [device(block_size=Size(4 * MiB))], "tcg")
    assert value_of(arguments, "-m") == [f"size={4 * GiB}b,maxmem={5 * GiB}b,slots=0"]
    assert value_of(arguments, "-machine") == ["pc,memory-backend=ram"]
    assert value_of(arguments, "-device") == [
        f"virtio-mem-pci,id=vm0,memdev=mem-vm0,block-size={4 * MiB},requested-size=0,node=0"
    ]


def test_nodes_get_the_boot_memory_in_their_ranges_and_may_have_none() -> None:
    nodes = [
        NodeConfig(id=1, memory=["0x100000000-0x17fffffff"]),
        NodeConfig(id=0, memory=["0x0-0xffffffff"]),
        NodeConfig(id=2),
    ]
    arguments = qemu_arguments(GuestConfig(nodes=nodes), [], "tcg")
    assert value_of(arguments, "-numa") == [
        "node,nodeid=0,memdev=ram0,cpus=0",
        "node,nodeid=1,memdev=ram1",
        "node,nodeid=2",
    ]
    assert [text.split(",")[2] for text in value_of(arguments, "-object")] == [f"size={2 * GiB}"] * 2


def test_nodes_out_of_order_are_refused() -> None:
    nodes = [NodeConfig(id=0, memory=["0x100000000-0x17fffffff"]), NodeConfig(id=1, memory=["0x0-0x7fffffff"])]
    with pytest.raises(
        ScenarioError, match=r"guest.nodes: QEMU gives nodes memory in ascending order, .* of node 1 comes"
    ):
        qemu_arguments(GuestConfig(nodes=nodes), [], "tcg")


def test_other_virtio_devices_fill_the_gaps_between_names() -> None:
    devices = [device("vm0", name="virtio1"), device("vm1", name="virtio3")]
    names = [text.split(",")[0] for text in value_of(qemu_arguments(GuestConfig(), devices, "tcg"), "-device")]
    assert names == ["virtio-rng-pci", "virtio-mem-pci", "virtio-rng-pci", "virtio-mem-pci"]
    with pytest.raises(ScenarioError, match=r"device 2: name: .*virtio0 comes too late"):
        qemu_arguments(GuestConfig(), [device("vm0", name="virtio1"), device("vm1", name="virtio0")], "tcg")


def test_the_kernel_hears_only_of_what_differs() -> None:
    assert kernel_command_line(GuestConfig(), DriverConfig(), built_in=False) == (
        "console=ttyS0 nokaslr init_on_alloc=0 no_timer_check nowatchdog rcupdate.rcu_cpu_stall_suppress=1"
    )
    config = GuestConfig(
        default_state="online", online_policy="auto-movable", auto_movable_ratio=100, auto_movable_numa_aware=False
    )
    assert kernel_command_line(config, DriverConfig(force_bbm=True), built_in=True, append="a  b").split()[6:] == [
        "memhp_default_state=online",
        "memory_hotplug.online_policy=auto-movable",
        "memory_hotplug.auto_movable_ratio=100",
        "memory_hotplug.auto_movable_numa_aware=N",
        "virtio_mem.force_bbm=Y",
        "a",
        "b",
    ]
