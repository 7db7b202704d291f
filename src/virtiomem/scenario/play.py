"""Play a scenario on a guest, and keep what happened."""

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from msgspec import UNSET, structs

from virtiomem import border
from virtiomem.abi import OnlineType
from virtiomem.errors import ScenarioError, UsageError
from virtiomem.files import within
from virtiomem.guest.base import Guest
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.guest.embedded.adopt import boot_listing
from virtiomem.kdump.room import choices_of, elfcorehdr_size
from virtiomem.recording import Recording, Snapshot, Step, StepRecord
from virtiomem.recording.pages import held, looked_at
from virtiomem.recording.sharing import share
from virtiomem.releases.linux import LINUX
from virtiomem.releases.qemu import QEMU
from virtiomem.resource import iomem
from virtiomem.scenario.checks import check_listing
from virtiomem.scenario.toml_file import to_dict
from virtiomem.scenario.values import Scenario
from virtiomem.units import Size

if TYPE_CHECKING:
    from virtiomem.live.capture import Capture

OnStep = Callable[[Recording], None]
"""Told the recording so far: once before the first step, then after each; it is one object, which grows."""


def embedded_guest(scenario: Scenario, boot: Snapshot | None = None) -> EmbeddedGuest:
    """A scenario's guest in this process, booted, or in the state that its capture shows.

    `boot` is a real guest's snapshot to start from instead. Raises VirtiomemError for an impossible guest.
    """
    border.instance("scenario", scenario, Scenario)
    if boot is None and scenario.guest.capture is not None:
        return _captured_guest(scenario, scenario.guest.capture)
    return EmbeddedGuest(scenario.guest, scenario.driver, scenario.devices, scenario.boot_iomem, boot=boot)


def _captured_guest(scenario: Scenario, capture: str) -> EmbeddedGuest:
    """The guest that goes on where a capture was taken; complaints name scenario and capture."""
    from virtiomem.live.reading import load_any

    path = within(scenario.folder, capture)
    try:
        return _go_on(scenario, load_any(path))
    except ScenarioError as error:
        raise error.of(scenario.source) from None
    except UsageError as error:
        told = str(error)
        # Complaints about a listing or a capture begin with its file already.
        reason = told if told.startswith(path) else f"{path}: {told}"
        raise ScenarioError(reason, where="guest.capture", source=scenario.source) from None


def _go_on(scenario: Scenario, capture: "Capture") -> EmbeddedGuest:
    """The guest in the state of a capture that has been read."""
    from virtiomem.live.start import start_from

    guest, driver, boot = start_from(capture, scenario.guest, scenario.driver)
    # Only now: what the captured Linux has at a device's addresses was not known when the scenario was read.
    check_listing(scenario.devices, iomem.loads(boot_listing(boot, scenario.devices)))
    return EmbeddedGuest(guest, driver, scenario.devices, "", boot=boot)


def like(scenario: Scenario, guest: Mapping[str, Any]) -> Scenario:
    """The scenario on the kernel and QEMU that a recording's `guest` names, and where it does not say, with the build's
    choices.

    Raises UsageError for one that does not begin with a version.
    """
    border.instance("scenario", scenario, Scenario)
    border.instance("guest", guest, Mapping)
    config, state = scenario.guest, guest.get("default-state")
    for key, releases in (("kernel", LINUX), ("qemu", QEMU)):
        version = guest.get(key)
        if isinstance(version, str):
            releases.release(version)
            config = structs.replace(config, **{key: version})
    # What the scenario says itself wins.
    if config.default_state is None and state in list(OnlineType):
        config = structs.replace(config, default_state=state)
    free = guest.get("free")
    # What travels along was never checked.
    if config.free is None and isinstance(free, int) and 0 < free <= config.memory:
        config = structs.replace(config, free=Size(free))
    if (size := guest.get("crash-elfcorehdr-size")) != elfcorehdr_size(
        config.release, config.build, config.architecture
    ):
        config = structs.replace(config, **choices_of(size))
    return structs.replace(scenario, guest=config)


def play_again(scenario: Scenario, real: Recording) -> Recording:
    """Play on the embedded guest what was played on a real one: on its kernel, from where it booted.

    Where the recording says what pages were (`LinuxGuest` with `pages`), the embedded kernel has its own in each step where
    the real one had them, which cannot be predicted. Each step lasts as long as it did, for a timer that expires in it. Raises
    as `like` and `embedded_guest`.
    """
    return follow(like(scenario, real.guest), real)


def follow(scenario: Scenario, real: Recording) -> Recording:
    """As `play_again`, on the kernel that the scenario names."""
    with closing(embedded_guest(scenario, real.boot)) as guest:
        return play(scenario, Follower(guest, real))


class Follower:
    """An embedded guest that follows a real one: its steps last as long, its kernel's pages are where the real kernel's are."""

    def __init__(self, guest: EmbeddedGuest, real: Recording) -> None:
        self.info, self.boot, self.close, self.foresee = guest.info, guest.boot, guest.close, guest.foresee
        self._guest = guest
        self._before = real.boot
        self._records = iter(real.steps)
        self._looked_at = looked_at(real)

    def play(self, step: Step) -> StepRecord:
        """Do one step, as long as there is one to follow."""
        # The real guest was lost in the step before, or the scenario has grown since: from here on the model is on its own.
        if (real := next(self._records, None)) is None:
            return self._guest.play(step)
        if self._looked_at:
            self._guest.kernel.memory.users.hold(held(self._before, real.snapshot))
        self._before = real.snapshot
        return self._guest.play(step, lasts=real.elapsed or 0)


def play(scenario: Scenario, guest: Guest, on_step: OnStep | None = None) -> Recording:
    """Play every step, in order, and return the recording.

    A step that is refused or stops short is an outcome like any other. The recording says on which day it was made where
    anything real took part; else it is the same on every day. Raises BackendError when the guest is lost.
    """
    border.instance("scenario", scenario, Scenario)
    border.function("guest.play", getattr(guest, "play", None))
    today = datetime.now(tz=UTC).date().isoformat() if "qemu" in guest.info else UNSET
    recording = Recording(guest=guest.info, recorded=today, scenario=to_dict(scenario), boot=guest.boot, steps=[])
    tell = on_step if on_step is not None else lambda _: None
    tell(recording)
    for step in scenario.steps:
        record = guest.play(step)
        # A guest of 16 TiB has 131 072 memory blocks: without sharing, each step would keep all of them once more.
        before = recording.steps[-1].snapshot if recording.steps else recording.boot
        recording.steps.append(structs.replace(record, snapshot=share(before, record.snapshot)))
        tell(recording)
    return recording
