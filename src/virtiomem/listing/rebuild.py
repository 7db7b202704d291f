"""A damaged listing read: what is wrong with it, line by line, and the tree of what is surely there.

See `listing.repair`, which imports this for a listing that the strict reader refuses.
"""

from collections.abc import Iterable, Iterator
from itertools import islice, pairwise

from virtiomem.errors import ListingError
from virtiomem.listing.damage import MAX_REPAIRS, Damage, Repair, Repairs
from virtiomem.listing.lines import Line, resource_lines
from virtiomem.listing.repair import Reading, remarked
from virtiomem.resource import iomem
from virtiomem.resource.iomem import spaces
from virtiomem.resource.meanings import meaning_of
from virtiomem.resource.names import is_system_ram
from virtiomem.resource.node import Resource, ResourceConflict, Trusted, overlapping_descendants
from virtiomem.resource.printed import MAX_SHOWN_DEPTH
from virtiomem.resource.tree import ResourceTree

_AROUND = 50
"""Lines above and below a damaged one that tell what kind of damage it is."""


def with_cure(error: ListingError, text: str) -> str:
    """Describe the damage of a line, its kind, and what `--lenient` would do about it."""
    first, around, lines = max(error.line - 1 - _AROUND, 0), Repairs(), text.split("\n")
    # With a newline at its end, unless the text ends there: else its last line would look cut short.
    near = "\n".join(lines[first : error.line + _AROUND] + [""] * (error.line + _AROUND < len(lines)))
    readable = resource_lines(near, around)
    here = [one for one in around if one.line <= error.line - first < one.line + one.times]
    told = next((one.what for one in here if one.damage in _KINDS_TOLD), error.reason)
    if not readable:
        return f"{told} (nor can --lenient read anything near it)"
    lost = any(one.lost for one in here)
    return f"{told} (--lenient {'reads the rest, and says at least' if lost else 'puts damage right'})"


_KINDS_TOLD = frozenset(Damage) - {Damage.SPELLING, Damage.NOT_A_LINE, Damage.INDENT}
"""Kinds that a line by itself does not tell, or that the strict reader has no word for."""


def rebuilt(text: str) -> Reading:
    """Read a listing whatever its damage. Raises ListingError for more damage than is possible."""
    repairs = Repairs()
    lines = resource_lines(text, repairs)
    if lines and all(line.start == line.end == 0 for line in lines):
        return Reading(_outline(lines), sorted(repairs, key=_by_line), masked=True)
    lost = _indent_is_lost(lines)
    # Without any indent a line that is like the one above may be its child.
    twice = dict(_few(_twice(lines, deepest=0 if lost else 2 * MAX_SHOWN_DEPTH)))
    # Without the duplicates: each would overlap its like, and the damage would be named wrong.
    sick = {} if lost else dict(_few(_diagnose(line for line in lines if line.number not in twice)))
    sick |= twice
    if lost:
        what = "no line is indented, though some are inside others"
        repairs.append(Repair(lines[0].number, Damage.INDENT_LOST, what, "nested by their ranges"))
    tree = _build(lines, sick, repairs)
    unnamed = sum(not line.name for line in lines)
    return Reading(tree, sorted(repairs, key=_by_line), False, unnamed, remarked(text))


def _by_line(repair: Repair) -> int:
    return repair.line


Sick = tuple[int, tuple[Damage, str]]
"""A damaged line's number, and what is wrong with it."""


def _few(found: Iterator[Sick]) -> Iterator[Sick]:
    """The damaged lines, no more than are needed to see that they are too many."""
    return islice(found, MAX_REPAIRS + 1)


# -- diagnosis: by the indentation --------------------------------------------------------------------------------------


def _indent_is_lost(lines: list[Line]) -> bool:
    """True when nothing is indented and yet a line is inside the one above it."""
    return (
        len(lines) > 1
        and not any(line.indent for line in lines)
        and any(_inside(line, above) and str(line) != str(above) for above, line in pairwise(lines))
    )


def _twice(lines: list[Line], *, deepest: int) -> Iterator[Sick]:
    """The lines that are there already, as when a listing was pasted twice.

    From the indent `deepest` on a line may also be inside its like, which is right above it then. A range of zeros is no
    range: there may be several.
    """
    seen: set[tuple[int, int, int, str]] = set()
    before: tuple[int, int, int, str] | None = None
    for line in lines:
        key = (line.indent, line.start, line.end, line.name)
        nested = line.indent >= deepest and key == before
        if key in seen and line.end != 0 and not nested:
            yield line.number, (Damage.DUPLICATE, f"{line} is there twice")
        seen.add(key)
        before = key


def _diagnose(lines: Iterable[Line]) -> Iterator[Sick]:
    """The damaged lines by number, as a strict reader that reads on after damage finds them."""
    open_lines: list[Line] = []
    siblings: list[Line | None] = [None]
    """The last line at each level: siblings[n] is inside open_lines[n - 1]."""
    for line in lines:
        level, odd = divmod(line.indent, 2)
        level = min(level, MAX_SHOWN_DEPTH)
        jump = level > len(open_lines)
        level = min(level, len(open_lines))
        if level == MAX_SHOWN_DEPTH:  # from here on each open line is inside the one before: ask the deepest first
            level = len(open_lines)
            while level > MAX_SHOWN_DEPTH and not _inside(line, open_lines[level - 1]):
                level -= 1
        del open_lines[level:], siblings[level + 1 :]
        parent = open_lines[-1] if open_lines else None
        damage = _damage_of(line, parent, siblings[level], odd=bool(odd), jump=jump)
        if damage is not None:
            yield line.number, damage
        siblings[level] = line
        siblings.append(None)
        open_lines.append(line)


def _damage_of(
    line: Line, parent: Line | None, before: Line | None, *, odd: bool, jump: bool
) -> tuple[Damage, str] | None:
    if line.end < line.start:
        return Damage.REVERSED, f"{line.range} ends before it starts"
    if odd:
        return Damage.INDENT, f"indented by {spaces(line.indent)}, not by two a level"
    if jump:
        return Damage.INDENT_JUMP, f"indented by {spaces(line.indent)}, more than one level below the line above"
    if parent is not None and not _inside(line, parent):
        return Damage.OUTSIDE_PARENT, f"{line.range} is outside its parent {parent}"
    if before is not None and line.start <= before.end:
        how = "overlaps" if line.end >= before.start else "precedes"
        return Damage.OVERLAP, f"{line.range} {how} its sibling {before}"
    return None


def _inside(line: Line, parent: Line) -> bool:
    return parent.start <= line.start and line.end <= parent.end


# -- the tree: by the ranges --------------------------------------------------------------------------------------------


class _Builder:
    """A tree of all lines, the sound ones first: the others take the room that is left."""

    def __init__(self) -> None:
        self.tree = ResourceTree()
        self.last: Resource = self.tree
        """What was placed last: the next line most often goes inside or next to it."""
        self.numbers: dict[Resource, int] = {}
        """The line of each resource: of two with the same range, the later line is inside."""

    def place(self, line: Line) -> tuple[str, bool]:
        """Put a line where its range fits, trimmed if it must be; return what was done, and whether it is whole."""
        kind = meaning_of(line.name)
        new = Trusted(line.start, line.end, kind.name, kind.flags, kind.desc)
        # RAM alone: sums go by it, and they promise no more than is there.
        if is_system_ram(line.name) and (other := self._in_doubt(new, line.number)):
            return f"left out: {other} is there", False
        while new.start <= new.end:
            holder = self._smallest_around(new, line.number)
            try:
                self.tree.insert_resource(holder, new)
            except ResourceConflict as taken:
                # Every conflict takes a part of the range away, so this ends.
                _give_way(new, taken.conflict)
                continue
            self.numbers[new] = line.number
            self.last = new
            where = "at the top level" if holder is self.tree else f"under {_shown(holder)}"
            if (new.start, new.end) == (line.start, line.end):
                return f"put {where}", True
            return f"trimmed to {new.start:08x}-{new.end:08x}, {where}", False
        return "left out: all its range is taken", False

    def _in_doubt(self, new: Resource, number: int) -> str:
        """Describe why System RAM is not where it says: RAM that it overlaps in part or is around, or what stands above it and
        has not room for all of it; empty where nothing does.
        """
        for node in overlapping_descendants(self.tree, new.start, new.end):
            if not node.contains(new.start, new.end):
                if is_system_ram(node.name):
                    return "other RAM"
                if self.numbers[node] < number:
                    return _shown(node)
        return ""

    def _smallest_around(self, new: Resource, number: int) -> Resource:
        """The deepest resource that holds all of `new`, unless it has the same range from a later line."""
        holder = self.last
        while holder.parent is not None and not self._holds(holder, new, number):
            holder = holder.parent
        while (child := holder.lookup(new.start)) is not None and self._holds(child, new, number):
            holder = child
        return holder

    def _holds(self, node: Resource, new: Resource, number: int) -> bool:
        if (node.start, node.end) == (new.start, new.end):
            return self.numbers[node] < number
        return node.contains(new.start, new.end)


def _build(lines: list[Line], sick: dict[int, tuple[Damage, str]], repairs: Repairs) -> ResourceTree:
    builder = _Builder()
    digits_lost = _digits_are_lost(lines, sick, repairs)
    for line in lines:
        # A start that has lost a digit is a valid address somewhere else, and would make gigabytes of RAM.
        if digits_lost and line.narrow and is_system_ram(line.name):
            what = f"{line.range} starts with fewer digits than it ends"
            remedy = "left out: whether it lost some, as other lines did, is not known"
            repairs.append(Repair(line.number, Damage.DIGITS, what, remedy, lost=True))
            sick.pop(line.number, None)
        elif line.number not in sick:
            remedy, whole = builder.place(line)
            if not whole:
                what = f"{line.range} overlaps a resource elsewhere"
                repairs.append(Repair(line.number, Damage.OVERLAP, what, remedy, lost=True))
    for line in lines:
        if line.number in sick:
            # After all sound lines: what is damaged must give way to them, wherever it stood.
            damage, what = sick[line.number]
            # Of these nothing can be kept: no range, or one that is there already.
            dead = damage in {Damage.REVERSED, Damage.DUPLICATE} or line.start == line.end == 0
            remedy, whole = ("left out", damage is Damage.DUPLICATE) if dead else builder.place(line)
            # In the last two kinds the line of the parent may be what is missing.
            lost = not whole or line.short or damage in {Damage.OUTSIDE_PARENT, Damage.INDENT_JUMP}
            repairs.append(Repair(line.number, damage, what, remedy, lost=lost))
    iomem.claim_low(builder.tree)
    return builder.tree


def _digits_are_lost(lines: list[Line], sick: dict[int, tuple[Damage, str]], repairs: Repairs) -> bool:
    """Return whether any line has visibly lost digits; then other lines may have lost some invisibly."""
    astray = (Damage.OUTSIDE_PARENT, Damage.OVERLAP)
    return any(one.damage is Damage.DIGITS for one in repairs) or any(
        damage is Damage.REVERSED or (line.narrow and damage in astray)
        for line in lines
        for damage, _ in [sick.get(line.number, (None, ""))]
    )


def _shown(node: Resource) -> str:
    return f"{node.start:08x}-{node.end:08x} : {node.name}"


def _give_way(new: Resource, taken: Resource) -> None:
    """Trim `new` to what is below `taken`, or else above it."""
    if new.start < taken.start:
        new.end = taken.start - 1
    else:
        new.start = taken.end + 1


def _outline(lines: list[Line]) -> ResourceTree:
    """The names of a masked listing in their nesting."""
    level = 0
    shown: list[str] = []
    for line in lines:
        level = min(line.indent // 2, level + 1 if shown else 0, MAX_SHOWN_DEPTH)
        shown.append(f"{'  ' * level}{line}\n")
    return iomem.loads("".join(shown), allow_masked=True)
