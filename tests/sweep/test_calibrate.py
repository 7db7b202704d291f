import json
from pathlib import Path

import pytest
from msgspec import structs

from virtiomem.cli.main import main
from virtiomem.sweep import calibrate as fitting
from virtiomem.sweep import observe
from virtiomem.sweep.calibrate import ShrinkFigures, WorkloadShares, calibrate, predict
from virtiomem.sweep.observe import BLOCKS, DEVICE, MemorySeen, WorkloadSeen
from virtiomem.units import GiB, MiB

NOTHING = [""] * BLOCKS
PAGEBLOCK = 2 * MiB
KEPT = sorted((Path(__file__).parents[1] / "data" / "calibration").glob("*.json"))


def look(*, used: int = 0, movable: int = 0, pages: list[str] = NOTHING) -> MemorySeen:
    return MemorySeen(used=used, movable=movable, pages=[*pages, *NOTHING][:BLOCKS])


def observation(
    *,
    movable: int = 0,
    unmovable: int = 0,
    loaded: list[str] = NOTHING,
    came_back: int = 2 * GiB,
    before: MemorySeen | None = None,
) -> WorkloadSeen:
    """Make what a real guest would have shown of a workload; sizes in bytes."""
    return WorkloadSeen(
        workload="buffer",
        kernel="6.12.117+deb12-cloud-amd64",
        qemu="7.2",
        accel="tcg",
        before=before or look(),
        loaded=look(used=movable + unmovable, movable=movable, pages=loaded),
        ended=look(),
        came_back=came_back,
    )


@pytest.fixture
def _short_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grid of few values, so that a fit takes no time."""
    monkeypatch.setattr(fitting, "SCATTERS", (0.0, 0.5))
    monkeypatch.setattr(fitting, "SHARES_LEFT", (0.05, 0.5))


@pytest.fixture(autouse=True)
def _one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SEEDS", 1)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A file with one observation."""
    path = tmp_path / "kept.json"
    observe.dump([observation(unmovable=64 * PAGEBLOCK, loaded=["k" * 64], came_back=2 * GiB - 4 * PAGEBLOCK)], path)
    return path


def test_pageblocks_that_were_the_kernels_before_the_workload_are_not_its() -> None:
    seen = observation(before=look(pages=["kk.k"]), loaded=["kkkkk", "m.o", ".k"])
    assert ShrinkFigures.observed(seen) == ShrinkFigures(held=3, left=0, blocks=2, came_back=2 * GiB)


def test_what_neither_is_page_cache_nor_anonymous_does_not_move() -> None:
    seen = observation(movable=300 * MiB, unmovable=40 * MiB, before=look())
    assert (seen.movable, seen.unmovable) == (300 * MiB, 40 * MiB)


def test_the_model_holds_as_many_pageblocks_as_were_taken_and_leaves_its_share() -> None:
    seen = observation(movable=100 * MiB, unmovable=64 * PAGEBLOCK)
    some, none = (predict(seen, WorkloadShares(0.0, share)).median for share in (0.25, 0.0))
    assert (some.held, some.left) == (64, 16)
    assert some.came_back <= DEVICE.max_size - 16 * PAGEBLOCK
    assert (none.held, none.left, none.came_back) == (64, 0, DEVICE.max_size)


def test_scatter_spreads_over_more_memory_blocks() -> None:
    seen = observation(unmovable=64 * PAGEBLOCK)
    dense, anywhere = (predict(seen, WorkloadShares(scatter, 0.0)).median.blocks for scatter in (0.0, 1.0))
    assert dense == 1
    assert anywhere > BLOCKS // 2


@pytest.mark.usefixtures("_short_grid")
def test_the_parameters_that_made_an_observation_are_found_again() -> None:
    made = predict(observation(unmovable=64 * PAGEBLOCK), WorkloadShares(0.5, 0.5)).median
    seen = observation(unmovable=64 * PAGEBLOCK, loaded=["k"] * made.blocks, came_back=made.came_back)
    found = calibrate([seen])
    assert found.fitted == WorkloadShares(0.5, 0.5)
    assert found.fitted_error == 0 < found.default_error


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    found = [observation(unmovable=MiB, loaded=["k.k", ".m"])]
    observe.dump(found, tmp_path / "kept.json")
    assert observe.load(tmp_path / "kept.json") == found


@pytest.mark.usefixtures("_short_grid")
def test_the_table_has_what_was_observed_and_by_how_much_the_model_is_off(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--from", str(kept)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("fitted:  scatter 0, left-behind 0.05 (")
    row = next(line for line in said.splitlines() if "came back" in line)
    assert row.split()[:7] == ["buffer", "6.12", "128M", "came", "back", "2040M", "2042M"]
    assert row.split()[7] == "-2M"


@pytest.mark.usefixtures("_short_grid")
def test_json_has_the_same_figures(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--from", str(kept), "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["compared"]
    assert one["observed"] == {"held": 64, "left": 0, "blocks": 1, "came-back": 2040 * MiB}
    assert one["fitted"]["median"]["left"] == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["slap"], "no workload 'slap', did you mean 'slab'? (one of page-cache, slab, mlock, churn, buffer)"),
        (["--from", "FILE", "slab"], "WORKLOAD is for real guests, and --from boots none"),
        (["--from", "FILE", "--record", "x"], "--record is for real guests, and --from boots none"),
        (["--from", "FILE", "--kernel", "6.1"], "--kernel is for calibrate without --from"),
        (["--from", "/dev/null"], "/dev/null: not observations of `virtiomem calibrate`"),
        (["--record", "/nowhere/x"], "/nowhere/x"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    arguments: list[str], said: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", *(str(kept) if word == "FILE" else word for word in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_a_look_at_fewer_memory_blocks_is_no_observation(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = observe.load(kept)[0]
    observe.dump([structs.replace(one, ended=structs.replace(one.ended, pages=[""]))], kept)
    assert main(["calibrate", "--from", str(kept)]) == 2
    assert "observations[0].ended.pages" in capsys.readouterr().err


def test_a_missing_kernel_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["calibrate", "slab", "--accel", "tcg", "--kernel", str(tmp_path / "none")]) == 1
    printed = capsys.readouterr()
    assert str(tmp_path / "none") in printed.err
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_every_workload_was_seen_on_the_release(path: Path) -> None:
    found = observe.load(path)
    assert [one.workload for one in found] == list(observe.WORKLOADS)
    assert {".".join(one.kernel.split(".")[:2]) for one in found} == {path.stem}


def test_both_releases_are_kept() -> None:
    assert [path.stem for path in KEPT] == ["6.1", "6.12"]
