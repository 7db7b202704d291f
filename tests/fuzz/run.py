"""Bad input of every kind, made up: python -m tests.fuzz.run [--minutes M | --trials N] [--seed N] [--kind KIND]

A kind is a module in this folder with `def trial(random: random.Random)`, which makes up one input, uses it, and raises when a
promise is broken; it may give what to count: pairs of what the trial was of, and what came of it. Each kind runs in a process of
its own, so that a trial that crashes, never ends or takes all memory is a finding like any other. The line printed for a finding
repeats it.
"""

import argparse
import faulthandler
import importlib.util
import json
import mmap
import os
import resource
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

Count = tuple[str, str]
"""Of what a trial was, and what came of it."""
Trial = Callable[[Random], Iterable[Count] | None]

FOLDER = Path(__file__).parent
MEMORY = 384 << 20
"""Bytes that a kind may take beyond what it has when it is loaded."""
CPU_SECONDS = 5.0
"""A trial that computes for longer is a finding: inputs are small."""
WALL_SECONDS = 300.0
"""A trial that takes longer, whatever it waits for, is ended; on a busy machine, at the lowest priority, a minute is nothing."""
COUNTS = 1 << 16
"""Bytes for what a kind counts."""
MAX_FINDINGS = 10
"""A kind with as many is broken: the rest of its time would show the same again."""


def kinds(folder: Path = FOLDER) -> dict[str, Path]:
    """The modules that are kinds, by name."""
    return {path.stem: path for path in sorted(folder.glob("*.py")) if "\ndef trial(" in path.read_text()}


def load(path: Path) -> Trial:
    """The trial of a kind."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    trial: Trial = module.trial
    return trial


def source(kind: str, seed: int, number: int) -> Random:
    """What a trial draws from: the same in every run."""
    return Random(f"{kind} {seed} {number}")


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _run_trials(path: Path, seed: int, numbers: range, deadline: float, reached: mmap.mmap) -> None:
    """Run trials until the time is out or one raises; `reached` has the number of the trial, how far all went well, and the counts."""
    trial = load(path)
    counts = _counts(reached)
    _limit_memory()
    for number in numbers:
        if time.monotonic() > deadline:
            break
        reached[:8] = number.to_bytes(8)
        faulthandler.dump_traceback_later(WALL_SECONDS, exit=True)
        began = time.process_time()
        counts.update(trial(source(path.stem, seed, number)) or ())
        took = time.process_time() - began
        assert took < CPU_SECONDS, f"took {took:.1f} s"
        reached[8:16] = (number + 1).to_bytes(8)
        if counts:
            reached[16:] = json.dumps([[*key, count] for key, count in counts.items()]).encode().ljust(COUNTS)


def _counts(reached: mmap.mmap) -> Counter[Count]:
    """What was counted so far."""
    kept = reached[16:].rstrip(b"\0 ")
    return Counter({(of, what): count for of, what, count in json.loads(kept or b"[]")})


def _in_a_process(path: Path, seed: int, numbers: range, deadline: float, reached: mmap.mmap) -> bool:
    """Run trials in a child; True when none was a finding."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _run_trials(path, seed, numbers, deadline, reached)
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, a trial must not raise it
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def run(path: Path, seed: int, numbers: range, seconds: float) -> int:
    """Run trials of a kind for a time; print what came of it and return the number of findings."""
    began, findings = time.monotonic(), 0
    reached = mmap.mmap(-1, 16 + COUNTS)
    first = numbers.start
    while not _in_a_process(path, seed, range(first, numbers.stop), began + seconds, reached):
        number = int.from_bytes(reached[:8])
        findings += 1
        print(f"{path.stem}: python -m tests.fuzz.run --kind {path.stem} --seed {seed} --trial {number}", flush=True)
        first = number + 1
        reached[8:16] = first.to_bytes(8)
        if findings == MAX_FINDINGS:
            break
    trials = max(int.from_bytes(reached[8:16]) - numbers.start, 0)
    _print_counts(path.stem, _counts(reached))
    print(f"{path.stem}: {trials} trials, {time.monotonic() - began:.0f} s, {findings} findings", flush=True)
    return findings


def _print_counts(kind: str, counts: Counter[Count]) -> None:
    for of in sorted({of for of, _ in counts}):
        found = ", ".join(f"{what} {count}" for (whose, what), count in sorted(counts.items()) if whose == of)
        print(f"{kind}: {of}: {found}")


def main() -> int:
    """Run the kinds asked for, one after the other; 1 when there was a finding."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", help="only this kind; may be given again")
    parser.add_argument("--trials", type=int, help="that many, however long they take")
    parser.add_argument("--trial", type=int, help="only the trial of this number, as a finding names it")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    there = kinds(args.folder)
    chosen = args.kind or list(there)
    if unknown := set(chosen) - set(there):
        parser.error(f"no kind {', '.join(sorted(unknown))}; the kinds are {', '.join(there)}")
    numbers = range(args.trials or sys.maxsize) if args.trial is None else range(args.trial, args.trial + 1)
    seconds = float("inf") if args.trials else args.minutes * 60
    findings = [run(there[kind], args.seed, numbers, seconds) for kind in chosen]
    return 1 if any(findings) else 0


if __name__ == "__main__":
    sys.exit(main())
