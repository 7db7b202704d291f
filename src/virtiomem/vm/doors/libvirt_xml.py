"""A domain's XML as libvirt gives it: its memory devices read, and one of them written as libvirt takes it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

from virtiomem.qemu.validation import NAME, Unsound, read
from virtiomem.recording.values import DimmInfo
from virtiomem.units import U64_MAX, MiB, is_power_of_two, libvirt_unit
from virtiomem.vm.model import Device, OtherMemory, VirtioMemDevice

MAX_XML = 4 * MiB
"""Characters; a domain of 256 devices has about 150 K."""
MAX_DEVICES = 4096


class WrongXml(ValueError):  # noqa: N818 - an impossible answer; the caller makes an error of it
    """XML that no libvirt gives; says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class DomainXml:
    """Values read from a running domain's XML; sizes in bytes."""

    boot_memory: int
    devices: tuple[Device, ...]
    vfio: tuple[str, ...]
    """PCI devices of the host that the guest has, by their addresses."""
    elements: dict[str, str]
    """The XML of each memory device, by its id."""


def read_domain(text: str) -> DomainXml:
    """Read a domain's XML; WrongXml says what is wrong with it.

    Source: the format is docs/formatdomain of libvirt 9.0. An address that is not reported is None, and so is a plugged size.
    """
    root = _parsed(text)
    elements = root.findall("./devices/memory")
    if len(elements) > MAX_DEVICES:
        raise WrongXml(f"{len(elements)} memory devices, more than {MAX_DEVICES}")
    devices = tuple(_device(element) for element in elements)
    ids = [device.id for device in devices]
    # A size set by alias would reach the first of the two, and be looked for at the other.
    if len(set(ids)) < len(ids):
        raise WrongXml(f"two devices have the alias {next(name for name in ids if ids.count(name) > 1)}")
    given = sum(_size(element.find("./target/size"), "target/size") for element in elements)
    return DomainXml(
        boot_memory=_boot_memory(root, given),
        devices=devices,
        vfio=tuple(_vfio(root)),
        elements=dict(zip(ids, (ET.tostring(element, encoding="unicode") for element in elements), strict=True)),
    )


def with_requested(element: str, size: int) -> str:
    """A memory device's XML with another requested size, in bytes."""
    device = ET.fromstring(element)  # noqa: S314 - our own text of what `read_domain` has read
    requested = device.find("./target/requested")
    assert requested is not None
    # The unit as well: the text came in KiB.
    requested.text, requested.attrib["unit"] = str(size), "bytes"
    return ET.tostring(device, encoding="unicode")


def stored_element(text: str, running: str) -> str | None:
    """The XML of a running domain's memory device in the XML of its stored configuration; None when it is not there.

    The stored one has no alias but the user's own, so that it is known by its address.
    """
    place = _place(ET.fromstring(running))  # noqa: S314 - our own text of what `read_domain` has read
    # Without an address nothing matches: an empty place would match every device without one.
    found = (element for element in _parsed(text).findall("./devices/memory") if place and _place(element) == place)
    return next((ET.tostring(element, encoding="unicode") for element in found), None)


def new_device(
    kind: Literal["virtio-mem", "dimm"], size: int, *, name: str, node: int, block_size: int, requested: int
) -> str:
    """The XML of a memory device to be attached; sizes in bytes, `name` is what libvirt knows it by: it begins with ``ua-``."""
    own = f"<block unit='bytes'>{block_size}</block><requested unit='bytes'>{requested}</requested>"
    return (
        f"<memory model={quoteattr(kind)}><target><size unit='bytes'>{size}</size>"
        f"<node>{node}</node>"
        + (own if kind == "virtio-mem" else "")
        + f"</target><alias name={quoteattr(name)}/></memory>"
    )


def _place(element: ET.Element) -> dict[str, str]:
    place = element.find("./address")
    return {} if place is None else place.attrib


def _parsed(text: str) -> ET.Element:
    if len(text) > MAX_XML:
        raise WrongXml(f"its XML has {len(text)} characters, more than {MAX_XML}")
    # libvirt's XML has none, and only through one can entities expand beyond the limit above.
    if "<!DOCTYPE" in text:
        raise WrongXml("its XML has a DOCTYPE")
    try:
        return ET.fromstring(text)  # noqa: S314 - bounded above, and without a DOCTYPE nothing expands
    except (ET.ParseError, UnicodeError) as error:
        raise WrongXml(f"its XML cannot be parsed: {error}") from None


def _device(element: ET.Element) -> Device:
    alias, target = element.find("./alias"), element.find("./target")
    try:
        name = read("" if alias is None else alias.get("name"), NAME)
    except Unsound as error:
        raise WrongXml(str(error.below("alias"))) from None
    if target is None:
        raise WrongXml(f"{name} has no target")
    size = _size(target.find("size"), f"{name}: size")
    node = _number(target.findtext("node") or "0", f"{name}: node")
    place = element.find("./address")
    base = None if place is None or "base" not in place.attrib else _number(place.attrib["base"], f"{name}: base")
    model = element.get("model")
    if model != "virtio-mem":
        return (DimmInfo if model == "dimm" else OtherMemory)(id=name, addr=base or 0, size=size, node=node)
    block = _size(target.find("block"), f"{name}: block")
    if not is_power_of_two(block):
        raise WrongXml(f"{name}: its block size, {block}, is not a power of two")
    # Newer libvirt reports where the memory lies below the target; the element's own address is the PCI device's.
    own = target.find("address")
    current = target.find("current")
    return VirtioMemDevice(
        id=name,
        memaddr=base if own is None else _number(own.get("base", ""), f"{name}: base"),
        max_size=size,
        requested_size=_size(target.find("requested"), f"{name}: requested"),
        size=None if current is None else _size(current, f"{name}: current"),
        block_size=block,
        node=node,
    )


def _boot_memory(root: ET.Element, given: int) -> int:
    """The memory of all NUMA cells; without any, what the domain has less its devices, which libvirt counts in full."""
    cells = root.findall("./cpu/numa/cell")
    # A domain with NUMA cells has its devices in <memory> and not in the cells.
    if cells:
        return sum(_scaled(cell.get("memory", ""), cell.get("unit", ""), "cell") for cell in cells)
    return max(_size(root.find("./memory"), "memory") - given, 0)


def _vfio(root: ET.Element) -> Iterator[str]:
    for place in root.findall("./devices/hostdev[@type='pci']/source/address"):
        parts = [_number(place.get(part, "0"), "hostdev") for part in ("domain", "bus", "slot", "function")]
        yield "{:04x}:{:02x}:{:02x}.{:x}".format(*parts)


def _size(element: ET.Element | None, where: str) -> int:
    """A size in bytes."""
    if element is None:
        raise WrongXml(f"{where} is missing")
    return _scaled(element.text or "", element.get("unit", ""), where)


def _scaled(text: str, unit: str, where: str) -> int:
    factor = libvirt_unit(unit)
    if factor is None:
        raise WrongXml(f"{where}: {unit!r} is not a unit")
    # Checked after scaling: a number below 2^64 may be beyond it in TiB.
    size = _number(text.strip(), where) * factor
    if size > U64_MAX:
        raise WrongXml(f"{where} is beyond 2^64 bytes")
    return size


_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,16}|[0-9]{1,20}")


def _number(text: str, where: str) -> int:
    """A number below 2^64, decimal or 0x…"""
    number = int(text, 16 if text.startswith("0x") else 10) if _NUMBER.fullmatch(text) else U64_MAX + 1
    if number > U64_MAX:
        raise WrongXml(f"{where}: {text[:40]!r} is not a number below 2^64")
    return number
