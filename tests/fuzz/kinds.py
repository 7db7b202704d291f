"""Every kind of input: whatever becomes of a sound file of it, there is an answer, or one line that says why not, in bounded time."""

import json
import os
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.promise import ROOT, run, spoiled
from tests.live import test_kinds as examples
from virtiomem.live.kinds.table import KINDS

SHARED = Path(os.environ.get("VIRTIOMEM_SHARED", ROOT.parent / "shared"))


def _header() -> bytes:
    """A crash header, as ours is."""
    with TemporaryDirectory() as folder:
        listing, header = Path(folder, "l"), Path(folder, "h")
        listing.write_text(examples.LISTING)
        run("kdump", listing, "-o", header)  # it says what it lacks
        return header.read_bytes()


_DUMP = examples.dump(examples.PAGES, examples.PAGES[::2])
SOUND: dict[str, list[bytes]] = {
    **{name: [text.encode()] for name, text in examples.TEXTS.items()},
    "lsmem": [*(text.encode() for text in examples.STYLES.values()), examples.LSMEM.encode()],
    "jc": [examples.JC.encode(), examples.OURS.encode()],
    "volatility": [
        text.encode()
        for text in (examples.VOLATILITY_2, examples.VOLATILITY_3, examples.VOLATILITY_PRETTY, examples.VOLATILITY_CSV)
    ],
    "elf": [_header()],
    "kdump": [_DUMP, examples.flattened(_DUMP)],
    "capture": [(ROOT / "examples/guest.capture").read_bytes()],
}
"""Sound files of each kind; other people's lsmem is read in place."""
SOUND["lsmem"] += [path.read_bytes() for path in sorted(SHARED.glob("iomem/*.lsmem"))]
COMMANDS: tuple[list[str], ...] = (
    *(["read", "F"], ["read", "--json", "F"], ["blocks", "F"], ["blocks", "--json", "F"], ["iomem", "--lenient", "F"]),
    *(["iomem", "--raw", "F"], ["map", "--json", "F"], ["kdump", "F"], ["kdump", "--lenient", "L", "--against", "F"]),
)
_IN_A_FOLDER = (
    *("proc/iomem", "proc/zoneinfo", "proc/buddyinfo", "proc/pagetypeinfo", "sos_commands/memory/lsmem_-a"),
    *("sos_commands/kernel/dmesg", "lsmem.txt", "sys/devices/system/memory/block_size_bytes"),
)


def trial(random: Random) -> list[tuple[str, str]]:
    """Spoil a file of a kind and have a command read it: as what it looks like, as its kind, as another, or in a folder."""
    name = random.choice(list(SOUND))
    raw = _spoiled(random, name)
    with TemporaryDirectory() as folder:
        brought, listing = Path(folder, "f"), Path(folder, "l")
        listing.write_bytes(SOUND["listing"][0])
        if random.random() < 0.1:
            name = "folder"
            _fill(random, brought)
        else:
            brought.write_bytes(raw)
        command = [{"F": brought, "L": listing}.get(word, word) for word in random.choice(COMMANDS)]
        kind = random.choice((None, None, name, random.choice(KINDS).name))
        ran = run(*command, *(["--from", kind] if kind else []))
    if ran.code == 2:
        said = len(ran.err.splitlines()) - (len(_IN_A_FOLDER) if name == "folder" else 0)
        assert said <= 3, f"what it was taken for, and why not: {ran.err[:600]!r}"
        assert not ran.out, "nothing half-written"
    elif "--json" in command:
        json.loads(ran.out)
    return [(name, f"exit {ran.code}")]


def _spoiled(random: Random, name: str) -> bytes:
    sound = random.choice(SOUND[name])
    other = random.choice(SOUND[random.choice(list(SOUND))])
    if random.random() < 0.05:
        return sound
    if random.random() < 0.1:
        return sound + b"\n" + other
    raw = bytearray(spoiled(random, sound, other))
    for _ in range(random.choice((0, 0, 1, 4)) if raw else 0):
        raw[random.randrange(len(raw))] = random.randrange(256)
    return bytes(raw)


def _fill(random: Random, folder: Path) -> None:
    """A folder with some files where those of a machine stand, each of any kind."""
    folder.mkdir()
    for place in random.sample(_IN_A_FOLDER, random.randint(0, 4)):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_spoiled(random, random.choice(list(SOUND))))
