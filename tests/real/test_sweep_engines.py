"""Sweeps on real processes and a real Dask cluster: the same rows, also when a worker is killed."""

import os
import signal
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.processes import children
from tests.sweep.conftest import TEXT
from virtiomem.cli.main import main
from virtiomem.errors import BackendError
from virtiomem.sweep import Sweep, loads, run
from virtiomem.sweep.engines import Engine, in_pool, on_dask
from virtiomem.sweep.play import OnProgress

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return loads(TEXT.replace("seeds = 4", "seeds = 60"), source="small.toml")


@pytest.fixture(scope="module")
def rows(sweep: Sweep, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return run(sweep, tmp_path_factory.mktemp("alone") / "rows.csv").path.read_bytes()


def local_cluster() -> Any:
    """A Dask cluster of one process."""
    cluster: Any = import_module("distributed").LocalCluster
    return cluster(n_workers=1, threads_per_worker=1, dashboard_address=None)


def workers() -> list[int]:
    """Processes that play runs: the youngest of those that were spawned."""
    return children(os.getpid(), recursive=True, called="spawn_main")


@pytest.fixture
def killed() -> Iterator[list[int]]:
    """Kills a worker when the first rows are there, and says which."""
    done: list[int] = []
    yield done
    assert done, "no worker was killed: the sweep was over too soon"


def killing(done: list[int]) -> OnProgress:
    """Progress that kills one worker, once."""

    def tell(so_far: int, of: int, _left: float | None) -> None:
        if of // 6 < so_far and not done:
            victim = workers()[-1]
            os.kill(victim, signal.SIGKILL)
            done.append(victim)

    return tell


@pytest.mark.parametrize("engine", [in_pool(2), on_dask(workers=2)], ids=["pool", "dask"])
def test_worker_that_is_killed_costs_only_its_runs(
    engine: Engine, sweep: Sweep, rows: bytes, killed: list[int], tmp_path: Path
) -> None:
    made = run(sweep, tmp_path / "rows.csv", engine=engine, chunk=5, on_progress=killing(killed))
    assert made.path.read_bytes() == rows


def test_pool_finds_the_run_that_kills_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'spawn_main' in ' '.join(sys.orig_argv):\n"
        "    import virtiomem.sweep.outcome as outcome\n"
        "    really = outcome.play\n"
        "    outcome.play = lambda sweep, run: os._exit(9) if run == 7 else really(sweep, run)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    made = run(loads(TEXT), tmp_path / "rows.csv", engine=in_pool(2), chunk=3)
    errors = {row["run"]: row["error"] for row in made if row["error"]}
    assert errors == {7: "the process that played it died, 2 times"}


def test_sweep_on_a_cluster_that_is_elsewhere(sweep: Sweep, rows: bytes, tmp_path: Path) -> None:
    with local_cluster() as cluster:
        made = run(sweep, tmp_path / "rows.csv", engine=on_dask(cluster.scheduler_address), chunk=30)
    assert made.path.read_bytes() == rows


def test_scheduler_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(TEXT)
    assert main(["sweep", "small.toml", "--scheduler", "tcp://127.0.0.1:9"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("virtiomem: tcp://127.0.0.1:9: no Dask scheduler answers: ")
    assert said.err.count("\n") == 1


def test_scheduler_that_is_lost_keeps_what_is_done(sweep: Sweep, rows: bytes, tmp_path: Path) -> None:

    path = tmp_path / "rows.csv"
    cluster = local_cluster()

    def lose(so_far: int, _of: int, _left: float | None) -> None:
        if so_far >= 30 and not lost:
            lost.append(so_far)
            cluster.close()

    lost: list[int] = []
    with pytest.raises(BackendError):
        run(sweep, path, engine=on_dask(cluster.scheduler_address), chunk=10, on_progress=lose)
    assert lost
    assert not path.exists()
    assert run(sweep, path, resume=True).path.read_bytes() == rows
