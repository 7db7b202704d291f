"""The workload model's parameters, fitted to what was observed of real guests, and how far off it is with them.

Played is what `workload` makes of one kind of process: the observed amounts, movable and not, come in a few parts
and go again, but for the share that is left behind, on the guest that was observed. The fit takes, of a grid, the
parameters with the least sum of squares over all observations of two differences: what came back, as a share of the device, and
memory blocks held under load, as a share of its blocks. Everything else that is compared is not fitted.
"""

import random
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import median_low
from typing import Self

from msgspec import Struct, structs

from virtiomem import border
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording.values import Free, Load, Resize, Use, UseKind, Wait
from virtiomem.scenario.play import embedded_guest
from virtiomem.scenario.toml_file import complete
from virtiomem.scenario.values import Scenario, ScenarioFile
from virtiomem.sweep.observe import BLOCKS, DEVICE, GUEST, RETRIES, WorkloadSeen
from virtiomem.sweep.values import LEFT_BEHIND, SCATTER
from virtiomem.units import Size

SCATTERS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
SHARES_LEFT = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.3, 0.5, 1.0)
"""The grid: values of scatter, and of left-behind."""
SEEDS = 5
_PARTS = 8
"""Number of parts that memory is taken in, movable and not in turn."""


class WorkloadShares(Struct, frozen=True, rename="kebab", order=True):
    """The two parameters of the workload model."""

    scatter: float
    left_behind: float


DEFAULTS = WorkloadShares(SCATTER, LEFT_BEHIND)


class ShrinkFigures(Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    """Figures that are compared: pageblocks held under load and after it, memory blocks that they lie in under load,
    bytes that came back.
    """

    held: int
    left: int
    blocks: int
    came_back: int

    @classmethod
    def observed(cls, of: WorkloadSeen) -> Self:
        """The figures of a real guest."""
        held, left = of.held(of.loaded), of.held(of.ended)
        return cls(sum(held), sum(left), sum(map(bool, held)), of.came_back)


class Prediction(Struct, frozen=True, rename="kebab"):
    """The model's figures: medians over the seeds, and the least and the most."""

    median: ShrinkFigures
    low: ShrinkFigures
    high: ShrinkFigures


class Compared(Struct, frozen=True, kw_only=True, rename="kebab"):
    """One observation, and the model's figures for the same amounts; bytes."""

    workload: str
    kernel: str
    qemu: str
    accel: str
    movable: int
    unmovable: int
    observed: ShrinkFigures
    fitted: Prediction
    default: Prediction


class Calibration(Struct, frozen=True, kw_only=True, rename="kebab"):
    """The fitted parameters and the defaults, their sums of squares, and what both predict."""

    fitted: WorkloadShares
    default: WorkloadShares
    fitted_error: float
    default_error: float
    compared: list[Compared]


def calibrate(observations: Sequence[WorkloadSeen]) -> Calibration:
    """Fit the parameters to observations, and compare. Raises ArgumentError for none."""
    border.integer("observations", len(observations), 1)
    fitted = _fit(observations)
    return Calibration(
        fitted=fitted,
        default=DEFAULTS,
        fitted_error=error(fitted, observations),
        default_error=error(DEFAULTS, observations),
        compared=[
            Compared(
                **{
                    name: getattr(one, name) for name in ("workload", "kernel", "qemu", "accel", "movable", "unmovable")
                },
                observed=ShrinkFigures.observed(one),
                fitted=predict(one, fitted),
                default=predict(one, DEFAULTS),
            )
            for one in observations
        ],
    )


def _fit(observations: Sequence[WorkloadSeen]) -> WorkloadShares:
    """The best of the grid: one parameter is varied, then the other, until neither gets better."""

    @cache
    def rank(one: WorkloadShares) -> tuple[float, WorkloadShares]:
        # The parameters decide between equal errors: the result does not depend on the order of the grid.
        return error(one, observations), one

    best, found = DEFAULTS, None
    # Not the whole grid: every point of it plays all observations with every seed.
    while best != found:
        found = best
        best = min((structs.replace(best, scatter=scatter) for scatter in SCATTERS), key=rank)
        best = min((structs.replace(best, left_behind=share) for share in SHARES_LEFT), key=rank)
    return best


def error(parameters: WorkloadShares, observations: Sequence[WorkloadSeen]) -> float:
    """The sum of squares that the fit makes small."""
    return sum(square for one in observations for square in _squares(one, predict(one, parameters).median))


def _squares(of: WorkloadSeen, predicted: ShrinkFigures) -> Iterator[float]:
    seen = ShrinkFigures.observed(of)
    yield ((predicted.came_back - seen.came_back) / DEVICE.max_size) ** 2
    yield ((predicted.blocks - seen.blocks) / BLOCKS) ** 2


def predict(of: WorkloadSeen, parameters: WorkloadShares) -> Prediction:
    """The model's figures for the amounts of an observation."""
    played = [_play(of, parameters, seed) for seed in range(SEEDS)]
    columns = {name: [getattr(one, name) for one in played] for name in ShrinkFigures.__struct_fields__}
    return Prediction(
        *(ShrinkFigures(**{name: of(column) for name, column in columns.items()}) for of in (median_low, min, max))
    )


def _play(of: WorkloadSeen, parameters: WorkloadShares, seed: int) -> ShrinkFigures:
    """Play the amounts on the embedded guest: load, end, ask all back."""
    guest = embedded_guest(_scenario(of.kernel))
    guest.act(Load())
    chance = random.Random(seed)
    for use in _uses(of, parameters, chance):
        guest.act(use)
    held, blocks = _held(guest)
    for part in range(_PARTS):
        for kind in ("movable", "unmovable"):
            # The parts `left-0` and on are not freed: they are what stays. A part without a pageblock was never used: the
            # guest refuses to free it, which is ignored.
            guest.act(Free(id=f"{kind}-{part}"))
    left, _ = _held(guest)
    guest.act(Resize(device=DEVICE.id, requested_size=Size(0)))
    # As long as the real driver had.
    guest.act(Wait(seconds=RETRIES))
    return ShrinkFigures(held, left, blocks, int(DEVICE.max_size) - guest.devices[0].owner.size())


def _uses(of: WorkloadSeen, parameters: WorkloadShares, chance: random.Random) -> Iterator[Use]:
    """The amounts in parts; what is left behind of unmovable memory is a use that does not end."""
    pageblock = GUEST.architecture.pageblock_size
    unmovable = round(of.unmovable / pageblock)
    left = round(unmovable * parameters.left_behind)
    amounts: dict[str, tuple[int, UseKind]] = {
        "movable": (round(of.movable / pageblock), "movable"),
        "unmovable": (unmovable - left, "unmovable"),
        "left": (left, "unmovable"),
    }
    # In turn, as a load grows: all movable memory first would push the rest to the end of the device.
    for part, (name, (pageblocks, kind)) in product(range(_PARTS), amounts.items()):
        # The difference of two shares: the parts add up to the whole, however it divides.
        if size := pageblocks * (part + 1) // _PARTS - pageblocks * part // _PARTS:
            yield Use(
                id=f"{name}-{part}",
                size=Size(size * pageblock),
                kind=kind,
                seed=chance.getrandbits(32),
                scatter=parameters.scatter,
            )


def _held(guest: EmbeddedGuest) -> tuple[int, int]:
    """Pageblocks of the device that something unmovable lies in, and the memory blocks of these."""
    places = [place for use in guest.kernel.memory.users if not use.movable for place in use.places]
    return len(places), len({block for block, _ in places})


@cache
def _scenario(kernel: str) -> Scenario:
    """The guest that was observed, on a model of its kernel."""
    return complete(ScenarioFile(guest=structs.replace(GUEST, kernel=kernel), device=[DEVICE]), Path())
