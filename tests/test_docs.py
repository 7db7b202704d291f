"""What a reader sees in docs/ has been run: every scenario loads, every command prints what stands below it.

A block of TOML is a whole scenario; with a file's name behind `toml` it is written where the commands of the page find it.
In a console block `…` stands for lines left out. Pages are read from top to bottom, in a copy of the project's examples.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import fuzz, rules, speed
from docs.marked import page_with
from virtiomem import recording, scenario, sweep
from virtiomem.build import is_compiled
from virtiomem.cli.main import main
from virtiomem.guest.base import DeviceConfig, DriverConfig, GuestConfig, NodeConfig
from virtiomem.guest.embedded.hardware import REQUEST_FAULTS
from virtiomem.recording.values import Step
from virtiomem.scenario.values import ScenarioFile
from virtiomem.wire.mem import ResponseType

ROOT = Path(__file__).parents[1]
PAGES = [
    "start.md",
    "scenario.md",
    "recording.md",
    "tutorial.md",
    "exercises.md",
    "vm.md",
    "conformance.md",
    "kdump.md",
    "capture.md",
    "plan.md",
    "sweep.md",
    "iomem.md",
    "library.md",
    *sorted(f"how-to/{page.name}" for page in (ROOT / "docs/how-to").glob("*.md")),
]
_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_page_does_what_it_says(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for language, name, text in _BLOCK.findall((ROOT / "docs" / page).read_text()):
        match language:
            case "toml":
                (sweep if "[parameters]" in text else scenario).loads(text, source=f"{page}: {name}")
                if name:
                    (folder / name).write_text(text)
            case "console":
                for command, shown in _COMMAND.findall(text):
                    assert_shown(shown, "".join(output(command, capsys)), command)
            case "python" if is_compiled() and "__class__ =" in text:
                pass  # the class of a compiled object stays what it is, as the page says
            case "python":
                exec(text, {})  # noqa: S102 - the page's own
            case _:
                pytest.fail(f"{page}: no test runs {language}")


_last_code = 0


def output(command: str, capsys: pytest.CaptureFixture[str]) -> Iterator[str]:
    """What a command of a page prints: virtiomem itself, or one of the few words a page may use."""
    global _last_code  # noqa: PLW0603 - what $? is to a shell
    words = shlex.split(command)
    silent = words[-2:] == [">", "/dev/null"]
    match words[: -2 if silent else None]:
        case ["virtiomem", *arguments]:
            capsys.readouterr()
            _last_code = main(arguments)
            said = capsys.readouterr()
            yield "" if silent else said.out
            yield said.err
        case ["echo", "$?"]:
            yield f"{_last_code}\n"
        case ["cat", name]:
            yield Path(name).read_text()
        case _:
            pytest.fail(f"no test runs {command}")


def assert_shown(shown: str, said: str, command: str) -> None:
    """Assert that what a page shows is what was said, `…` being anything."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "…" else f"{re.escape(line)}\n" for line in shown.splitlines())
    assert re.fullmatch(pattern, said), f"$ {command}\n{said}"


def test_a_link_into_sources_names_a_release_and_a_file_that_is_modelled() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))
    links = re.findall(r"https://elixir\.bootlin\.com/[^ )]*", pages)
    assert len(links) > 5
    form = r"https://elixir\.bootlin\.com/(?:linux/v6\.1|qemu/v7\.2\.0)/source/([a-z]+(?:/[\w-]+)*\.(?:[ch]|rst))"
    found = {link: re.fullmatch(form, link.replace("/Documentation/", "/documentation/")) for link in links}
    assert [link for link, match in found.items() if match is None] == []


def keys(*kinds: type) -> set[str]:
    """Every key of these tables, as it is written."""
    return {name.replace("_", "-") for kind in kinds for name in kind.__struct_fields__}  # type: ignore[attr-defined]


def test_every_key_of_a_scenario_is_explained() -> None:
    page = (ROOT / "docs/scenario.md").read_text()
    steps = Step.__args__
    assert [
        key for key in keys(GuestConfig, DriverConfig, DeviceConfig, NodeConfig, *steps) if f"`{key}`" not in page
    ] == []
    assert [key for key in keys(ScenarioFile) if key not in page] == []
    assert [kind for kind in (step.__struct_config__.tag for step in steps) if f"| `{kind}` |" not in page] == []


def test_every_key_of_a_recording_is_explained() -> None:
    page = (ROOT / "docs/recording.md").read_text()
    kinds = [
        recording.Recording,
        recording.StepRecord,
        recording.Snapshot,
        recording.Request,
        recording.MemoryBlock,
        recording.ZonePages,
        recording.VirtioMemInfo,
        recording.DimmInfo,
        recording.CrashHeader,
    ]
    assert [key for key in keys(*kinds) if f"`{key}`" not in page] == []


def test_the_fuzzing_figures_are_those_of_the_kept_runs() -> None:
    page = (ROOT / "docs/conformance.md").read_text()
    assert page == page_with(page, fuzz.BEGIN, fuzz.END, fuzz.table(fuzz.kept_runs()))


@pytest.mark.parametrize("name", rules.MADE)
def test_rules_and_policies_are_those_that_there_are(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    assert page == rules.page(name, page)


def test_every_response_a_recording_can_have_stands_in_the_page() -> None:
    page = (ROOT / "docs/recording.md").read_text()
    request = next(part for part in page.split("\n\n") if part.startswith("A request has"))
    words = {*REQUEST_FAULTS, *(kind.name for kind in ResponseType)}
    assert {word for word in words if f"`{word}`" not in request} == set()


def test_bench_finds_every_command_of_the_speed_page_and_what_it_printed() -> None:
    page = speed.PAGE.read_text()
    found = list(speed.SHOWN.finditer(page))
    assert [match["command"] for match in found] == re.findall(r"^\$ (python benchmarks/.*)$", page, re.MULTILINE)
    assert all(match["printed"] for match in found)
    assert speed.SHOWN.sub(lambda match: f"$ {match['command']}\n{match['printed']}", page) == page
