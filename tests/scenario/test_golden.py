import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from virtiomem import recording, scenario
from virtiomem.errors import BackendError, KernelPanic, UsageError
from virtiomem.guest.base import Guest
from virtiomem.reasons import Reason
from virtiomem.recording import Recording, Snapshot, Step, StepRecord
from virtiomem.scenario import Scenario, golden, golden_formats, golden_jobs
from virtiomem.scenario.golden import GoldenOutcome

GROW = """
[guest]
default-state = "{state}"
[[device]]
id = "vm0"
max-size = "1G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "{size}"
"""


def write(path: Path, size: str = "256M", state: str = "online_movable") -> Path:
    path.write_text(GROW.format(size=size, state=state))
    return path


def outcomes(place: Path, *, update: bool = False, jobs: int = 1) -> dict[str, GoldenOutcome]:
    results = golden_jobs.repeat_all(golden.find([str(place)]), update=update, jobs=jobs)
    return {Path(result.name).stem: result.outcome for result in results}


def test_a_scenario_is_the_same_as_what_was_kept_of_it(tmp_path: Path) -> None:
    write(tmp_path / "grow.toml")
    assert outcomes(tmp_path) == {"grow": GoldenOutcome.NO_GOLDEN}
    assert not (tmp_path / "grow.json").exists()
    assert outcomes(tmp_path, update=True) == {"grow": GoldenOutcome.UPDATED}
    assert outcomes(tmp_path) == {"grow": GoldenOutcome.SAME}


def test_a_wrong_golden_recording_is_shown_and_stays_until_it_is_updated(tmp_path: Path) -> None:
    write(tmp_path / "grow.toml")
    outcomes(tmp_path, update=True)
    write(tmp_path / "grow.toml", state="online_kernel")
    before = (tmp_path / "grow.json").read_bytes()
    (result,) = golden_jobs.repeat_all(golden.find([str(tmp_path)]))
    assert result.outcome is GoldenOutcome.DIFFERENT
    assert result.difference is not None
    assert "Movable" in result.difference.a
    assert "Normal" in result.difference.b
    assert (tmp_path / "grow.json").read_bytes() == before
    (result,) = golden_jobs.repeat_all(golden.find([str(tmp_path)]), update=True)
    assert result.outcome is GoldenOutcome.UPDATED
    assert result.what.startswith("2 steps; was different at step 2")
    assert outcomes(tmp_path) == {"grow": GoldenOutcome.SAME}


def test_the_model_starts_where_a_real_guest_did_and_as_its_release(tmp_path: Path) -> None:
    kept = Path(__file__).parents[1] / "data" / "recordings" / "a-patch-exact"
    real = recording.load(kept / "recording.json")
    for name in ("exact.toml", "boot.iomem"):
        (tmp_path / name).write_bytes((kept / name.replace("exact", "scenario")).read_bytes())
    recording.dump(real, tmp_path / "exact.json")
    assert outcomes(tmp_path) == {"exact": GoldenOutcome.SAME}


def test_a_release_that_the_scenario_names_is_played(tmp_path: Path) -> None:
    path = write(tmp_path / "grow.toml", state="")
    text = path.read_text().replace('default-state = ""', 'kernel = "6.1"')
    path.write_text(text)
    outcomes(tmp_path, update=True)  # Debian's 6.1 leaves added memory offline, its 6.12 does not
    path.write_text(text.replace("6.1", "6.12"))
    assert outcomes(tmp_path) == {"grow": GoldenOutcome.DIFFERENT}


def test_one_that_cannot_be_played_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.toml")
    outcomes(tmp_path, update=True)

    def lose_b(played: Scenario) -> Guest:
        if played.source.endswith("b.toml"):
            raise BackendError("QEMU was killed")
        return scenario.embedded_guest(played)

    results = list(golden_jobs.repeat_all(golden.find([str(tmp_path)]), lose_b))
    assert [result.outcome for result in results] == [
        GoldenOutcome.SAME,
        GoldenOutcome.NOT_PLAYED,
        GoldenOutcome.SAME,
    ]
    assert results[1].what == "QEMU was killed"
    report = golden_formats.to_junit(results, "all").decode()
    assert 'tests="3" failures="0" errors="1"' in report


@pytest.mark.long
def test_several_at_a_time_come_out_as_one_by_one(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.toml", size=f"{(number + 1) * 128}M")
    assert outcomes(tmp_path, update=True, jobs=2) == dict.fromkeys("012", GoldenOutcome.UPDATED)
    assert outcomes(tmp_path, jobs=2) == dict.fromkeys("012", GoldenOutcome.SAME)


@pytest.mark.long
def test_an_interrupt_ends_the_processes_that_play(tmp_path: Path) -> None:
    for number in range(40):
        write(tmp_path / f"{number}.toml")
    command = [sys.executable, "-m", "virtiomem", "test", "-j", "2", "--update", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("updated")
        os.kill(process.pid, signal.SIGINT)
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(
        r"virtiomem: interrupted: \d+ of 40 scenarios played; golden recordings that were written are whole\n",
        complaint,
    )


def _die(_: Scenario) -> Guest:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_process_that_is_killed_is_one_test_that_was_not_played(tmp_path: Path) -> None:
    write(tmp_path / "grow.toml")
    (result,) = golden_jobs.repeat_all(golden.find([str(tmp_path)]), _die, jobs=2)
    assert result.outcome is GoldenOutcome.NOT_PLAYED
    assert result.what.startswith("the process that played it was killed")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "no scenario (NAME.toml) in this directory or below"),
        ("empty/../x.json", "a scenario's name must end with .toml, its recording is NAME.json"),
        ("missing.toml", "No such file or directory"),
    ],
)
def test_what_is_no_test_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        golden.find([str(tmp_path / name)])
    assert str(caught.value).endswith(words)


def test_a_golden_recording_that_is_invalid_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    write(tmp_path / "grow.toml")
    (tmp_path / "grow.json").write_text("{}")
    with pytest.raises(UsageError, match=r"grow\.json: not a recording"):
        golden.find([str(tmp_path)])


def test_each_scenario_is_played_once(tmp_path: Path) -> None:
    path = write(tmp_path / "grow.toml")
    assert len(golden.find([str(tmp_path), str(path), str(tmp_path / ".." / tmp_path.name / "grow.toml")])) == 1


class Recorded:
    """A guest that does again what a recording of a real one says; where it has no more steps, its kernel panics."""

    def __init__(self, real: Recording) -> None:
        self.info: dict[str, Any] = real.guest
        self.boot: Snapshot = real.boot
        self._records = iter(real.steps)

    def play(self, step: Step) -> StepRecord:
        for record in self._records:
            assert record.step == step
            return record
        raise KernelPanic("the guest's kernel panicked while playing it", said=["BUG: it", "Kernel panic - it"])

    def foresee(self, _: Step) -> Reason | None:
        return None

    def close(self) -> None:
        pass


HELD = Path(__file__).parents[1] / "data" / "recordings-held"


@pytest.fixture
def held(tmp_path: Path) -> Recording:
    """A scenario with memory in use below tmp_path, and what a real 6.1 did of it; its golden recording is the model's."""
    shutil.copy(HELD / "kernel-pages-6.1" / "scenario.toml", tmp_path / "held.toml")
    assert outcomes(tmp_path, update=True) == {"held": GoldenOutcome.UPDATED}
    return recording.load(HELD / "kernel-pages-6.1" / "recording.json")


def held_against(real: Recording, place: Path, **options: Any) -> golden.GoldenResult:
    (result,) = golden_jobs.repeat_all(golden.find([str(place)]), lambda _: Recorded(real), **options)
    return result


def without_a_request(real: Recording) -> Recording:
    """The same kernel without the last UNPLUG of step 6."""
    steps = list(real.steps)
    steps[5] = structs.replace(steps[5], requests=steps[5].requests[:-1])
    return structs.replace(real, steps=steps)


def test_pages_may_lie_where_a_real_kernel_chose(held: Recording, tmp_path: Path) -> None:
    result = held_against(held, tmp_path)
    assert result.outcome is GoldenOutcome.SAME
    assert result.notes == (
        "the model, with the pages where this kernel had them: from step 3 (resize vm0 to 0) on they lie elsewhere",
    )
    assert result.guests[1] == held.guest


def test_two_real_kernels_may_choose_other_pages(held: Recording, tmp_path: Path) -> None:
    recording.dump(recording.load(HELD / "kernel-pages-6.12" / "recording.json"), tmp_path / "held.json")
    assert held_against(held, tmp_path).outcome is GoldenOutcome.SAME


def test_what_the_model_does_not_do_with_these_pages_is_different(held: Recording, tmp_path: Path) -> None:
    result = held_against(without_a_request(held), tmp_path)
    assert result.outcome is GoldenOutcome.DIFFERENT
    assert result.difference is not None
    assert result.difference.step == 6
    assert result.difference.b == "no such request"


def test_a_wrong_golden_recording_is_not_explained_by_pages(held: Recording, tmp_path: Path) -> None:
    recording.dump(without_a_request(recording.load(tmp_path / "held.json")), tmp_path / "held.json")
    assert held_against(held, tmp_path).outcome is GoldenOutcome.DIFFERENT


def test_a_difference_names_what_the_guests_do_not_share(tmp_path: Path) -> None:
    path = write(tmp_path / "grow.toml")
    text = path.read_text().replace('default-state = "online_movable"', 'kernel = "6.1"')
    path.write_text(text)
    outcomes(tmp_path, update=True)
    path.write_text(text.replace("6.1", "6.12"))
    (result,) = golden_jobs.repeat_all(golden.find([str(tmp_path)]))
    assert result.notes == ("the guests differ: kernel 6.1 / 6.12, default-state offline / online",)


def test_a_panic_in_a_step_is_a_failure_with_its_trace(held: Recording, tmp_path: Path) -> None:
    result = held_against(structs.replace(held, steps=held.steps[:2]), tmp_path)
    assert (result.outcome, result.said) == (GoldenOutcome.PANICKED, ("BUG: it", "Kernel panic - it"))
    report = golden_formats.to_junit([result], "all").decode()
    assert 'failures="1" errors="0"' in report
    assert "<system-err>BUG: it\nKernel panic - it</system-err>" in report


def test_a_kernel_that_does_not_boot_was_not_played(tmp_path: Path) -> None:
    write(tmp_path / "grow.toml")

    def panic(_: Scenario) -> Guest:
        raise KernelPanic("the guest's kernel panicked while booting")

    (result,) = golden_jobs.repeat_all(golden.find([str(tmp_path)]), panic)
    assert result.outcome is GoldenOutcome.NOT_PLAYED


@pytest.mark.parametrize(
    ("fails", "outcome"), [(False, GoldenOutcome.SAME), (True, GoldenOutcome.WARNED)], ids=["said", "fails"]
)
def test_a_kernel_that_complains_of_itself(
    held: Recording, tmp_path: Path, fails: bool, outcome: GoldenOutcome
) -> None:
    steps = list(held.steps)
    steps[1] = structs.replace(
        steps[1], log=["virtio_mem virtio0: plugged size: 0x0", "WARNING: CPU: 0 PID: 9 at f.c:1"]
    )
    result = held_against(structs.replace(held, steps=steps), tmp_path, fail_on_warn=fails)
    assert (result.outcome, result.complaints) == (
        outcome,
        ("step 2 (resize vm0 to 1G): WARNING: CPU: 0 PID: 9 at f.c:1",),
    )


def test_what_was_played_is_kept_as_the_scenarios_lie(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / "suite" / folder).mkdir(parents=True)
        write(tmp_path / "suite" / folder / "grow.toml")
    kept = golden.keep_in(str(tmp_path / "kept"), golden.find([str(tmp_path / "suite")]))
    list(golden_jobs.repeat_all(kept))
    for folder in ("a", "b"):
        assert recording.load(tmp_path / "kept" / folder / "grow.json").guest["kind"] == "embedded"
    with pytest.raises(UsageError, match=r"grow\.json: would overwrite .*grow\.json; give another name"):
        golden.keep_in(str(tmp_path / "suite"), kept)


def test_a_place_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nosuch: no such file or directory"):
        golden.find([str(tmp_path / "nosuch")])


def test_a_scenario_in_this_directory_has_its_name_as_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "grow.toml")
    monkeypatch.chdir(tmp_path)
    report = golden_formats.to_junit(list(golden_jobs.repeat_all(golden.find(["grow.toml"]))), "all").decode()
    assert f'classname="{tmp_path.name}"' in report
