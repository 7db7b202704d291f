"""On which kernel and in which QEMU a real test runs, and what came of it: a table at the end.

A test says with `on` what it is about: `linux` and `qemu` are ``every``, a series such as ``6.1``, or nothing, which is the
newest kernel that continuous integration must have, and the installed QEMU. `proves` names what it counts as in the table.
With VIRTIOMEM_REAL=some, the installed QEMU meets every kernel, the others that one kernel; and what is run off the pair of
those two is a slice: the first tests of each file. Two kinds of tests are run whole: those that name their kernel, and those
of a `shared` guest, which are run on the kernels that continuous integration must have, and on no other.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from docs.matrix import ALONE, Difference, Ran
from tests.real.needs import REQUIRED_KERNELS, series
from virtiomem.guest.linux.kernels import version_key

EVERY = "every"
SLICE = 3
SLICE_WITH_GUEST = 1
"""How many tests of one file are run on a pair that is only to be seen at work. A guest takes half a minute to boot."""
NO_GUEST = ALONE


class Cell(NamedTuple):
    """A pair: the series of a kernel (NO_GUEST without one) and the program of a QEMU."""

    linux: str
    qemu: str


@dataclass(frozen=True)
class Found:
    """What is here: series of kernels with releases, programs of QEMU with versions; the installed QEMU comes first."""

    kernels: Mapping[str, str]
    qemus: Mapping[str, str]
    some: bool = False

    def cells(self, linux: str | None, qemu: str | None, *, shared: bool = False) -> list[Cell]:
        """The pairs that a test is run on; what is asked for and not here is among them."""
        linuxes = [NO_GUEST] if linux == NO_GUEST else self._linuxes(linux)
        if shared and self.some:
            linuxes = [one for one in linuxes if one in REQUIRED_KERNELS]
        return [Cell(one, other) for other in self._qemus(qemu) for one in linuxes if self._meet(one, other)]

    def _linuxes(self, wanted: str | None) -> list[str]:
        if wanted == EVERY:
            return sorted({*self.kernels, *REQUIRED_KERNELS}, key=version_key)
        return [wanted or REQUIRED_KERNELS[-1]]

    def _qemus(self, wanted: str | None) -> list[str]:
        if wanted == EVERY:
            return list(self.qemus)
        first = next(iter(self.qemus))
        return [next((it for it in self.qemus if series(self.qemus[it]) == wanted), wanted or first)]

    def _meet(self, linux: str, qemu: str) -> bool:
        return not self.some or linux in (NO_GUEST, REQUIRED_KERNELS[-1]) or qemu == next(iter(self.qemus))

    def slice_of(self, cell: Cell) -> int | None:
        """How many tests of each file are run on a pair; None for all of them."""
        if not self.some or (cell.linux in (NO_GUEST, REQUIRED_KERNELS[-1]) and cell.qemu == next(iter(self.qemus))):
            return None
        return SLICE if cell.linux == NO_GUEST else SLICE_WITH_GUEST

    def names(self, cell: Cell) -> tuple[str, str]:
        """The releases of a pair, for people."""
        return self.kernels.get(cell.linux, cell.linux), self.qemus.get(cell.qemu, cell.qemu)


@dataclass
class Outcomes:
    """How many passed, failed and were skipped of each thing in each pair, and why they were skipped."""

    counts: dict[tuple[str, str], dict[str, Counter[str]]] = field(default_factory=dict)
    skipped: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    failed: dict[tuple[str, str], dict[str, list[Difference]]] = field(default_factory=dict)

    def add(self, pair: tuple[str, str], what: str, outcome: str, name: str = "", reason: str = "") -> None:
        """Count one test; `reason` is why it was skipped or failed."""
        self.counts.setdefault(pair, {}).setdefault(what, Counter())[outcome] += 1
        if outcome == "skipped":
            self.skipped.setdefault(pair, Counter())[reason] += 1
        elif outcome == "failed":
            self.failed.setdefault(pair, {}).setdefault(what, []).append(Difference(where=name, what=reason))

    def runs(self, command: str) -> Iterator[Ran]:
        """Everything that passed or failed, as docs/compatibility/ keeps it."""
        for (linux, qemu), things in self.counts.items():
            for what, count in things.items():
                if tried := count["passed"] + count["failed"]:
                    yield Ran(
                        what=what,
                        linux=linux,
                        qemu=qemu,
                        tried=tried,
                        equal=count["passed"],
                        differences=self.failed.get((linux, qemu), {}).get(what, []),
                        command=command,
                    )

    def table(self, linuxes: Iterable[str], qemus: Sequence[str]) -> list[str]:
        """A paragraph for each kernel, with a line for each QEMU."""
        lines = []
        for linux in linuxes:
            lines.append(f"Linux {linux}" if linux != NO_GUEST else "no guest")
            lines += [f"  QEMU {qemu:9} {self._said((linux, qemu))}" for qemu in qemus]
        return lines

    def _said(self, pair: tuple[str, str]) -> str:
        if pair not in self.counts:
            return "not run"
        parts = [f"{what}: {_counted(count)}" for what, count in sorted(self.counts[pair].items())]
        reasons = [f"{count} skipped: {reason}" for reason, count in self.skipped.get(pair, Counter()).items()]
        return "; ".join([*parts, *reasons])


def _counted(count: Counter[str]) -> str:
    bad = [f"{count[outcome]} {outcome}" for outcome in ("failed", "skipped") if count[outcome]]
    return ", ".join([f"{count['passed']} ok", *bad])
