"""Make moves on a real device and record the results as a log: the counterpart of `replay`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from msgspec.structs import replace

from virtiomem.conformance import log
from virtiomem.conformance.scripted_driver import ChainRequest, ScriptedDriver
from virtiomem.device.board import MachineKind
from virtiomem.transport.virtio_transport import Observation


@dataclass(frozen=True, slots=True)
class Submit:
    """Make chains available with one notification; `times`: a single one that often."""

    chains: tuple[ChainRequest, ...]
    times: int = 1


@dataclass(frozen=True, slots=True)
class SetSize:
    """Set requested-size."""

    value: int


@dataclass(frozen=True, slots=True)
class ResetDevice:
    """Reset the virtio device and bring it up with these features."""

    features: int


@dataclass(frozen=True, slots=True)
class ResetSystem:
    """Reset the machine and bring the device up again."""


@dataclass(frozen=True, slots=True)
class Migrate:
    """Start a migration, or cancel it."""

    start: bool


@dataclass(frozen=True, slots=True)
class SetRing:
    """Say when the device shall interrupt."""

    flags: int
    used_event: int


@dataclass(frozen=True, slots=True)
class SweepStates:
    """Ask for the STATE of every usable block."""


Move = Submit | SetSize | ResetDevice | ResetSystem | Migrate | SetRing | SweepStates


class Recorder:
    """A driver of a device, and the features it is brought up with."""

    def __init__(
        self,
        driver: ScriptedDriver,
        features: int,
        qemu: str | None = None,
        machine: MachineKind | None = None,
        *,
        own_words: bool = False,
    ) -> None:
        """`qemu`, `machine`, `own_words` are written to the log: version, machine if not a q35, whether refusals are
        its own.
        """
        self._driver = driver
        self._features = features
        self._qemu = qemu
        self._machine = machine
        self._own_words = own_words

    def twin(self, driver: ScriptedDriver) -> "Recorder":
        """A recorder at the same point as this one, with a driver of another device."""
        return Recorder(driver, self._features, self._qemu, self._machine, own_words=self._own_words)

    def start(self) -> log.Header:
        """Bring the device up; the first line of a log."""
        transport = self._driver.transport
        # Before it is brought up: afterwards these registers show what the driver wrote.
        before, queue_size = self._seen(transport.observe()), transport.queue_size()
        ok = self._driver.bring_up(self._features)
        return log.Header(
            before=before,
            offered=transport.offered(),
            accepted=self._features,
            features_ok=ok,
            queue_size=queue_size,
            ring_size=self._driver.ring_size,
            qemu=self._qemu,
            machine=self._machine,
            own_words=self._own_words,
            **self._after(),
        )

    def play(self, move: Move) -> log.Operation:
        """Make a move and return the line that records its result."""
        driver = self._driver
        match move:
            case Submit(chains, times):
                return self._submit(chains, times)
            case SetSize(value):
                refusal = driver.set_requested_size(value)
                said = log.QmpReply({}) if refusal is None else log.QmpReply(error=log.QmpError(desc=refusal))
                return log.Qmp(name="requested-size", value=value, result=said, **self._after())
            case ResetDevice(features):
                self._features = features
                return log.DeviceReset(features_ok=driver.bring_up(features), accepted=features, **self._after())
            case ResetSystem():
                driver.owner.system_reset()
                before = self._seen(driver.transport.observe())
                return log.SystemReset(before_init=before, features_ok=driver.bring_up(self._features), **self._after())
            case Migrate(start):
                driver.owner.set_busy(start)
                return log.MigrateStart(**self._after()) if start else log.MigrateCancel(**self._after())
            case SetRing(flags, used_event):
                driver.set_ring(flags, used_event)
                return log.AvailRing(flags=flags, used_event=used_event, **self._after())
            case SweepStates():
                swept = driver.sweep()
                return log.FinalStateSweep(state_runs_over_usable_blocks=swept.runs, **self._fields(swept.seen))
            case _:
                assert_never(move)

    def _submit(self, chains: Sequence[ChainRequest], times: int) -> log.Batch:
        result = self._driver.submit(chains, times)
        sent = [
            log.Sent(
                out=chain.out.hex(),
                out_lens=list(chain.out_lens),
                in_lens=list(chain.in_lens),
                data=result.data[number].hex(),
                used_len=result.used_len(number),
                desc=chain.desc,
            )
            for number, chain in enumerate(chains)
        ]
        batch = log.Batch(reqs=sent, used=result.returned, times=times, **self._fields(result.seen))
        returned = [used.id for used in result.used]
        # An order is worth noting only when it is another one, and only of a batch that came back whole.
        if returned == list(result.heads) or sorted(returned) != sorted(result.heads):
            return batch
        return replace(batch, order=[result.heads.index(head) for head in returned])

    def _after(self) -> log.Registers:
        return self._fields(self._driver.transport.observe())

    def _fields(self, seen: Observation) -> log.Registers:
        size: int | None = None
        with suppress(NotImplementedError):  # the VMM cannot say
            size = self._driver.owner.size()
        return {"cfg": seen.config, "status": seen.status, "isr": seen.isr, "gen": seen.generation, "size": size}

    def _seen(self, seen: Observation) -> log.Observed:
        return log.Observed(**self._fields(seen))
