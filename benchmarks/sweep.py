"""Many runs on each engine, with a worker killed midway: are the rows the same, in which time and memory; and a million of them.

python benchmarks/sweep.py [RUNS]
"""

import hashlib
import os
import resource
import signal
import sys
import tempfile
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from virtiomem import sweep
from virtiomem.sweep import definition
from virtiomem.sweep.play import CHUNK

WORKERS = 2
TASKS = 2000
MILLION, MACHINES, CORES = 1_000_000, 100, 32
TEXT = """
title = "ten thousand"
seeds = {seeds}
[guest]
memory = "1G"
max-memory = "2G"
[[device]]
id = "vm0"
max-size = "1G"
[parameters]
"guest.default-state" = ["online_kernel", "online_movable"]
"workload.scatter" = [0.0, 0.05, 0.1, 0.5, 1.0]
[workload]
seconds = 3600
wanted = [{{ at = 0, size = "1G" }}, {{ at = 1800, size = "0" }}]
[[workload.processes]]
name = "kernel"
kind = "unmovable"
size = "8M"
per-hour = 40
lifetime = 600
stop = 1800
"""


def spawned() -> list[int]:
    """Worker processes below this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents = (path / "stat").read_text().rpartition(")")[2].split()[1]
            if b"spawn_main" in (path / "cmdline").read_bytes():
                found.append((int(path.name), int(parents)))
    below = {os.getpid()}
    for pid, parent in sorted(found):
        if parent in below:
            below.add(pid)
    return sorted(below - {os.getpid()})


def memory(pid: int | str = "self") -> int:
    """The most memory that a process has had, in MiB."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024
    return 0


def played(made: sweep.Sweep, name: str, engine: sweep.Engine, folder: Path, *, kill: bool) -> str:
    """Play everything, and print what it took; returns what the rows hash to."""
    killed: list[int] = []
    most = 0

    def tell(done: int, of: int, _left: float | None) -> None:
        nonlocal most
        if done % 500 < CHUNK:
            most = max([most, *map(memory, spawned())])
        if kill and done > of // 2 and not killed:
            killed.append(spawned()[-1])
            os.kill(killed[0], signal.SIGKILL)

    began = time.perf_counter()
    path = sweep.run(made, folder / f"{name}.csv", engine=engine, on_progress=tell).path
    took = time.perf_counter() - began
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    end = f", worker {killed[0]} killed midway" if killed else ""
    print(
        f"{name:8} {took:6.0f} s  {1000 * took / made.runs:5.1f} ms a run  this process {memory():4} MiB, "
        f"a worker at most {most:4} MiB  rows {digest}{end}"
    )
    return digest


def nothing(_text: bytes, chunk: tuple[int, ...]) -> int:
    """Return the length of a chunk: a task without work."""
    return len(chunk)


def task_cost(made: sweep.Sweep) -> float:
    """Seconds of the scheduler's time for a task: all but one of the tasks that do nothing."""
    dask = import_module("distributed")
    text = definition.dumps(made)
    with (
        dask.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        dask.Client(cluster) as client,
    ):
        client.submit(nothing, text, (1,), pure=False).result()
        began = time.perf_counter()
        results = dask.as_completed()
        sent = done = 0
        while done < TASKS:
            while sent < TASKS and sent - done < 6:
                results.add(client.submit(nothing, text, tuple(range(CHUNK)), pure=False))
                sent += 1
            next(results)
            done += 1
        return (time.perf_counter() - began) / TASKS


def main() -> None:
    """Play, compare, and count up to a million."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    made = sweep.loads(TEXT.format(seeds=runs // 10))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        pool = played(made, "pool", sweep.in_pool(WORKERS), here, kill=True)
        dask = played(made, "dask", sweep.on_dask(workers=WORKERS), here, kill=True)
        print("the same rows" if pool == dask else "DIFFERENT ROWS")
        began = time.process_time()
        sweep.summarize(sweep.Rows(here / "pool.csv", made))
        summed = time.process_time() - began
        csv = (here / "pool.csv").stat().st_size / made.runs
        sweep.run(made, here / "pool.parquet", engine=_again(here / "pool.csv", made))
        parquet = (here / "pool.parquet").stat().st_size / made.runs
        began = time.process_time()
        for run in range(0, made.runs, made.runs // 100):
            sweep.play_run(made, run)
        each = (time.process_time() - began) / 100
    print(f"a row: {csv:.0f} bytes of CSV, {parquet:.0f} of Parquet; summing up {1e6 * summed / made.runs:.0f} us")
    cost = task_cost(made)
    print(
        f"a run {1000 * each:.1f} ms; a task {1000 * cost:.2f} ms of scheduler and client, of {len(definition.dumps(made))} bytes"
    )
    cores = MACHINES * CORES
    print(
        f"\na million runs on {MACHINES} machines of {CORES} cores, {MILLION * csv / 1e6:.0f} MB of CSV, {MILLION * parquet / 1e6:.0f} MB of Parquet:"
    )
    print("chunk    tasks  tasks/s wanted  tasks/s possible  seconds")
    for chunk in (1, 20, 100, 500, 2000):
        wanted = cores / (chunk * each)
        seconds = max(MILLION * each / cores, MILLION / chunk * cost) + chunk * each
        print(f"{chunk:5} {MILLION // chunk:8} {wanted:15.0f} {1 / cost:17.0f} {seconds:8.0f}")
    print(f"({resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024} MiB: the largest process of all)")


def _again(path: Path, made: sweep.Sweep) -> sweep.Engine:
    """An engine that has the outcomes already."""
    from virtiomem.sweep.rows import read

    return lambda _sweep, _chunks: ([(row.run, row.outcome)] for row in read(path, made))


if __name__ == "__main__":
    main()
