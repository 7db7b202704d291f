"""Random scenarios, each from its number, played on a real Linux and on the embedded guest: `make compare-random`.

    python -m tests.real.random_scenarios [--first N] [--count N] [--kernel FILE|RELEASE] [--architecture NAME] [--qemu PROGRAM]
        [--keep DIRECTORY]
    python -m tests.real.random_scenarios --again FILE.json ...

prints a line for each and puts the outcome among those that docs/compatibility.md is made of. `--keep` keeps scenarios and
what the real Linux did; `--again` has the embedded guest play those again. Exits 1 when one came out different.
"""

import argparse
import random
import sys
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from docs.matrix import Difference, Ran, keep
from tests.real.needs import look_for_kernels
from virtiomem import recording, scenario
from virtiomem.architecture import ARCHITECTURES, ARM64, DEFAULT, Architecture, find
from virtiomem.device.board import VIRT
from virtiomem.errors import BackendError
from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.recording import Recording
from virtiomem.recording.compare import compare
from virtiomem.releases.linux import LINUX
from virtiomem.scenario import Scenario
from virtiomem.units import GiB, MiB, align_up, format_size

BLOCK = 128 * MiB
Outcome = tuple[int, dict[str, Any], str]
"""A scenario's number, what the real guest was, and how the embedded one differed; empty when it did not."""

STATES = ("offline", "online", "online_kernel", "online_movable")
ERRORS = ("EBUSY", "ENOMEM", "EPERM", "EINVAL")
WITHOUT_POISON = LINUX.oldest.name
"""Debian built this release without CONFIG_MEMORY_FAILURE: nothing there can be poisoned."""


class Writer:
    """Writes one scenario; every choice comes from one seeded source, and from the release it is for."""

    kinds: tuple[str, ...] = (
        *("resize",) * 10,
        *("state",) * 4,
        *("use",) * 3,
        *("free",) * 2,
        *("refuse",) * 3,
        *("load",) * 2,
        *("reboot", "wait", "suspend", "suspend"),
    )
    """What every guest can do, as often as it is to be done."""

    def __init__(self, number: int, release: str = WITHOUT_POISON) -> None:
        self.random = random.Random(number)
        self.lines = [f'title = "random scenario {number}"', ""]
        self.poisons = LINUX.release(release).name != WITHOUT_POISON and self.random.random() < 0.3
        self.serial = 0
        self.fresh_kernel()
        self.loaded = False
        self.dimms: list[str] = []

    def fresh_kernel(self) -> None:
        """What a kernel forgets when another one starts."""
        self.loaded = False
        self.refused: list[str] = []
        self.uses: dict[str, int] = {}

    def write(self) -> str:
        """The scenario as TOML."""
        self.guest()
        self.driver()
        self.devices = [self.device(f"vm{number}") for number in range(self.random.choice((1, 1, 1, 1, 2, 3)))]
        self.load()
        for _ in range(self.random.randint(5, 9)):
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
        policy = self.policy()
        self.table(
            "[guest]",
            machine=self.machine,
            memory=format_size(self.memory),
            max_memory=format_size(self.memory + 32 * GiB),
            slots=self.slots,
            default_state=choose(STATES),
            **policy,
        )

    def policy(self) -> dict[str, object]:
        """Keys of an online policy that is not the usual one; mostly none."""
        if self.random.random() >= 0.25:
            return {}
        ratio = {"auto_movable_ratio": self.random.choice((0, 50, 100, 301))} if self.random.random() < 0.5 else {}
        return {"online_policy": "auto-movable", **ratio}

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
            self.random.choice((1, 1, 2, 3)) * GiB - self.random.choice((0, 0, 70 * MiB)), max(block, 2 * MiB)
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
        kinds = [*self.kinds]
        kinds += ["dimm"] * 2 if self.slots else []
        kinds += ["poison"] * 3 if self.poisons else []
        getattr(self, self.random.choice(kinds))()

    def resize(self) -> None:
        name, block, size = self.random.choice(self.devices)
        wish = self.size(block, size) + (self.random.random() < 0.05 and block // 2)
        self.step(do="resize", device=name, requested_size=format_size(wish))

    def load(self) -> None:
        """Load the driver, or unload it and mostly load it again."""
        if self.loaded:
            self.step(do="unload")
            self.loaded = False
            if self.random.random() < 0.2:
                return
        self.step(do="load")
        self.loaded = True

    def reboot(self) -> None:
        self.step(do="reboot")
        self.fresh_kernel()
        self.load()

    def wait(self) -> None:
        """A moment, or longer than the driver waits before it tries again."""
        self.step(do="wait", seconds=self.random.choice((1, 2, 2, 55)))

    def suspend(self) -> None:
        self.step(do="suspend", to=self.random.choice(("idle", "memory", "disk")))

    def use(self) -> None:
        """Memory in use, never so much that it has nowhere to go."""
        room = self.memory // 4 - sum(self.uses.values())
        size = self.random.randrange(2, 150) * MiB
        if self.poisons or size > room:
            return self.resize()
        self.serial += 1
        self.uses[f"use{self.serial}"] = size
        kind = self.random.choice(("movable", "unmovable"))
        return self.step(do="use", id=f"use{self.serial}", size=format_size(size), kind=kind)

    def free(self) -> None:
        if not self.uses:
            return self.use()
        name = self.random.choice([*self.uses])
        del self.uses[name]
        return self.step(do="free", id=name)

    def refuse(self) -> None:
        """Another notifier begins to refuse, or no longer does."""
        if self.refused and self.random.random() < 0.6:
            self.step(do="refuse", event=self.refused.pop(), error="OK")
            return
        event = self.random.choice(("online", "offline", "offline"))
        self.refused.append(event)
        self.step(do="refuse", event=event, error=self.random.choice(ERRORS))

    def hotplugged(self) -> int:
        """A memory block that may have been plugged."""
        low = 2 * GiB if self.machine == "q35" else 3 * GiB
        above = self.memory - low if self.memory >= (0xB0000000 if self.machine == "q35" else 0xE0000000) else 0
        return align_up(4 * GiB + above, GiB) // BLOCK + self.random.randrange(12)

    def state(self) -> None:
        """Blocks of hotplugged memory, some of them not there."""
        first = self.hotplugged()
        blocks = sorted({first + self.random.randrange(8) for _ in range(self.random.randint(1, 6))})
        self.step(do="set-state", blocks=blocks, state=self.random.choice(STATES))

    def poison(self) -> None:
        """A page in the upper half of a block: the kernel's own lie in the lower half, where there are any."""
        offset = BLOCK // 2 + self.random.randrange(BLOCK // 2)
        self.step(do="poison", memaddr=f"{self.hotplugged() * BLOCK + offset - offset % 4096:#x}")

    def dimm(self) -> None:
        if self.dimms and self.random.random() < 0.5:
            self.step(do="unplug-dimm", id=self.dimms.pop())
            return
        name = f"dimm{sum('plug-dimm' in line for line in self.lines)}"
        self.dimms.append(name)
        self.step(do="plug-dimm", id=name, size=self.random.choice(("128M", "512M", "1G")))


class VirtWriter(Writer):
    """Writes a scenario for a `virt` machine. It does not sleep: nothing there wakes it up."""

    kinds = tuple(kind for kind in Writer.kinds if kind != "suspend")

    def __init__(self, number: int, release: str = LINUX.newest.name, architecture: Architecture = ARM64) -> None:
        super().__init__(number, release)
        self.page_size = architecture.page_size

    def guest(self) -> None:
        choose, chance = self.random.choice, self.random.random
        self.memory = choose((1 * GiB, 2 * GiB, 4 * GiB, 4 * GiB, 2000 * MiB, 6 * GiB))
        self.slots = choose((0, 0, 0, 2))  # a DIMM is refused: it takes ACPI
        more: dict[str, object] = self.policy()
        if chance() < 0.15:
            more["movable_node"] = True
        if chance() < 0.2:
            more["cma"] = choose(("0", "32M", "128M"))
        self.table(
            "[guest]",
            machine="virt",
            page_size=format_size(self.page_size),
            memory=format_size(self.memory),
            max_memory=format_size(self.memory + 32 * GiB),
            slots=self.slots,
            default_state=choose(STATES),
            **more,
        )

    def hotplugged(self) -> int:
        return VIRT.region_start(self.memory) // BLOCK + self.random.randrange(12)


def writer(number: int, release: str, architecture: Architecture) -> Writer:
    """What writes the scenario of a number for such a Linux."""
    return Writer(number, release) if architecture is DEFAULT else VirtWriter(number, release, architecture)


def play_real(played: Scenario, setup: Setup) -> Recording:
    """What a real Linux does, with what its pages were."""
    with LinuxGuest(played.guest, played.devices, played.driver, setup=setup, pages=True) as real:
        return scenario.play(played, real)


def difference_of(played: Scenario, real: Recording) -> str:
    """How the embedded guest differs; empty when it does not."""
    difference = compare(real, scenario.play_again(played, real))
    return str(difference) if difference is not None else ""


def main(words: list[str]) -> int:
    """Play, compare, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--kernel", type=_kernel, default=None)
    parser.add_argument("--architecture", choices=[row.name for row in ARCHITECTURES], default=DEFAULT.name)
    parser.add_argument("--qemu")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--timeout", type=float, default=Setup().timeout, help="for a boot, and for a step")
    parser.add_argument("--again", type=Path, nargs="+")
    args = parser.parse_args(words)
    look_for_kernels()
    return _again(args.again) if args.again else _play(args)


def _kernel(text: str) -> Path | str:
    return Path(text) if "/" in text else text


def _play(args: argparse.Namespace) -> int:
    """Play scenarios, and keep the outcome after each."""
    setup = Setup(
        kernel=args.kernel, qemu=args.qemu, accel="tcg", append="quiet cryptomgr.notests", timeout=args.timeout
    )
    outcomes: list[Outcome] = []
    release = str(args.kernel or LINUX.newest.name)
    architecture = next(row for row in ARCHITECTURES if row.name == args.architecture)
    for number in range(args.first, args.first + args.count):
        began = time.monotonic()
        text = writer(number, release, architecture).write()
        played = scenario.loads(text)
        try:
            real = play_real(played, setup)
        except BackendError as error:
            print(f"{number}: not played: {error}", flush=True)  # noqa: T201
            continue
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"{number}.toml").write_text(text)
            recording.dump(real, args.keep / f"{number}.json")
        outcomes.append((number, real.guest, difference_of(played, real)))
        print(f"{number}: {outcomes[-1][2] or 'same'} ({time.monotonic() - began:.0f} s)", flush=True)  # noqa: T201
        _keep(outcomes)
    return 1 if any(difference for _, _, difference in outcomes) else 0


def _again(files: list[Path]) -> int:
    """Compare what was kept with what the embedded guest does now."""
    outcomes: list[Outcome] = []
    for file in files:
        real = recording.load(file)
        outcomes.append((int(file.stem), real.guest, difference_of(scenario.load(file.with_suffix(".toml")), real)))
        print(f"{file}: {outcomes[-1][2] or 'same'}", flush=True)  # noqa: T201
    _keep(outcomes)
    return 1 if any(difference for _, _, difference in outcomes) else 0


def _keep(outcomes: list[Outcome]) -> None:
    """Put outcomes among those that docs/compatibility.md is made of."""

    def pair(outcome: Outcome) -> tuple[str, str]:
        return outcome[1]["kernel"], outcome[1]["qemu"]

    for (linux, qemu), some in groupby(sorted(outcomes, key=pair), key=pair):
        of_it = list(some)
        numbers, info = [number for number, _, _ in of_it], of_it[0][1]
        row = find(info.get("architecture", DEFAULT.family), info["page-size"]) or DEFAULT
        differences = [
            Difference(where=f"random scenario {number}", what=difference)
            for number, _, difference in of_it
            if difference
        ]
        ran = Ran(
            what="random scenarios",
            linux=linux,
            qemu=qemu,
            tried=len(of_it),
            equal=len(of_it) - len(differences),
            differences=differences,
            command=f"make compare-random FIRST={min(numbers)} N={max(numbers) - min(numbers) + 1} KERNEL={linux}"
            + ("" if row is DEFAULT else f" ARCHITECTURE={row.name}"),
        )
        keep(ran)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
