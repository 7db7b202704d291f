"""Request logs of devices: whatever the file, it is replayed, or one line says why not."""

import gzip
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.promise import ROOT, run, spoil_values, spoiled

SOUND = [
    b"\n".join(gzip.decompress(path.read_bytes()).split(b"\n")[:40]) + b"\n"
    for path in sorted(ROOT.glob("tests/data/device-logs/*.gz"))
]


def trial(random: Random) -> None:
    """Replay a spoiled log."""
    raw = random.choice(SOUND)
    if random.random() < 0.7:
        lines = raw.split(b"\n")
        for _ in range(random.choice((1, 1, 2, 5))):
            at = random.randrange(len(lines) - 1) if random.random() < 0.7 else 0
            try:
                values = [json.loads(lines[at])]
            except ValueError:
                continue
            spoil_values(random, values)
            lines[at : at + 1] = [json.dumps(value).encode() for value in values]
        raw = b"\n".join(lines)
    if random.random() < 0.4:
        raw = spoiled(random, raw, random.choice(SOUND))
    if random.random() < 0.1:
        raw = spoiled(random, gzip.compress(raw, mtime=0))
    with TemporaryDirectory() as folder:
        log = Path(folder, "log")
        log.write_bytes(raw)
        run("device", "replay", *random.choice(([], ["--json"])), log)
