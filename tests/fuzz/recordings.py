"""Recordings: whatever the file, each command that reads one does so, or says in one line why not."""

import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.promise import ROOT, check_line, run, spoil_values, spoiled
from tests.report.huge import huge
from virtiomem.errors import UsageError
from virtiomem.recording import json_file

WHOLE = [path.read_bytes() for path in sorted(ROOT.glob("tests/data/recordings/*/recording.json"))]
SOUND = [
    *WHOLE,
    *(json_file.dumps(json_file.loads(data)) for data in WHOLE),
    json_file.dumps(huge(merged=False, blocks=1 << 10)),
]
"""Of both formats."""
COMMANDS: tuple[list[str], ...] = (
    *(["compare", "F", "G"], ["compare", "G", "F"], ["compare", "--json", "F", "G"], ["report", "F", "-o", "O"]),
    *(["report", "F", "G", "-o", "O"], ["report", "--json", "F"], ["map", "--json", "F"], ["map", "F", "--svg", "O"]),
    *(["iomem", "F"], ["iomem", "check", "F"], ["blocks", "F"], ["blocks", "--json", "F"], ["kdump", "F"]),
    *(["iomem", "diff", "F", "G"], ["map", "--step", "1", "F", "--svg", "O"]),
)


def trial(random: Random) -> None:
    """Read a spoiled recording with the library, and with a command."""
    sound = random.choice(SOUND)
    values = json.loads(sound)
    spoil_values(random, values)
    raw = json.dumps(values).encode()
    if random.random() < 0.3:
        raw = spoiled(random, raw, random.choice(SOUND))
    try:
        json_file.loads(raw)
    except UsageError as error:
        check_line(str(error))
    with TemporaryDirectory() as folder:
        names = {name: Path(folder, name) for name in "FGO"}
        names["F"].write_bytes(raw)
        names["G"].write_bytes(sound)
        run(*(names.get(word, word) for word in random.choice(COMMANDS)))
