"""Play the recorded scenarios again, each on the Linux that it names, and keep what it does: `make record`.

    python tests/real/record.py [NAME ...]

Each folder of tests/data/recordings* with a scenario.toml gets its recording.json and boot.iomem again, with kernel, QEMU,
command line and date; times and the kernel's log are left out, so that two recordings of the same kernel are the same.
Scenarios of a driver that was rebuilt (`merge-resources = false`) or that another notifier held up (`inject`) are left as
they are. Exits 1 when one came out
otherwise than it is on file, after having written it.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import UNSET, structs

from virtiomem import recording, scenario
from virtiomem.guest.linux import LinuxGuest, Setup, needs_kexec
from virtiomem.recording import Recording, Snapshot, StepRecord
from virtiomem.recording.compare import compare
from virtiomem.recording.values import Inject

FOLDER = Path(__file__).parents[1] / "data"

LOOKED_AT = "recordings-held"
"""Where recordings say what pages were, and start from the built-in layout."""

_CLAIM = re.compile(r"^ *[0-9a-f-]+ : virtio-pci-\w+\n", re.MULTILINE)
"""A PCI driver's claim inside a BAR: it comes and goes with the driver."""


def main(names: list[str]) -> int:
    """Record, and say what came out."""
    different = 0
    for folder in folders(names):
        new = record(folder)
        old = folder / "recording.json"
        difference = compare(recording.load(old), new) if old.exists() else None
        different += difference is not None
        recording.dump(new, old)
        if folder.parent.name != LOOKED_AT:
            (folder / "boot.iomem").write_text(new.boot.iomem)
        print(f"{folder.name}: {difference or 'same'}", flush=True)  # noqa: T201
    return 1 if different else 0


def folders(names: list[str]) -> Iterator[Path]:
    """The folders to record."""
    for path in sorted(FOLDER.glob("recordings*/*/scenario.toml")):
        wanted = not names or path.parent.name in names
        played = scenario.load(path)
        stock = played.driver.merge_resources and not any(isinstance(step, Inject) for step in played.steps)
        if wanted and stock:
            yield path.parent


def record(folder: Path) -> Recording:
    """Play a scenario and leave out what is chance."""
    played = scenario.load(folder / "scenario.toml")
    kexec = needs_kexec(played.steps)
    setup = Setup(kernel=played.guest.release.name)
    pages = folder.parent.name == LOOKED_AT
    with LinuxGuest(played.guest, played.devices, played.driver, setup=setup, kexec=kexec, pages=pages) as guest:
        made = scenario.play(played, guest)
    return structs.replace(
        made,
        scenario=UNSET,
        boot=without_claims(made.boot),
        steps=[without_chance(record) for record in made.steps],
    )


def without_chance(record: StepRecord) -> StepRecord:
    """A step without its times and the kernel's log."""
    snapshot = without_claims(record.snapshot)
    return structs.replace(
        record, snapshot=snapshot, elapsed=UNSET, retry_in=UNSET, held_up=UNSET, reasons=UNSET, log=UNSET
    )


def without_claims(snapshot: Snapshot) -> Snapshot:
    """A snapshot without PCI drivers' claims."""
    return structs.replace(snapshot, iomem=_CLAIM.sub("", snapshot.iomem))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
