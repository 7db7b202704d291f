"""What is said about a memory block that does not go offline."""

from pathlib import Path

from virtiomem import scenario

DIMM = """
[guest]
machine = "pc"
memory = "512M"
max-memory = "2G"
slots = 1
default-state = "{zone}"

[[step]]
do = "plug-dimm"
id = "dimm1"
size = "128M"

[[step]]
do = "use"
id = "tenant"
size = "{size}"
kind = "{kind}"

[[step]]
do = "set-state"
blocks = [32]
state = "offline"
"""


def held_up(folder: Path, zone: str, kind: str, size: str) -> list[str]:
    path = folder / "dimm.toml"
    path.write_text(DIMM.format(zone=zone, kind=kind, size=size))
    played = scenario.load(path)
    record = scenario.play(played, scenario.embedded_guest(played)).steps[-1]
    assert (record.error is None) == (not record.held_up)
    return list(record.held_up or [])


def test_what_cannot_move_is_named(tmp_path: Path) -> None:
    assert held_up(tmp_path, "online", "unmovable", "128M") == ["memory32 (Normal): 32768 unmovable pages of 'tenant'"]


def test_what_has_nowhere_to_go_is_named(tmp_path: Path) -> None:
    assert held_up(tmp_path, "online_movable", "movable", "500M") == [
        "memory32 (Movable): 32768 movable pages of 'tenant', and no room to move them to: 4M free, 2M taken by struct pages of added memory"
    ]


def test_what_moves_is_no_reason(tmp_path: Path) -> None:
    assert held_up(tmp_path, "online_movable", "movable", "64M") == []
