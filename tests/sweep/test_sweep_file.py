from pathlib import Path

import pytest

from virtiomem.errors import ArgumentValueError, ScenarioError, UsageError
from virtiomem.recording.values import Load, Use
from virtiomem.sweep import Sweep, load, loads
from virtiomem.sweep.definition import dumps
from virtiomem.sweep.definition import loads as loads_definition

from .conftest import TEXT

STEPS = """
[guest]
memory = "1G"
[[device]]
id = "vm0"
max-size = "1G"
[[step]]
do = "load"
[[step]]
do = "use"
id = "a"
size = "64M"
seed = 3
"""


def test_run_is_a_point_and_a_seed(small: Sweep) -> None:
    assert small.runs == len(small) == 16
    assert [(small.seed(run), *small.labels(run).values()) for run in (0, 3, 4, 8, 15)] == [
        (0, "kernel", 0.0),
        (3, "kernel", 0.0),
        (0, "kernel", 1.0),
        (0, "movable", 0.0),
        (3, "movable", 1.0),
    ]
    assert small.compare == "policy"
    with pytest.raises(ArgumentValueError, match=r"run 16 is not there: small.toml has runs 0 to 15"):
        small.point(16)


def test_policies_that_are_compared_see_the_same_processes(small: Sweep) -> None:
    assert small.scenario(1).steps == small.scenario(9).steps
    assert small.scenario(1).guest.default_state == "online_kernel"
    assert small.scenario(9).guest.default_state == "online_movable"


def test_seeds_see_other_processes(small: Sweep) -> None:
    assert small.scenario(0).steps != small.scenario(1).steps


def test_seed_places_the_memory_of_a_scenario_that_has_no_workload() -> None:
    made = loads(f"seeds = 3\n{STEPS}")
    uses = [step for run in range(3) for step in made.scenario(run).steps if isinstance(step, Use)]
    assert uses[0].seed == 3
    assert len({use.seed for use in uses}) == 3


def test_workload_goes_on_from_the_steps_of_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "guest.toml").write_text(STEPS)
    (tmp_path / "sweep.toml").write_text(
        'scenario = "guest.toml"\n[workload]\nseconds = 60\nwanted = [{at = 0, size = "1G"}]'
    )
    steps = load(tmp_path / "sweep.toml").scenario(0).steps
    assert [type(step).__name__ for step in steps] == ["Load", "Use", "Resize", "Wait"]
    assert steps.count(Load()) == 1


def test_sample_draws_from_a_grid_that_is_too_large_to_play() -> None:
    values = "\n".join(
        f'"workload.processes.slab.{key}" = {{from = 1.0, to = 1000.0, by = 1.0}}' for key in ("per-hour", "lifetime")
    )
    text = TEXT.replace("[parameters]", f"[parameters]\n{values}").replace("seeds = 4", "seeds = 2\nsample = 50")
    made = loads(text)
    assert made.grid.size == 4_000_000
    assert made.runs == 100
    assert len({tuple(made.labels(run).values()) for run in range(0, 100, 2)}) == 50
    assert loads(text).points == made.points


def test_digest_names_what_the_rows_come_from(small: Sweep) -> None:
    assert loads(TEXT).digest == small.digest
    assert loads(TEXT.replace("seconds = 600", "seconds = 601")).digest != small.digest
    assert loads(TEXT.replace("seeds = 4", "seeds = 5")).digest != small.digest


def test_worker_reads_the_same_sweep(small: Sweep) -> None:
    again = loads_definition(dumps(small))
    assert again.digest == small.digest
    assert [again.scenario(run).steps for run in (0, 15)] == [small.scenario(run).steps for run in (0, 15)]
    with pytest.raises(UsageError, match="cannot be read"):
        loads_definition(b"{}")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('title = "small"', 'titel = "small"'), "sweep.toml:2: titel: unknown key, did you mean title?"),
        (("seeds = 4", "seeds = 0"), "sweep.toml:3: seeds: 0 is not in 1..1000000"),
        (("seeds = 4", 'seeds = "4"'), "sweep.toml:3: seeds: '4' is not an integer"),
        (
            ("seeds = 4", 'seeds = 4\ncompare = "polcy"'),
            "compare: 'polcy' is not one of policy, workload.scatter; did you mean policy?",
        ),
        (("seeds = 4", "seeds = 4\nsample = 5"), "sample: 5 combinations, and there are 1 to 4"),
        (
            ('"workload.scatter" =', '"workload.scater" ='),
            "parameters.workload.scater: workload.scater: unknown key, did you mean scatter?",
        ),
        (("[0.0, 1.0]", '["a"]'), "workload.scatter: 'a' is not a number"),
        (("[0.0, 1.0]", "[1.5]"), "workload.scatter: 1.5 is not a share, from 0 to 1"),
        (("per-hour = 120", "per-hour = 0"), "workload.processes 1: per-hour: 0 is not more than 0"),
        (("per-hour = 120", "per-hour = 1e9"), "processes need more than the 10000 steps that can be played"),
        (("lifetime = 60", "lifetime = nan"), "lifetime: nan is not more than 0"),
        (("seconds = 600", "seconds = -1"), "seconds: -1.0 is not a time: more than 0 seconds"),
        (("stop = 300", "stop = 3000"), "0 to 3000 is not a time within the workload's 600 seconds"),
        (("at = 400", "at = 700"), "wanted 2: at: 700 is not a time within the workload's 600 seconds"),
        (("online_kernel", "online_krenel"), "guest.default-state: 'online_krenel' is not one of"),
        (('memory = "1G"', 'memory = "1"'), "guest.memory: 1 (0x1) is not"),
        (("left-behind = 0.5", 'trace = "gone.csv"'), "gone.csv: No such file or directory"),
        (("[guest]", 'scenario = "x.toml"\n[guest]'), "x.toml is the scenario: [guest] cannot stand next to it"),
    ],
)
def test_wrong_file_is_refused_in_a_line(change: tuple[str, str], complaint: str) -> None:
    text = TEXT.replace(*change)
    assert text != TEXT
    if change[1].startswith("scenario"):
        text = f"{change[1].partition(chr(10))[0]}\n{TEXT}"
    with pytest.raises(UsageError) as refused:
        loads(text, source="sweep.toml")
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_grid_of_a_million_million_runs_is_refused_at_once() -> None:
    ranges = "\n".join(
        f'"workload.processes.slab.{key}" = {{from = 1, to = 10000, by = 1}}'
        for key in ("size", "per-hour", "lifetime")
    )
    with pytest.raises(
        ScenarioError,
        match=r"10000 x 10000 x 10000 x 2 x 2 combinations x 4 seeds are 16000000000000 runs, and at most 2000000",
    ):
        loads(TEXT.replace("[parameters]", f"[parameters]\n{ranges}"))


def test_fault_of_the_scenario_is_not_taken_for_the_parameters() -> None:
    text = TEXT.replace("[workload]", '[[step]]\ndo = "use"\nid = "a"\nsize = "16MB"\n\n[workload]')
    with pytest.raises(ScenarioError, match=r"^sweep:\d+: step 1: size: not a size: '16MB'"):
        loads(text)


def test_sweep_that_does_nothing_is_refused() -> None:
    with pytest.raises(ScenarioError, match="nothing is done: there is neither a step nor a workload"):
        loads("[guest]\nmemory = '1G'")
