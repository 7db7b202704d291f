"""How long commands take to start, do little and end, compared with a Python that does nothing.

    python benchmarks/start.py [--rounds R] [--instructions]

The least CPU time of R rounds in which all take turns, the modules that Python imports on the way, and the time as a multiple of that
of `python -c pass`. With --instructions also what callgrind counts, which no other process moves, in millions and as a multiple.
"""

import argparse
import re
import resource
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"
BARE = "python -c pass"
OTHERS = "import argparse, dataclasses, msgspec, tomllib"
"""What `run --json` needs that is not ours."""
COMMANDS = {
    BARE: ["-c", "pass"],
    "what run needs of others": ["-c", OTHERS],
    "virtiomem --version": ["-m", "virtiomem", "--version"],
    "virtiomem iomem FILE": ["-m", "virtiomem", "iomem", EXAMPLES / "worked-example/boot.iomem"],
    "virtiomem run --json FILE": ["-m", "virtiomem", "run", "--json", EXAMPLES / "dimm.toml"],
    "virtiomem run FILE": ["-m", "virtiomem", "run", EXAMPLES / "dimm.toml"],
}


def seconds(words: list[str | Path]) -> float:
    """CPU seconds of one start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def modules(words: list[str | Path]) -> int:
    """How many modules are imported."""
    command = [sys.executable, "-X", "importtime", *words]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    return sum(line.startswith("import time:") for line in told.splitlines()) - 1


def instructions(words: list[str | Path]) -> int:
    """What callgrind counts."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, *words]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = re.search(r"Collected : (\d+)", told)
    assert found is not None, told
    return int(found[1])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--instructions", action="store_true")
    args = parser.parse_args()
    imported = {name: modules(words) for name, words in COMMANDS.items()}
    rounds = [{name: seconds(words) for name, words in COMMANDS.items()} for _ in range(args.rounds)]
    least = {name: min(each[name] for each in rounds) for name in COMMANDS}
    counted = {name: instructions(words) for name, words in COMMANDS.items()} if args.instructions else {}
    print(f"{'':<26}  modules  ms of CPU  times a bare Python{'  M instructions  times' * bool(counted)}")
    for name, time in least.items():
        more = f"  {counted[name] / 1e6:>14.0f}  {counted[name] / counted[BARE]:>5.1f}" if counted else ""
        print(f"{name:<26}  {imported[name]:>7}  {time * 1e3:>9.0f}  {time / least[BARE]:>19.1f}{more}")


if __name__ == "__main__":
    main()
