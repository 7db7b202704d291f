"""Every example is played, and shows what the file next to it says. `make examples` writes those files again."""

from pathlib import Path

import pytest

from virtiomem import recording
from virtiomem.cli.main import main

EXAMPLES = Path(__file__).parents[1] / "examples"
WORKED = EXAMPLES / "worked-example"
RECORDINGS = Path(__file__).parent / "data" / "recordings"


SLOW = {"one-tebibyte"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.long] if path.stem in SLOW else ())
        for path in sorted(EXAMPLES.rglob("*.toml"))
    ],
)
def test_example_shows_what_it_showed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(path)]) == 0
    assert capsys.readouterr().out == path.with_suffix(".out").read_text()


def test_worked_example_is_shown_before_and_after(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(WORKED / "before.toml"), str(WORKED / "after.toml")]) == 0
    assert capsys.readouterr().out == (WORKED / "side-by-side.out").read_text()


@pytest.mark.parametrize(("example", "real"), [("before", "nomerge-a-patch-exact"), ("after", "a-patch-exact")])
def test_worked_example_ends_with_what_a_real_kernel_printed(
    example: str, real: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(WORKED / f"{example}.toml"), "--json"]) == 0
    ours = recording.loads(capsys.readouterr().out).steps[0]
    theirs = recording.load(RECORDINGS / real / "recording.json").steps[0]
    assert ours.snapshot.iomem == theirs.snapshot.iomem
    assert ours.requests == theirs.requests


def test_worked_example_is_exactly_the_patchs() -> None:
    head = ["100000000-13fffffff : System RAM", "140000000-33fffffff : virtio0"]
    apart = [
        f"  {start:x}-{start + 0x7FFFFFF:x} : System RAM (virtio_mem)"
        for start in range(0x140000000, 0x1C0000000, 0x8000000)
    ]
    shown = (WORKED / "side-by-side.out").read_text().splitlines()[5:23]
    assert [line[:47].rstrip() for line in shown] == [*head, *apart]
    merged = "  140000000-1bfffffff : System RAM (virtio_mem)"
    assert [line[51:] for line in shown] == [*head, merged, *[""] * 15]


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text()
    assert [path for path in EXAMPLES.rglob("*.toml") if f"({path.relative_to(EXAMPLES)})" not in listed] == []
    assert [path for path in EXAMPLES.rglob("*.toml") if not path.with_suffix(".out").exists()] == []
