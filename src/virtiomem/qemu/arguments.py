"""QEMU's command line for a machine with memory devices, option by option; sizes in bytes."""

BARE = ("-nodefaults", "-no-user-config", "-display", "none")
"""A machine with nothing in it that was not asked for."""

MONITOR = ("-qmp", "chardev:qmp")
"""A monitor on the socket named ``qmp``; QEMU 11.1 warns that ``-mon`` goes."""


def option(name: str, **properties: object) -> str:
    """A name and the properties that are not None, an underscore standing for a dash: ``node,nodeid=0``."""
    # A property that is None stays QEMU's own default, which differs between releases.
    given = (f"{key.replace('_', '-')}={value}" for key, value in properties.items() if value is not None)
    return ",".join((name, *given))


def machine(kind: str, *, memory_backend: str | None = None) -> list[str]:
    """The machine; `memory_backend` has its boot memory, unless its nodes have that."""
    return ["-machine", option(kind, memory_backend=memory_backend)]


def memory(size: int, limit: int, *, slots: int | None = None) -> list[str]:
    """Boot memory, and how much there may be with all memory devices."""
    # With a unit: a bare number would be MiB.
    return ["-m", option(f"size={size}b", maxmem=f"{limit}b", slots=slots)]


def sockets(folder: str) -> list[str]:
    """A monitor, and a line to a guest agent, which listen in a folder: what `virtiomem vm -c qmp:… --agent …` connects to."""
    agent = option("socket", id="agent", path=f"{folder}/agent.sock", server="on", wait="off")
    port = "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"
    monitor = f"unix:{folder}/monitor.sock,server=on,wait=off"
    return ["-qmp", monitor, "-device", "virtio-serial-pci", "-chardev", agent, "-device", port]


def backend(identifier: str, size: int) -> list[str]:
    """Memory behind a device or a node; it takes nothing of the host before the guest touches it."""
    # reserve=off (QEMU 6.1): machines of 64 GiB start on hosts that could never back them.
    return ["-object", option("memory-backend-ram", id=identifier, size=size, reserve="off")]


def backend_object(identifier: str, size: int) -> dict[str, object]:
    """The same for QMP's object-add."""
    return {"qom-type": "memory-backend-ram", "id": identifier, "size": size, "reserve": False}


def node(number: int, *, memdev: str | None = None, cpus: int | None = None) -> list[str]:
    """A NUMA node."""
    return ["-numa", option("node", nodeid=number, memdev=memdev, cpus=cpus)]


def virtio_mem(identifier: str, size: int, **properties: object) -> list[str]:
    """A virtio-mem device with its backend; None is QEMU's default."""
    memdev = f"mem-{identifier}"
    device = option("virtio-mem-pci", id=identifier, memdev=memdev, **properties)
    return [*backend(memdev, size), "-device", device]
