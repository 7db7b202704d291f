"""Scenarios: whatever the file, it is played to the end, or one line says why not."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.fuzz.promise import ROOT, check_line, run, spoil_values, spoiled
from virtiomem import scenario
from virtiomem.errors import UsageError

FILES = [
    path for path in sorted(ROOT.glob("*/**/*.toml")) if ".venv" not in path.parts and "[[step]]" in path.read_text()
]
SOUND = [path.read_bytes() for path in FILES]


def trial(random: Random) -> None:
    """Read a spoiled scenario, and play it."""
    which = random.randrange(len(SOUND))
    raw, folder = SOUND[which], FILES[which].parent
    if random.random() < 0.6:
        tables = tomllib.loads(raw.decode())
        spoil_values(random, tables)
        raw = "\n".join(_toml(tables)).encode("utf-8", "surrogatepass")
    if random.random() < 0.5:
        raw = spoiled(random, raw, random.choice(SOUND))
    try:
        scenario.loads(raw, folder=folder)
    except UsageError as error:
        check_line(str(error))
    with TemporaryDirectory() as place:
        for listing in (*folder.glob("*.iomem"), *folder.glob("*.capture")):
            Path(place, listing.name).symlink_to(listing)
        Path(place, "s.toml").write_bytes(raw)
        run("run", *random.choice(([], ["--json"], ["--verbose"], ["--strict"])), Path(place, "s.toml"))


def _toml(tables: dict[str, Any]) -> Iterator[str]:
    """Tables as TOML, near enough: what it cannot say is another kind of damage."""
    for key, value in tables.items():
        yield f"{_text(key)} = {_inline(value)}"


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)} = {_inline(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return _text(value) if isinstance(value, str) else str(value).lower()


def _text(text: str) -> str:
    escaped = "".join(
        character if character.isprintable() and character not in '"\\' else f"\\U{ord(character):08x}"
        for character in text
    )
    return f'"{escaped}"'
