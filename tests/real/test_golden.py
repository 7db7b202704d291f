"""A real kernel against golden recordings: memory in use, a complaint of the kernel's, a panic in a step."""

from pathlib import Path

import pytest

from virtiomem.guest.linux import LinuxGuest, Setup
from virtiomem.recording import Step, StepRecord
from virtiomem.scenario import Scenario, golden, golden_jobs
from virtiomem.scenario.golden import GoldenOutcome, GoldenResult

pytestmark = pytest.mark.real

HELD = """
[guest]
memory = "2G"
max-memory = "4G"
default-state = "online_kernel"
[[device]]
id = "vm0"
max-size = "1G"
requested-size = "512M"
[[step]]
do = "load"
[[step]]
do = "use"
id = "pinned"
size = "1G"
kind = "unmovable"
[[step]]
do = "resize"
device = "vm0"
requested-size = "0"
"""


class Troubled(LinuxGuest):
    """A real Linux in which a shell command runs with each step."""

    def __init__(self, played: Scenario, setup: Setup, trouble: str) -> None:
        super().__init__(played.guest, played.devices, played.driver, setup=setup, pages=True)
        self._trouble = trouble

    def play(self, step: Step) -> StepRecord:
        self.shell(self._trouble)
        return super().play(step)


def played(place: Path, setup: Setup, trouble: str) -> GoldenResult:
    """The result of a scenario whose golden recording is the model's."""
    path = place / "held.toml"
    path.write_text(HELD)
    list(golden_jobs.repeat_all(golden.find([str(path)]), update=True))
    (result,) = golden_jobs.repeat_all(golden.find([str(path)]), lambda scenario: Troubled(scenario, setup, trouble))
    return result


def test_memory_in_use_may_lie_where_the_kernel_chose(tmp_path: Path, setup: Setup) -> None:
    result = played(tmp_path, setup, "true")
    assert (result.outcome, result.complaints) == (GoldenOutcome.SAME, ())


def test_a_complaint_of_the_kernel_is_said_with_its_step(tmp_path: Path, setup: Setup) -> None:
    result = played(tmp_path, setup, "echo '<4>WARNING: CPU: 0 PID: 1 at f.c:1' >/dev/kmsg")
    assert result.complaints[0] == "step 1 (load the driver): WARNING: CPU: 0 PID: 1 at f.c:1"


def test_a_panic_in_a_step_is_no_guest_that_was_lost(tmp_path: Path, setup: Setup) -> None:
    result = played(tmp_path, setup, "echo c >/proc/sysrq-trigger")
    assert result.outcome is GoldenOutcome.PANICKED
    assert any("sysrq_handle_crash" in line for line in result.said)
