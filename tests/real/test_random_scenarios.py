"""Scenarios nobody prepared, played on a stock Linux and on the embedded guest: the two recordings must be the same.

Every scenario follows from its number. `make compare-random N=50` plays that many (FIRST=1000 begins elsewhere); without
being asked, a few are played.
"""

import os
import random

import pytest

from virtiomem import scenario
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.recording.compare import compare
from virtiomem.units import GiB, MiB, align_up, format_size

pytestmark = pytest.mark.real

NUMBERS = range(
    first := int(os.environ.get("VIRTIOMEM_RANDOM_FIRST", "1")), first + int(os.environ.get("VIRTIOMEM_RANDOM", "3"))
)

BLOCK = 128 * MiB
STATES = ("offline", "online", "online_kernel", "online_movable")


class Writer:
    """Writes one scenario; every choice comes from one seeded source."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(number)
        self.lines = [f'title = "random scenario {number}"', ""]
        self.loaded = False
        self.dimms: list[str] = []

    def write(self) -> str:
        """The scenario as TOML."""
        self.guest()
        self.driver()
        self.devices = [self.device(f"vm{number}") for number in range(self.random.choice((1, 1, 1, 2)))]
        self.step(do="load")
        self.loaded = True
        for _ in range(self.random.randint(4, 9)):
            self.any_step()
        return "\n".join(self.lines) + "\n"

    def table(self, name: str, **pairs: object) -> None:
        self.lines.append(name)
        for key, value in pairs.items():
            text = str(value).lower() if isinstance(value, bool | int | list) else f'"{value}"'
            self.lines.append(f"{key.replace('_', '-')} = {text}")
        self.lines.append("")

    def step(self, **pairs: object) -> None:
        self.table("[[step]]", **pairs)

    def guest(self) -> None:
        choose = self.random.choice
        self.memory = choose((1 * GiB, 2 * GiB, 4 * GiB, 4 * GiB, 4224 * MiB, 6 * GiB))
        self.machine = choose(("q35", "q35", "pc"))
        self.slots = choose((0, 0, 2))
        policy = {"online_policy": "auto-movable"} if self.random.random() < 0.25 else {}
        if policy and self.random.random() < 0.5:
            policy["auto_movable_ratio"] = choose((0, 50, 100, 301))  # type: ignore[assignment]
        self.table(
            "[guest]",
            machine=self.machine,
            memory=format_size(self.memory),
            max_memory=format_size(self.memory + 32 * GiB),
            slots=self.slots,
            default_state=choose(STATES),
            **policy,
        )

    def driver(self) -> None:
        chance = self.random.random
        pairs: dict[str, object] = {}
        if chance() < 0.15:
            pairs["unplug_online"] = False
        if chance() < 0.2:
            pairs["force_bbm"] = True
            if chance() < 0.5:
                pairs["bbm_block_size"] = self.random.choice(("256M", "512M", "1G", "64M", "300M"))
            if chance() < 0.3:
                pairs["bbm_safe_unplug"] = False
        if pairs:
            self.table("[driver]", **pairs)

    def device(self, name: str) -> tuple[str, int, int]:
        """A device; returns its id, block size and max size."""
        block = self.random.choice((1, 2, 2, 2, 4, 8, 32, 64, 128, 256)) * MiB
        size = align_up(
            self.random.choice((1, 2, 3, 4)) * GiB - self.random.choice((0, 0, 70 * MiB)), max(block, 2 * MiB)
        )
        requested = self.size(block, size) if self.random.random() < 0.4 else 0
        self.table(
            "[[device]]",
            id=name,
            max_size=format_size(size),
            block_size=format_size(block),
            requested_size=format_size(requested),
        )
        return name, block, size

    def size(self, block: int, limit: int) -> int:
        """A requested size: round, odd or extreme."""
        wish = self.random.choice(
            (0, limit, self.random.randrange(limit), self.random.randrange(limit), self.random.randrange(16) * BLOCK)
        )
        return min(wish - wish % block, limit)

    def any_step(self) -> None:
        kinds = ["resize"] * 8 + ["state"] * 5 + ["unload", "load", "reboot", "wait"]
        kinds += ["dimm"] * 2 if self.slots else []
        match self.random.choice(kinds):
            case "resize":
                name, block, size = self.random.choice(self.devices)
                wish = self.size(block, size) + (self.random.random() < 0.05 and block // 2)
                self.step(do="resize", device=name, requested_size=format_size(wish))
            case "state":
                self.set_state()
            case "unload":
                self.step(do="unload" if self.loaded else "load")
                self.loaded = not self.loaded
            case "load":
                self.step(do="load")
                self.loaded = True
            case "reboot":
                self.step(do="reboot")
                self.loaded = False
                self.step(do="load")
                self.loaded = True
            case "wait":
                self.step(do="wait", seconds=self.random.choice((1, 2)))
            case "dimm":
                self.dimm()

    def set_state(self) -> None:
        """Blocks of hotplugged memory, some of them not there."""
        low = 2 * GiB if self.machine == "q35" else 3 * GiB
        above = self.memory - low if self.memory >= (0xB0000000 if self.machine == "q35" else 0xE0000000) else 0
        base = align_up(4 * GiB + above, GiB) // BLOCK
        first = base + self.random.randrange(12)
        blocks = sorted({first + self.random.randrange(8) for _ in range(self.random.randint(1, 6))})
        self.step(do="set-state", blocks=blocks, state=self.random.choice(STATES))

    def dimm(self) -> None:
        if self.dimms and self.random.random() < 0.5:
            self.step(do="unplug-dimm", id=self.dimms.pop())
            return
        name = f"dimm{sum('plug-dimm' in line for line in self.lines)}"
        self.dimms.append(name)
        self.step(do="plug-dimm", id=name, size=self.random.choice(("128M", "512M", "1G")))


@pytest.mark.on(linux="every", qemu="every")
@pytest.mark.proves("random scenarios")
@pytest.mark.parametrize("number", NUMBERS)
def test_both_guests_do_the_same(number: int, setup: Setup) -> None:
    text = Writer(number).write()
    played = scenario.loads(text)
    with LinuxGuest(played.guest, played.devices, played.driver, setup=setup) as real:
        expected = scenario.play(played, real)
    embedded = scenario.embedded_guest(scenario.like(played, expected.guest), expected.boot)
    difference = compare(expected, scenario.play(played, embedded))
    assert difference is None, f"{difference}\n\n{text}"
