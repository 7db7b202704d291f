"""Play a scenario on a guest, and keep what happened."""

from collections.abc import Callable

from virtiomem.guest.base import Guest
from virtiomem.recording import Recording, StepRecord
from virtiomem.scenario.files import to_dict
from virtiomem.scenario.values import Scenario

OnStep = Callable[[int, StepRecord], None]
"""Told after each step: its index from 0, and what came of it."""


def play(scenario: Scenario, guest: Guest, on_step: OnStep | None = None) -> Recording:
    """Play every step, in order, and return the recording.

    A step that is refused or stops short is an outcome like any other. Raises BackendError when the guest is lost.
    """
    boot = guest.boot
    records: list[StepRecord] = []
    for index, step in enumerate(scenario.steps):
        record = guest.play(step)
        records.append(record)
        if on_step is not None:
            on_step(index, record)
    return Recording(guest=guest.info, scenario=to_dict(scenario), boot=boot, steps=records)
