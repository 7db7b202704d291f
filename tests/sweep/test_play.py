import re
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from virtiomem import scenario
from virtiomem.errors import BackendError, UsageError
from virtiomem.sweep import Sweep, engines, load, loads, run, summarize
from virtiomem.sweep.definition import dumps
from virtiomem.sweep.engines import Chunk, Played, in_process
from virtiomem.sweep.play import part_of
from virtiomem.sweep.rows import read
from virtiomem.sweep.summary import Judgement, comparison

from .conftest import TEXT


def backwards(sweep: Sweep, chunks: Iterable[Chunk]) -> Iterator[Played]:
    """An engine whose workers answer in the worst order."""
    return iter(list(in_process(sweep, chunks))[::-1])


class BrokenOffError(Exception):
    pass


def broken_off(sweep: Sweep, chunks: Iterable[Chunk]) -> Iterator[Played]:
    """An engine that is lost after six runs."""
    for number, played in enumerate(in_process(sweep, chunks)):
        if number == 6:
            raise BrokenOffError
        yield played


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_the_same_bytes_whatever_the_order_they_came_in(suffix: str, small: Sweep, tmp_path: Path) -> None:
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    run(small, first)
    run(small, second, engine=backwards, chunk=3)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_csv_and_parquet_hold_the_same_rows(small: Sweep, tmp_path: Path) -> None:
    rows = [list(read(run(small, tmp_path / name).path, small)) for name in ("a.csv", "a.parquet")]
    assert rows[0] == rows[1]
    assert [row.run for row in rows[0]] == list(range(16))


def test_rows_are_a_table_and_dictionaries(small: Sweep, tmp_path: Path) -> None:
    made = run(small, tmp_path / "a.csv")
    table = made.table()
    assert table.num_rows == len(made) == 16
    assert table.to_pylist() == list(made)
    assert str(table.schema.field("workload.scatter").type) == "double"


def test_sweep_goes_on_where_it_was_broken_off(small: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(BrokenOffError):
        run(small, path, engine=broken_off)
    assert not path.exists()
    with pytest.raises(UsageError, match="a sweep that was not finished; --resume goes on with it"):
        run(small, path)
    with part_of(path).open("ab") as part:
        part.write(b'[6,["cut sho')  # a full disk, a killed process
    told: list[int] = []
    run(small, path, resume=True, on_progress=lambda done, _of, _left: told.append(done))
    assert told == list(range(6, 17))
    assert path.read_bytes() == run(small, tmp_path / "b.csv").path.read_bytes()


def test_sweep_that_is_complete_is_not_played_again(small: Sweep, tmp_path: Path) -> None:
    path = run(small, tmp_path / "a.csv").path
    assert len(list(run(small, path, engine=broken_off, resume=True))) == 16


def test_rows_of_another_sweep_are_refused(small: Sweep, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    other = loads(TEXT.replace("seconds = 600", "seconds = 601"))
    run(other, path)
    with pytest.raises(UsageError, match="row 0 is of another sweep"):
        run(small, path, resume=True)
    with pytest.raises(BrokenOffError):
        run(other, tmp_path / "b.csv", engine=broken_off)
    with pytest.raises(UsageError, match=r"of another sweep than small\.toml"):
        run(small, tmp_path / "b.csv", resume=True)


def test_damaged_rows_are_refused(small: Sweep, tmp_path: Path) -> None:
    path = run(small, tmp_path / "a.csv").path
    text = path.read_text()
    for damaged, complaint in (
        (text.replace("\n", "\nx", 2), "row 0 is of another sweep"),
        (text.rpartition("movable")[0], "row 15 is damaged"),
        ("\n".join(text.split("\n")[:-3]) + "\n", "14 rows, and the sweep has 16 runs"),
        (text.replace("seed", "sead", 1), "its columns are not those of this sweep's rows"),
    ):
        path.write_text(damaged)
        with pytest.raises(UsageError, match=complaint):
            list(read(path, small))
    (tmp_path / "a.parquet").write_text("PAR1")
    with pytest.raises(UsageError, match="not Parquet"):
        list(read(tmp_path / "a.parquet", small))


@pytest.mark.long
def test_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(TEXT)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))

    command = [sys.executable, "-m", "virtiomem", "sweep", "small.toml", "-j1"]
    full = subprocess.run(command, cwd=tmp_path, preexec_fn=limited, capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert full.stderr.splitlines()[-1] == "virtiomem: small.csv.part: File too large"
    kept = (tmp_path / "small.csv.part").read_text().count("\n") - 1
    assert kept > 0
    again = subprocess.run([*command, "--resume"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert len((tmp_path / "small.csv").read_text().splitlines()) == 17


def test_difference_between_policies_is_seen_only_where_they_differ(tmp_path: Path) -> None:
    text = TEXT.replace("seeds = 4", "seeds = 8").replace(
        '{ name = "movable",',
        '{ name = "kernel too", guest.default-state = "online_kernel" },\n    { name = "movable",',
    )
    summary = summarize(run(loads(text), tmp_path / "a.csv"))
    judged = {(one.measure, one.labels["workload.scatter"], one.value): one.judgement for one in summary.differences}
    assert judged["came-back", 1.0, "movable"] is Judgement.MORE
    assert judged["plugged", 1.0, "movable"] is Judgement.LESS
    assert {word for (_, _, value), word in judged.items() if value == "kernel too"} == {Judgement.NONE}
    told = comparison(summary)
    assert told.heading == ["against kernel", "scatter", "kernel too", "movable"]
    plugged = {tuple(row[:2]): row[2:] for row in told.rows}["plugged", "1.0"]
    assert plugged[0] == "no difference"
    assert re.fullmatch(r"-\d+M \[-\d+M, -\d+M\]", plugged[1])
    assert told.remarks[0].startswith("no difference seen in: ")


def test_choice_that_matters_in_one_case_only_is_not_lost_among_the_others(tmp_path: Path) -> None:
    sizes = '"device.block-size" = ["2M", "128M"]\npolicy'
    text = TEXT.replace("seeds = 4", 'seeds = 8\ncompare = "device.block-size"').replace("policy", sizes, 1)
    summary = summarize(run(loads(text), tmp_path / "a.csv"))
    back = {tuple(one.labels.values()): one.judgement for one in summary.differences if one.measure == "came-back"}
    assert back["kernel", 1.0] is Judgement.LESS
    assert back["movable", 1.0] is Judgement.NONE


@pytest.mark.parametrize("name", ["guest.toml", "boot.iomem", "use.csv"])
def test_no_file_that_the_sweep_is_made_of_is_written_over(name: str, tmp_path: Path) -> None:
    guest = (
        TEXT.partition("[parameters]")[0].partition("seeds = 4")[2].replace("[guest]", '[guest]\niomem = "boot.iomem"')
    )
    (tmp_path / "guest.toml").write_text(guest)
    (tmp_path / "boot.iomem").write_text(scenario.loads("[guest]\nmemory = '1G'").boot_iomem)
    (tmp_path / "use.csv").write_text("seconds,wanted,movable,unmovable\n0,512M,0,0\n")
    (tmp_path / "small.toml").write_text('scenario = "guest.toml"\n[workload]\nseconds = 60\ntrace = "use.csv"')
    before = (tmp_path / name).read_bytes()
    with pytest.raises(UsageError, match=f"would overwrite .*{name}"):
        run(load(tmp_path / "small.toml"), tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table_of_another_kind_is_not_written_over(suffix: str, small: Sweep, tmp_path: Path) -> None:
    path = tmp_path / f"small.{suffix}"
    path.write_text("name,wage\nann,1\n")
    with pytest.raises(UsageError, match="something else than the rows of a sweep; give another name"):
        run(small, path)
    assert path.read_text() == "name,wage\nann,1\n"
    path.unlink()
    run(small, run(small, path).path)  # rows are


def test_worker_of_another_version_is_refused(small: Sweep) -> None:
    with pytest.raises(BackendError, match=r"a worker has virtiomem .*, which is another than here"):
        engines._play(dumps(small), loads(TEXT.replace("600", "601")).digest, (0,))


def test_file_that_is_no_journal_is_refused_in_bounded_memory(small: Sweep, tmp_path: Path) -> None:
    (tmp_path / "a.csv.part").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="of another sweep than"):
        run(small, tmp_path / "a.csv", resume=True)


def test_too_few_pairs_say_nothing(tmp_path: Path) -> None:
    made = loads(TEXT.replace("seeds = 4", "seeds = 2"))
    summary = summarize(run(made, tmp_path / "a.csv"))
    assert {one.judgement for one in summary.differences} == {Judgement.TOO_FEW}
    assert comparison(summary).rows == []
    assert comparison(summary).remarks[0].startswith("too few pairs to say in: ")


def test_runs_that_fail_are_counted_with_their_reason(tmp_path: Path) -> None:
    made = loads(TEXT.replace("[0.0, 1.0]", '[0.0]\n"guest.memory" = ["1G", "100T"]'))
    summary = summarize(run(made, tmp_path / "a.csv"))
    assert (summary.runs, summary.failed) == (16, 8)
    ((words, count),) = summary.errors.items()
    assert count == 8
    assert words.startswith("guest.memory: ")
    assert [point.failed for point in summary.points] == [0, 4, 0, 4]
