"""A kernel just built with `make`: its modules where the compiler left them, and what its configuration lacks.

`make modules_install` writes modules.dep; before it, a module names those that it needs itself, and the tree's modules.order
and modules.builtin say which modules there are.
"""

import re
from pathlib import Path

REQUIRED = {
    "BLK_DEV_INITRD": "the guest's root is an initramfs",
    "BINFMT_ELF": "its programs are busybox",
    "BINFMT_SCRIPT": "and a shell script",
    "PROC_FS": "/proc/iomem is looked at",
    "SYSFS": "memory blocks are looked at",
    "DEVTMPFS": "the guest's serial ports are files",
    "SERIAL_8250_CONSOLE": "the guest is spoken to through serial ports",
    "PCI": "virtio-mem is a PCI device",
    "ACPI": "the processor's and the devices' interrupts are found through it",
    "MEMORY_HOTPLUG": "memory is added",
    "MEMORY_HOTREMOVE": "memory is removed",
    "VIRTIO_PCI": "the transport",
    "VIRTIO_MEM": "the driver",
}
"""Options that the guest requires: CONFIG name and purpose (docs/test.md lists their own requirements)."""

IMAGE = Path("arch/x86/boot/bzImage")
"""Where `make` puts the image."""

_DEPENDS = re.compile(rb"\0depends=([\w,-]*)\0")


def tree_of(image: Path) -> Path | None:
    """The tree that a bzImage lies in, as `make` puts it (arch/x86/boot/bzImage); None when it lies elsewhere."""
    resolved = image.resolve()
    tree = next((parent for parent in resolved.parents if (parent / ".config").is_file()), None)
    return (
        tree if tree is not None and resolved.parent.parts[-len(IMAGE.parent.parts) :] == IMAGE.parent.parts else None
    )


def lacking(config: str) -> list[str]:
    """Return the options of `REQUIRED` that a .config lacks."""
    chosen = set(re.findall(r"^CONFIG_(\w+)=[ym]$", config, re.MULTILINE))
    return [name for name in REQUIRED if name not in chosen]


def dependencies(tree: Path) -> dict[str, tuple[str, ...]]:
    """Return the contents of modules.dep: each module's path and its dependencies, the one to load first at the end.

    Raises OSError when a module that modules.order lists cannot be read.
    """
    listed = (tree / "modules.order").read_text().split() if (tree / "modules.order").is_file() else []
    paths = {_name(path): path.removesuffix(".o").removesuffix(".ko") + ".ko" for path in listed}
    needs = {name: _needs((tree / path).read_bytes()) for name, path in paths.items() if (tree / path).is_file()}
    return {paths[name]: tuple(paths[each] for each in _closure(name, needs)) for name in needs}


def _closure(name: str, needs: dict[str, list[str]]) -> list[str]:
    """Return all modules that a module needs, directly or not; each once, before the modules that it needs itself."""
    order: list[str] = []

    def visit(each: str) -> None:
        for other in needs.get(each, ()):
            if other in needs and other not in order:
                visit(other)
                order.append(other)

    visit(name)
    # As depmod writes it, so that `load_order` reads both alike.
    return order[::-1]


def _needs(module: bytes) -> list[str]:
    """The modules that a module's .modinfo section names."""
    # In the bytes of the whole module: .modinfo is a list of strings that end with NUL, and no ELF reader is needed.
    match = _DEPENDS.search(module)
    return [each.replace("-", "_") for each in match[1].decode().split(",") if each] if match else []


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")
