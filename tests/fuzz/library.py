"""Library calls with arguments of every kind: each is done, or refused in the library's own words, and then nothing has changed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.promise import check_line
from tests.refused import REFUSALS
from virtiomem import (
    Clock,
    EmbeddedGuest,
    Loopback,
    MemDevice,
    Memory,
    Parameters,
    Policy,
    Resource,
    ResourceTree,
    VirtioMemModule,
    crash_ranges,
    iomem,
    recording,
    scenario,
)
from virtiomem.abi import OnlinePolicy, OnlineType
from virtiomem.clock import Timer
from virtiomem.errors import Errno, VirtiomemError
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, NodeConfig
from virtiomem.memory import FaultPoint, hotplug, onlining
from virtiomem.recording import values
from virtiomem.resource.flags import IORESOURCE_SYSTEM_RAM, Desc
from virtiomem.units import GiB, MiB, Size, Span, TiB
from virtiomem.wire.mem import Feature

MB = 128 * MiB
NAMES = ("System RAM", "System RAM (virtio_mem)", "virtio0", "dax0.0", "a")
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 4095, -MB, 1 << 31, 1 << 40, 1 << 52, (1 << 63) - 1, 1 << 63, (1 << 64) - MB),
    *((1 << 64) - 1, 1 << 64, 1 << 5000, -(1 << 70), 0.0, 1.5, -1.5, 1e300, float("nan"), float("inf"), -float("inf")),
    *(1j, "", "1", "a\nb", "\x1b[2J", "\ud800", "\u202e", "x" * 100_000, b"1", b"\xff", bytearray(8), [], [1], (), {}),
    *({1: 2}, set(), object(), Errno.EBUSY, OnlineType.ONLINE, Desc.NONE, Size(4096), Span(0, 1), Path("/nowhere")),
    *(Ellipsis, NotImplemented, range(10**12)),
)

Make = Callable[[Random], Any]


@dataclass
class World:
    """Some things, what may be called, what there is to see, and what must hold."""

    calls: list[tuple[str, Callable[..., Any], list[Make]]]
    state: Callable[[], Any]
    check: Callable[[], Any]
    done: list[str] = field(default_factory=list)


def trial(random: Random) -> None:
    """Call some functions of one world."""
    world = random.choice(WORLDS)(random)
    for _ in range(random.choice((1, 4, 16))):
        name, call, makers = random.choice(world.calls)
        chance = random.choice((0.0, 0.0, 0.2, 0.6))
        arguments = [random.choice(ODD) if random.random() < chance else make(random) for make in makers]
        world.done.append(f"{name}({', '.join(map(brief, arguments))})")
        one(world, call, arguments)


def one(world: World, call: Callable[..., Any], arguments: list[Any]) -> None:
    """Make one call and hold it to the promise."""
    before, refused = repr(world.state()), None
    try:
        call(*arguments)
    except (VirtiomemError, *REFUSALS) as error:
        refused = str(error)
    except Exception as error:
        raise broken(world, f"{type(error).__name__}: {error}") from error
    if refused is not None:
        check_line(refused)
        if repr(world.state()) != before:
            raise broken(world, f"refused, yet changed: {refused}")
    try:
        world.check()
    except Exception as error:
        raise broken(world, f"check: {type(error).__name__}: {error}") from error


def broken(world: World, how: str) -> AssertionError:
    """A broken promise, with the calls that led to it."""
    return AssertionError(f"{how[:300]}: {'; '.join(world.done)[-1500:]}")


def brief(value: Any) -> str:
    """A value in a reproducer."""
    if isinstance(value, int) and value.bit_length() > 200:
        return f"<{value.bit_length()} bits>"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def number(*numbers: int) -> Make:
    return lambda random: random.choice(numbers)


def some(*things: Any) -> Make:
    return lambda random: random.choice(things)


# -- the resource tree --------------------------------------------------------------------------------------------------

address = number(*range(0, 16 * 4096, 4096), 1, 4095, 1 << 40)
size = number(0, 1, 4096, 8192, 3 * 4096, 16 * 4096)
name = some(*NAMES)
flags = number(0, IORESOURCE_SYSTEM_RAM, 0x3000000)


def tree(random: Random) -> World:
    """A tree, and resources in and out of it."""
    root = ResourceTree(random.choice(((1 << 64) - 1, 1 << 40)))
    kept: list[Any] = [root]

    def keep(call: Callable[..., Any]) -> Callable[..., Any]:
        def kept_call(*arguments: Any) -> None:
            made = call(*arguments)
            if isinstance(made, Resource):
                kept.append(made)

        return kept_call

    def resource(random: Random) -> Any:
        nodes = [*kept, *(node for _, node in root.walk())]
        return random.choice(nodes)

    def allocate(new: Any, size: Any, low: Any, high: Any, align: Any, alignf: Any) -> None:
        root.allocate_resource(root, new, size, min=low, max=high, align=align, alignf=alignf)

    def alignf(random: Random) -> Any:
        odd = random.choice(ODD)
        return random.choice((None, None, lambda start, _end, _size, _align: start, lambda *_: odd))

    def check() -> None:
        root.check()
        for node in kept:
            node.check()
        again = iomem.loads(iomem.dumps(root), allow_masked=True)
        assert iomem.dumps(again) == iomem.dumps(root)

    def state() -> Any:
        tops = [root, *(node for node in kept if node.parent is None and node is not root)]
        return [
            (depth, node.start, node.end, node.name, node.flags, node.desc)
            for top in tops
            for depth, node in [(-1, top), *top.walk()]
        ]

    calls: list[tuple[str, Callable[..., Any], list[Make]]] = [
        ("request_region", keep(root.request_region), [address, size, name, flags]),
        ("request_region", keep(root.request_region), [address, size, name, flags]),
        ("release_region", root.release_region, [address, size]),
        ("release_mem_region_adjustable", root.release_mem_region_adjustable, [address, size]),
        ("merge_system_ram_resource", root.merge_system_ram_resource, [resource]),
        ("merge_adjacent_system_ram", root.merge_adjacent_system_ram, []),
        ("Resource", keep(Resource), [address, address, name, flags, some(*Desc)]),
        ("request_resource", root.request_resource, [resource, resource]),
        ("insert_resource", root.insert_resource, [resource, resource]),
        ("insert_resource_expand_to_fit", root.insert_resource_expand_to_fit, [resource, resource]),
        ("release_resource", root.release_resource, [resource]),
        ("remove_resource", root.remove_resource, [resource]),
        ("release_child_resources", root.release_child_resources, [resource]),
        ("adjust_resource", root.adjust_resource, [resource, address, size]),
        ("allocate_resource", allocate, [resource, size, address, address, number(1, 2, 4096, 1 << 40), alignf]),
        (
            "set_busy",
            lambda node, busy: node.set_busy(busy) if isinstance(node, Resource) else None,
            [resource, some(True, False)],
        ),
        ("ResourceTree", ResourceTree, [address]),
        ("dumps", iomem.dumps, [resource]),
        ("crash_ranges", crash_ranges, [resource]),
    ]
    return World(calls, state, check)


# -- the hotplug core ---------------------------------------------------------------------------------------------------

block_address = number(*(8 * GiB + block * MB for block in range(12)), 0, 5 * GiB, 8 * GiB + MiB)
block_size = number(MB, MB, 2 * MB, 3 * MB, 0, MiB)
node = number(0, 0, 0, 1)
mhp = number(0, 1, 1, 4, 5, 2)
online = some(*OnlineType)


def memory_state(memory: Memory) -> Any:
    """All that can be seen of a core."""
    blocks = [
        (
            block.id,
            block.state,
            block.zone,
            block.fake_offline,
            block.dropped,
            [(at, use.id) for at, use in block.used.items()],
        )
        for block in memory.blocks.values()
    ]
    zones = [
        (zone.start_pfn, zone.spanned, zone.present, zone.managed) for node in memory.nodes.values() for zone in node
    ]
    groups = [(group.id, group.blocks, group.present_kernel, group.present_movable) for group in memory.groups]
    uses = [(use.id, use.pageblocks) for use in memory.users]
    return (
        blocks,
        zones,
        groups,
        uses,
        memory.faults.pending(),
        memory.firmware_map,
        memory.policy,
        iomem.dumps(memory.iomem),
    )


def core(random: Random) -> World:
    """A kernel's memory."""
    state = random.choice(list(OnlineType))
    memory = Memory(
        iomem.loads("00000000-7fffffff : System RAM\n100000000-13fffffff : System RAM\n"),
        policy=Policy(default_state=state, online_policy=random.choice(list(OnlinePolicy))),
    )
    group = memory.groups.register_dynamic(0, memory.pages_per_block)
    spare = hotplug_spare(memory)

    def mem(_random: Random) -> Any:
        return memory

    def block(random: Random) -> Any:
        return random.choice([*memory.blocks.values(), spare])

    def resource(random: Random) -> Any:
        return random.choice(
            [
                memory.iomem,
                *(node for _, node in memory.iomem.walk()),
                Resource(9 * GiB, 9 * GiB + MB - 1, "System RAM"),
            ]
        )

    def configure(what: Any, value: Any) -> None:
        if isinstance(what, str) and what.isidentifier():
            try:
                setattr(memory.policy, what, value)
            except AttributeError:
                return

    calls: list[tuple[str, Callable[..., Any], list[Make]]] = [
        ("add_memory", hotplug.add_memory, [mem, node, block_address, block_size, mhp]),
        ("add_memory", hotplug.add_memory, [mem, number(group, 0, 9), block_address, block_size, mhp]),
        (
            "add_memory_driver_managed",
            hotplug.add_memory_driver_managed,
            [mem, node, block_address, block_size, name, mhp],
        ),
        ("add_memory_resource", hotplug.add_memory_resource, [mem, node, resource, mhp]),
        ("remove_memory", hotplug.remove_memory, [mem, block_address, block_size]),
        ("offline_and_remove_memory", hotplug.offline_and_remove_memory, [mem, block_address, block_size]),
        ("device_online", onlining.device_online, [mem, block, online]),
        ("device_offline", onlining.device_offline, [mem, block]),
        ("store_state", onlining.store_state, [mem, number(0, 15, *range(62, 72)), online]),
        (
            "users.use",
            lambda *a: memory.users.use(a[0], a[1], movable=a[2], seed=a[3]),
            [some("a", "b"), number(0, MiB, GiB), some(True, False), number(0, 1)],
        ),
        ("users.free", memory.users.free, [some("a", "b")]),
        ("faults.inject", memory.faults.inject, [some(*FaultPoint), some(*Errno), number(1, 2)]),
        ("groups.register_static", memory.groups.register_static, [node, number(0, 1, 32768)]),
        ("groups.register_dynamic", memory.groups.register_dynamic, [node, number(0, 1, 32768, 65536)]),
        ("groups.unregister", memory.groups.unregister, [number(0, 1, 2)]),
        (
            "policy",
            configure,
            [
                some("default_state", "online_policy", "auto_movable_ratio", "auto_movable_numa_aware"),
                some(*OnlineType, *OnlinePolicy, 0, 301, True),
            ],
        ),
        ("notifiers.register", memory.notifiers.register, [some(lambda *_: Errno.OK), number(0, 5)]),
        (
            "Memory",
            new_memory,
            [
                some(memory.iomem),
                number(MB, 2 * GiB),
                some(Policy(), None),
                some(None, {0: [Span(0, 1 << 64)]}),
                number((1 << 52) - 1),
            ],
        ),
        ("Policy", Policy, [online, some(*OnlinePolicy), number(0, 301), some(True, False)]),
    ]
    return World(calls, lambda: memory_state(memory), memory.check)


def hotplug_spare(memory: Memory) -> Any:
    """A block that has been removed."""
    hotplug.add_memory(memory, 0, 8 * GiB, MB)
    spare = memory.blocks[8 * GiB // MB]
    hotplug.offline_and_remove_memory(memory, 8 * GiB, MB)
    return spare


def new_memory(tree: Any, size: Any, policy: Any, nodes: Any, end: Any) -> None:
    """Boot another kernel."""
    made = Memory(tree, block_size=size, policy=policy, nodes=nodes, hotpluggable_end=end)
    made.check()


# -- device, driver and clock -------------------------------------------------------------------------------------------


def machine(random: Random) -> World:
    """A device and its driver, on virtual time."""
    memory, clock = Memory(iomem.loads("00000000-7fffffff : System RAM\n"), policy=Policy(OnlineType.ONLINE)), Clock()
    device = MemDevice(addr=8 * GiB, region_size=4 * GiB, block_size=random.choice((MiB, 2 * MiB, MB)))
    module = VirtioMemModule(memory, clock, [("virtio0", Loopback(device))])
    request = random.random() < 0.3  # by hand: the driver then does not know

    def resize(value: Any) -> None:
        device.requested_size = value

    def new_device(*a: Any) -> None:
        MemDevice(
            addr=a[0], region_size=a[1], block_size=a[2], requested_size=a[3], node=a[4], nodes=a[5], features=a[6]
        ).check()

    def new_module(*a: Any) -> None:
        other = Memory(iomem.loads("00000000-7fffffff : System RAM\n"))
        made = VirtioMemModule(other, a[0], [(a[1], a[2])], a[3], a[4])
        made.check()
        other.check()

    def state() -> Any:
        return (
            *(device.config, list(device.plugged_ranges()), device.busy, clock.now, clock.next_due),
            *([] if request else [memory_state(memory)]),
        )

    def check() -> None:
        device.check()
        clock.check()
        if not request:
            memory.check()
            module.check()

    calls: list[tuple[str, Callable[..., Any], list[Make]]] = [
        ("requested_size", resize, [number(0, MB, 256 * MiB, GiB, 4 * GiB, 5 * GiB)]),
        ("advance", clock.advance, [some(0, 1, 0.5, 50.0, 400)]),
        ("after", clock.after, [some(0, 1, 0.5, 50.0), some(lambda: None)]),
        ("queue", clock.queue, [some(lambda: None)]),
        ("cancel", clock.cancel, [some(Timer(0.0, lambda: None))]),
        ("run_until_idle", clock.run_until_idle, []),
        ("on_size_change", device.on_size_change, [some(lambda _size: None)]),
        (
            "MemDevice",
            new_device,
            [
                number(8 * GiB, 0),
                number(GiB, TiB),
                number(MiB, 2 * MiB),
                number(0, GiB),
                number(0),
                number(1),
                some(*Feature),
            ],
        ),
        ("Loopback", lambda device, features: Loopback(device, features=features), [some(device), some(None, 1)]),
        (
            "VirtioMemModule",
            new_module,
            [
                some(Clock()),
                name,
                some(Loopback(MemDevice(addr=9 * GiB, region_size=GiB))),
                some(Parameters()),
                some(lambda *_: None),
            ],
        ),
        (
            "Parameters",
            Parameters,
            [some(True, False), number(0, MB), some(True, False), some(True, False), some(True, False)],
        ),
        ("check", check, []),
    ]
    if request:
        calls += [
            ("request", device.request, [number(0, 1, 2, 3), number(8 * GiB, 8 * GiB + MB), number(0, 1, 64)]),
            ("handle", device.handle, [some(bytes(24), b"\1" + bytes(23))]),
            ("system_reset", device.system_reset, []),
            ("wake_up", device.wake_up, []),
        ]
    return World(calls, state, check)


# -- the guest ----------------------------------------------------------------------------------------------------------

SCENARIO = scenario.loads("""
[guest]
memory = "2G"
max-memory = "40G"
slots = 2
default-state = "online"
[[device]]
id = "vm0"
max-size = "4G"
[[device]]
id = "vm1"
max-size = "1G"
block-size = "128M"
""")
sizes = some(*map(Size, (0, MiB, 2 * MiB, MB, 400 * MiB, GiB, 4 * GiB, 1 << 50)))
addresses = some(*map(Size, (0, 4 * GiB, 16 * GiB, 64 * GiB, 1 << 45, (1 << 64) - 1)))
STEPS: list[tuple[type, dict[str, Make]]] = [
    (values.Load, {}),
    (values.Unload, {}),
    (values.Reboot, {}),
    (values.Kexec, {}),
    (values.Suspend, {"to": some("idle", "memory", "disk")}),
    (values.Resize, {"device": some("vm0", "vm1", "vm9"), "requested_size": sizes}),
    (values.Resize, {"device": some("vm0", "vm1"), "requested_size": sizes}),
    (values.SetState, {"blocks": some([32], [40, 41, 42], [0, 99], []), "state": some(*map(str, OnlineType))}),
    (values.PlugDimm, {"id": some("d0", "d1", "vm0"), "size": sizes, "node": node, "memaddr": addresses}),
    (values.UnplugDimm, {"id": some("d0", "d1")}),
    (values.AddMemory, {"kind": some("kmem", "xen", "hyperv"), "size": sizes, "memaddr": addresses, "node": node}),
    (values.Use, {"id": some("u0", "u1"), "size": sizes, "kind": some("movable", "unmovable"), "seed": number(0, 7)}),
    (values.Free, {"id": some("u0", "u1")}),
    (values.Refuse, {"event": some("online", "offline"), "error": some("OK", "EBUSY", "ENOMEM")}),
    (values.Wait, {"seconds": some(0.0, 60.0, 1e7, 1e9)}),
    (
        values.Inject,
        {
            "at": some("online", "offline", "remove", "add_memory"),
            "error": some("EBUSY", "ENOMEM"),
            "times": number(1, 9),
        },
    ),
    (
        values.Inject,
        {"at": some("request"), "error": some("BUSY", "NACK", "garbage", "silence"), "times": number(1, 9)},
    ),
]


def guest(_random: Random) -> World:
    """A whole guest, and the steps that it plays."""
    guest = scenario.embedded_guest(SCENARIO)

    def play(kind: type, names: list[str]) -> Callable[..., Any]:
        return lambda *arguments: guest.play(kind(**dict(zip(names, arguments, strict=True))))

    calls: list[tuple[str, Callable[..., Any], list[Make]]] = [
        (f"play {kind.__name__} {list(fields)}", play(kind, list(fields)), list(fields.values()))
        for kind, fields in STEPS
    ]
    calls.append(("play", guest.play, [some(values.Load())]))

    def state() -> Any:
        kernel = guest.kernel
        devices = [device.info for device in guest.devices]
        return (
            memory_state(kernel.memory),
            devices,
            kernel.clock.now,
            [list(device.channel.faults) for device in guest.devices],
        )

    return World(calls, state, guest.check)


# -- texts and values in and out ----------------------------------------------------------------------------------------


def borders(_random: Random) -> World:
    """What needs only its arguments."""
    text = some("00000000-7fffffff : System RAM\n", b"", "{}", "[guest]\n")
    config: dict[Any, tuple[str, ...]] = {
        GuestConfig: (
            "machine",
            "memory",
            "max_memory",
            "slots",
            "memory_block_size",
            "default_state",
            "auto_movable_ratio",
            "nodes",
        ),
        DriverConfig: ("merge_resources", "force_bbm", "bbm_block_size"),
        DeviceConfig: ("id", "max_size", "block_size", "requested_size", "memaddr", "node", "name"),
        NodeConfig: ("id", "memory"),
    }

    def spoil(kind: Any, value: Any, random_field: Any) -> None:
        usual: dict[Any, dict[str, Any]] = {
            DeviceConfig: {"id": "vm0", "max_size": Size(GiB), "memaddr": Size(8 * GiB)},
            NodeConfig: {"id": 0},
        }
        fields = usual.get(kind, {})
        names = config[kind]
        made = kind(**{**fields, names[random_field % len(names) if isinstance(random_field, int) else 0]: value})
        guest = made if kind is GuestConfig else GuestConfig(nodes=[made]) if kind is NodeConfig else GuestConfig()
        driver = made if kind is DriverConfig else DriverConfig()
        devices = [made] if kind is DeviceConfig else []
        EmbeddedGuest(guest, driver, devices, SCENARIO.boot_iomem).check()

    calls: list[tuple[str, Callable[..., Any], list[Make]]] = [
        ("iomem.loads", iomem.loads, [text]),
        ("iomem.load", iomem.load, [some(Path("/nowhere"))]),
        ("iomem.dumps", iomem.dumps, [some(ResourceTree())]),
        ("scenario.loads", scenario.loads, [text]),
        ("scenario.load", scenario.load, [some("/nowhere", Path("/"))]),
        ("scenario.to_dict", scenario.to_dict, [some(SCENARIO)]),
        ("scenario.embedded_guest", scenario.embedded_guest, [some(SCENARIO)]),
        (
            "scenario.like",
            scenario.like,
            [some(SCENARIO), some({"kernel": "6.12"}, {"kernel": "x", "default-state": 1})],
        ),
        ("scenario.boot_listing", scenario.boot_listing, [some(1), some(1)]),
        ("scenario.play", scenario.play, [some(SCENARIO), some(None)]),
        ("recording.loads", recording.loads, [text]),
        ("recording.load", recording.load, [some("/nowhere")]),
        ("recording.dumps", recording.dumps, [some(None)]),
        ("crash_ranges", crash_ranges, [text]),
        ("Size.parse", Size.parse, [some("1G", 4096)]),
        *(
            (
                f"EmbeddedGuest {kind.__name__}",
                lambda value, at, kind=kind: spoil(kind, value, at),
                [some(*ODD), number(*range(8))],
            )
            for kind in config
        ),
    ]
    return World(calls, lambda: None, lambda: None)


WORLDS = (tree, tree, core, core, machine, guest, borders)
