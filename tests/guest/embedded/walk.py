"""A long random walk over everything that can happen to an embedded guest; every part is checked after each step.

    python tests/guest/embedded/walk.py [--minutes M] [--seed N]

prints how far it came. Where Hypothesis (test_machine.py) finds the smallest failing case, this finds the rare one: the
weights are those of a machine in use, so that blocks fill up, get stuck and come free again.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from virtiomem import scenario
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording import StepRecord, values
from virtiomem.units import GiB, MiB, Size

STATES: list[values.BlockStateWord] = ["offline", "online", "online_kernel", "online_movable"]
ERRNOS = ["ENOMEM", "EBUSY", "EPERM", "EINVAL", "EEXIST", "EAGAIN"]

GUEST = """
[guest]
kernel = "{kernel}"
qemu = "{qemu}"
memory = "{memory}G"
max-memory = "{max_memory}G"
slots = 4
default-state = "{state}"
online-policy = "{policy}"
memory-block-size = "{block}"
[[guest.nodes]]
id = 0
memory = ["0x0-0x7fffffff"]
[[guest.nodes]]
id = 1
memory = ["0x100000000-{end:#x}"]
[driver]
merge-resources = {merge}
force-bbm = {bbm}
bbm-block-size = "{bbm_size}"
bbm-safe-unplug = {safe}
unplug-online = {online}
[[device]]
id = "vm0"
max-size = "{size0}M"
block-size = "{block0}M"
[[device]]
id = "vm1"
max-size = "{size1}M"
block-size = "{block1}M"
node = 1
"""


class Walk:
    """One guest and a seeded way through its life."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.guest = self._boot()
        self.counts: Counter[str] = Counter()
        self.uses: list[str] = []
        self.dimms: list[str] = []
        self._serial = 0
        self._steps: list[tuple[int, Callable[[], values.Step]]] = [
            (30, self._resize),
            (15, self._set_state),
            (8, self._use),
            (8, self._free),
            (8, self._wait),
            (5, self._inject_errno),
            (4, self._inject_answer),
            (3, self._plug_dimm),
            (3, self._unplug_dimm),
            (3, self._add_memory),
            (4, values.Load),
            (1, values.Unload),
            (1, self._new_kernel),
            (2, self._suspend),
        ]

    def _boot(self) -> EmbeddedGuest:
        pick = self.random.choice
        block0, block1 = pick([1, 2, 2, 2, 4, 64, 128, 256]), pick([2, 2, 4, 256])
        memory = pick([4, 5, 7])
        text = GUEST.format(
            kernel=pick(["6.1", "6.6", "6.12"]),
            qemu=pick(["7.2", "10.0"]),
            memory=memory,
            max_memory=memory + 48,
            state=pick(STATES),
            policy=pick(["contig-zones", "auto-movable"]),
            block=pick(["128M", "128M", "256M", "2G"]),
            end=4 * GiB + (memory - 2) * GiB - 1,
            merge=pick(["true", "true", "false"]),
            bbm=pick(["false", "false", "true"]),
            bbm_size=pick(["0", "256M", "512M", "3M"]),
            safe=pick(["true", "true", "false"]),
            online=pick(["true", "true", "true", "false"]),
            size0=pick([1024, 4096, 8192]),
            size1=max(pick([200, 1090, 4098]) // block1, 1) * max(block1, 2),
            block0=block0,
            block1=block1,
        )
        loaded = scenario.loads(text)
        return EmbeddedGuest(loaded.guest, loaded.driver, loaded.devices, loaded.boot_iomem)

    def steps(self, count: int) -> Iterator[StepRecord]:
        """Take `count` steps, checking everything after each."""
        weights = [weight for weight, _ in self._steps]
        yield self._play(values.Load())
        for _ in range(count - 1):
            make = self.random.choices(self._steps, weights)[0][1]
            yield self._play(make())

    def _play(self, step: values.Step) -> StepRecord:
        record = self.guest.play(step)
        assert record.settled or record.held_up, f"{step}: a device that is not settled has no reason"
        self.guest.check()
        self.counts[f"{type(step).__name__}, {'refused' if record.error else 'taken'}"] += 1
        self.counts.update(f"{request.type}, {request.response}" for request in record.requests)
        return record

    def _name(self, kind: str) -> str:
        self._serial += 1
        return f"{kind}{self._serial}"

    def _resize(self) -> values.Step:
        config = self.random.choice(self.guest.devices).config
        share = self.random.choice([0, 0.02, 0.1, 0.25, 0.5, 0.75, 1])
        blocks = round(config.max_size * share / config.block_size) + self.random.choice([-3, -1, 0, 0, 0, 1, 3])
        return values.Resize(device=config.id, requested_size=Size(max(blocks, 0) * config.block_size))

    def _set_state(self) -> values.Step:
        there = [block.id for block in self.guest.kernel.memory.blocks.values() if not block.boot] or [7]
        first = self.random.choice(there)
        wanted = [id_ for id_ in sorted(there) if id_ >= first]
        return values.SetState(blocks=wanted[: self.random.randint(1, 8)], state=self.random.choice(STATES))

    def _use(self) -> values.Step:
        self.uses.append(self._name("use"))
        kind: values.UseKind = self.random.choice(["movable", "movable", "unmovable"])
        size = Size(self.random.choice([2, 30, 200, 1000, 3000]) * MiB)
        return values.Use(id=self.uses[-1], size=size, kind=kind, seed=self.random.randint(0, 99))

    def _free(self) -> values.Step:
        if not self.uses:
            return values.Wait(seconds=1)
        return values.Free(id=self.uses.pop(self.random.randrange(len(self.uses))))

    def _wait(self) -> values.Step:
        return values.Wait(seconds=self.random.choice([1.0, 60.0, 400.0, 2000.0]))

    def _inject_errno(self) -> values.Step:
        at: values.InjectPoint = self.random.choice(["add_memory", "online", "offline", "remove"])
        errno = self.random.choices(ERRNOS, [6, 6, 2, 1, 1, 1])[0]
        return values.Inject(at=at, error=errno, times=self.random.randint(1, 6))

    def _inject_answer(self) -> values.Step:
        answer = self.random.choices(["BUSY", "NACK", "ERROR", "garbage", "silence"], [8, 8, 1, 4, 1])[0]
        return values.Inject(at="request", error=answer, times=self.random.randint(1, 3))

    def _plug_dimm(self) -> values.Step:
        self.dimms.append(self._name("dimm"))
        size = Size(self.random.choice([128, 256, 1024, 2048, 100]) * MiB)
        return values.PlugDimm(id=self.dimms[-1], size=size, node=self.random.randint(0, 1))

    def _unplug_dimm(self) -> values.Step:
        return values.UnplugDimm(id=self.random.choice(self.dimms or ["dimm0"]))

    def _add_memory(self) -> values.Step:
        kind: values.MemoryKind = self.random.choice(["kmem", "xen", "hyperv"])
        addr, size = 64 * GiB + self.random.randint(0, 64) * 64 * MiB, self.random.choice([64, 128, 384, 1000])
        return values.AddMemory(kind=kind, memaddr=Size(addr), size=Size(size * MiB), node=self.random.randint(0, 1))

    def _suspend(self) -> values.Step:
        to: values.SleepWord = self.random.choice(["idle", "memory", "disk"])
        return values.Suspend(to=to)

    def _new_kernel(self) -> values.Step:
        self.uses.clear()
        return values.Reboot() if self.random.random() < 0.5 else values.Kexec()


def main() -> int:
    """Walk until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each walk takes the next")
    parser.add_argument("--steps", type=int, default=400, help="steps of one walk")
    args = parser.parse_args()
    began, counts, seed, findings = time.monotonic(), Counter[str](), args.seed, 0
    while time.monotonic() - began < args.minutes * 60:
        walk = Walk(seed)
        try:
            for _ in walk.steps(args.steps):
                pass
        except AssertionError as error:
            findings += 1
            print(f"seed {seed}: {error}", file=sys.stderr)
        counts += walk.counts
        seed += 1
    steps = sum(count for what, count in counts.items() if what.endswith(("taken", "refused")))
    requests = sum(counts.values()) - steps
    minutes = (time.monotonic() - began) / 60
    print(f"{seed - args.seed} walks, {steps} steps, {requests} requests, {minutes:.1f} minutes, {findings} findings")
    for what, count in sorted(counts.items()):
        print(f"{count:9}  {what}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
