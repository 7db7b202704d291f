"""Malformed chains: each shape turns a well-formed placement into another that a device must not accept.

Names are those of the recorded request logs.
"""

from dataclasses import replace
from random import Random

from virtiomem.transport.vring import Chain, Placement, Shape
from virtiomem.wire.ring import DESCRIPTOR_SIZE, Descriptor, DescriptorFlag

_NEXT = DescriptorFlag.NEXT
_WRITE = DescriptorFlag.WRITE


def loop(placement: Placement, _: int) -> Placement:
    """The last descriptor leads back to the first."""
    *others, last = placement.descriptors
    return replace(placement, descriptors=(*others, last._replace(flags=last.flags | _NEXT, next=placement.first)))


def in_before_out(placement: Placement, _: int) -> Placement:
    """A readable descriptor after a writable one."""
    turned = sorted(placement.descriptors, key=lambda descriptor: not descriptor.flags & _WRITE)
    return replace(placement, descriptors=_relinked(turned, placement.first))


def head_out_of_range(placement: Placement, size: int) -> Placement:
    """The available ring names a descriptor that the queue does not have."""
    return replace(placement, head=size + 7)


def next_out_of_range(placement: Placement, size: int) -> Placement:
    """The first descriptor leads out of the table."""
    first, *others = placement.descriptors
    return replace(placement, descriptors=(first._replace(flags=first.flags | _NEXT, next=size + 5), *others))


def indirect_badlen(placement: Placement, _: int) -> Placement:
    """The indirect table's length is not a whole number of descriptors."""
    (outer,) = placement.descriptors
    return replace(placement, descriptors=(outer._replace(len=outer.len + DESCRIPTOR_SIZE // 2),))


def readable_loop(placement: Placement, _: int) -> Placement:
    """The first descriptor leads to itself."""
    first, *others = placement.descriptors
    return replace(placement, descriptors=(first._replace(flags=first.flags | _NEXT, next=placement.first), *others))


def indirect_empty(placement: Placement, _: int) -> Placement:
    """The indirect table has no length."""
    (outer,) = placement.descriptors
    return replace(placement, descriptors=(outer._replace(len=0),))


def indirect_next_out_of_range(placement: Placement, _: int) -> Placement:
    """Inside the indirect table, the first descriptor leads out of it."""
    first, *others = placement.table
    beyond = len(placement.table)
    return replace(placement, table=(first._replace(flags=first.flags | _NEXT, next=beyond), *others))


def indirect_loop(placement: Placement, _: int) -> Placement:
    """Inside the indirect table, the first descriptor leads to itself."""
    first, *others = placement.table
    return replace(placement, table=(first._replace(flags=first.flags | _NEXT, next=0), *others))


def indirect_in_indirect(placement: Placement, _: int) -> Placement:
    """Inside the indirect table, the first descriptor says that it is a table, too (which the driver must not do)."""
    first, *others = placement.table
    return replace(placement, table=(first._replace(flags=first.flags | DescriptorFlag.INDIRECT), *others))


def indirect_with_next(placement: Placement, _: int) -> Placement:
    """The descriptor of the indirect table goes on, too (which the driver must not do)."""
    (outer,) = placement.descriptors
    return replace(placement, descriptors=(outer._replace(flags=outer.flags | _NEXT, next=placement.first),))


def indirect_marked_writable(placement: Placement, _: int) -> Placement:
    """The descriptor of the indirect table has the write flag, which means nothing."""
    (outer,) = placement.descriptors
    return replace(placement, descriptors=(outer._replace(flags=outer.flags | _WRITE),))


def indirect_behind_direct(placement: Placement, _: int) -> Placement:
    """The first buffer has a descriptor of its own; the table with the rest follows it in the chain."""
    (outer,) = placement.descriptors
    first, *rest = placement.table
    direct = first._replace(flags=first.flags | _NEXT, next=placement.first + 1)
    table = _relinked(rest, 0)
    return replace(placement, descriptors=(direct, outer._replace(len=len(table) * DESCRIPTOR_SIZE)), table=table)


def scrambled(seed: str) -> Shape:
    """One to three fields of the chain's descriptors are changed at random, the same ones for the same seed."""

    def shape(placement: Placement, size: int) -> Placement:
        rng = Random(seed)
        descriptors, table = list(placement.descriptors), list(placement.table)
        for _ in range(rng.randint(1, 3)):
            # Mostly the table, where the buffers of an indirect chain are described.
            target = table if table and rng.random() < 0.7 else descriptors
            number = rng.randrange(len(target))
            target[number] = _changed(target[number], rng, size)
        return replace(placement, descriptors=tuple(descriptors), table=tuple(table))

    return shape


def _changed(descriptor: Descriptor, rng: Random, size: int) -> Descriptor:
    """Change a flag, next, length or address, but never so that the device takes other bytes for descriptors.

    Those could point anywhere, and only a whole machine has memory there.
    """
    is_table = descriptor.flags & DescriptorFlag.INDIRECT
    match rng.randrange(3 if is_table else 4):
        case 0:
            flags = [DescriptorFlag.NEXT, DescriptorFlag.WRITE, is_table, 1 << 3, 1 << 15]
            return descriptor._replace(flags=descriptor.flags ^ int(rng.choice(flags)))
        case 1:
            return descriptor._replace(next=rng.choice((0, 1, 2, 3, size - 1, size, 0xFFFF)))
        case 2:
            lengths = (0, 1, 15, 16, 24) if is_table else (0, 1, 9, 10, 16, 23, 24, 32, 48, 4096)
            return descriptor._replace(len=rng.choice(lengths))
        case _:
            return descriptor._replace(addr=descriptor.addr + rng.choice((-16, -1, 1, 8, 24)))


DIRECT_SHAPES: dict[str, Shape] = {
    "loop": loop,
    "in_before_out": in_before_out,
    "head_out_of_range": head_out_of_range,
    "next_out_of_range": next_out_of_range,
    "readable_loop": readable_loop,
}
INDIRECT_SHAPES: dict[str, Shape] = {
    "indirect_badlen": indirect_badlen,
    "indirect_empty": indirect_empty,
    "indirect_next_out_of_range": indirect_next_out_of_range,
    "indirect_loop": indirect_loop,
    "indirect_in_indirect": indirect_in_indirect,
    "indirect_with_next": indirect_with_next,
    "indirect_marked_writable": indirect_marked_writable,
    "indirect_behind_direct": indirect_behind_direct,
}


def shaped(readable: tuple[bytes, ...], writable: tuple[int, ...], name: str | None) -> Chain:
    """A chain of these buffers, laid out as `name` says; raises ValueError for an unknown name."""
    if name is None:
        return Chain(readable, writable)
    if name == "indirect":
        return Chain(readable, writable, indirect=True)
    kind, _, seed = name.partition(":")
    if kind in {"scrambled", "indirect_scrambled"}:
        return Chain(readable, writable, indirect=kind != "scrambled", shape=scrambled(seed))
    if name in INDIRECT_SHAPES:
        return Chain(readable, writable, indirect=True, shape=INDIRECT_SHAPES[name])
    if name in DIRECT_SHAPES:
        return Chain(readable, writable, shape=DIRECT_SHAPES[name])
    raise ValueError(f"unknown descriptor layout {name!r}")


def _relinked(descriptors: list[Descriptor], first: int) -> tuple[Descriptor, ...]:
    last = len(descriptors) - 1
    return tuple(
        descriptor._replace(
            flags=descriptor.flags & ~int(_NEXT) | (_NEXT if number < last else 0),
            next=first + number + 1 if number < last else 0,
        )
        for number, descriptor in enumerate(descriptors)
    )
