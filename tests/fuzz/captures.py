"""Captures: whatever the file, each command that reads one does so, or says in one line why not."""

import gzip
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.promise import ROOT, check_line, run, spoil_values, spoiled
from virtiomem.errors import UsageError
from virtiomem.live import capture
from virtiomem.live.load import from_recording
from virtiomem.recording import json_file

RECORDINGS = sorted(ROOT.glob("tests/data/recordings/*/recording.json"))
EXAMPLE = capture.load(ROOT / "examples/guest.capture")
COMMANDS: tuple[list[str], ...] = (
    *(["blocks", "F"], ["blocks", "--json", "F"], ["blocks", "--devices", "F"], ["blocks", "--split", "all", "F"]),
    *(["iomem", "--lenient", "F"], ["iomem", "check", "F"], ["kdump", "F"], ["kdump", "--json", "F"]),
    *(["map", "--json", "F"], ["run", "--json", "S"], ["run", "S"]),
)
SCENARIO = '[guest]\ncapture = "f"\n[[step]]\ndo = "load"\n[[step]]\ndo = "unload"\n'


def trial(random: Random) -> None:
    """Read a spoiled capture with the library, and with a command."""
    sound = EXAMPLE if random.random() < 0.5 else from_recording(json_file.load(random.choice(RECORDINGS)))
    raw = capture.dumps(sound).encode()
    if random.random() < 0.3:
        values = capture.to_json(sound)
        spoil_values(random, values)
        raw = json.dumps(values).encode()
    if random.random() < 0.7:
        raw = spoiled(random, raw)
    if random.random() < 0.1:
        raw = spoiled(random, gzip.compress(raw, mtime=0))
    try:
        capture.loads(raw)
    except UsageError as error:
        check_line(str(error))
    with TemporaryDirectory() as folder:
        names = {"F": Path(folder, "f"), "S": Path(folder, "s.toml")}
        names["F"].write_bytes(raw)
        names["S"].write_text(SCENARIO)
        run(*(names.get(word, word) for word in random.choice(COMMANDS)))
