"""What the playground's page asks of the library, and what it is built of, without a browser."""

import json
import re
from pathlib import Path

import pytest

from docs.conf import link_inside
from playground import build, calls
from virtiomem.guest.base import GuestConfig

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_scenario_is_played_as_the_command_plays_it_and_tells_as_it_goes() -> None:
    told: list[str] = []
    text = (EXAMPLES / "dimm.toml").read_text()
    answer = json.loads(calls.play(json.dumps({"dimm.toml": text}), told.append))
    assert answer["calls"][0]["command"] == "virtiomem run dimm.toml --record recording.json"
    assert answer["calls"][0]["output"] == "".join(told) == (EXAMPLES / "dimm.out").read_text()
    assert list(answer["files"]) == ["recording.json", "map.svg", "report.html"]


def test_what_was_played_before_is_gone() -> None:
    calls.play(json.dumps({"nothing.toml": ""}))
    assert Path("recording.json").exists()
    answer = json.loads(calls.play(json.dumps({"broken.toml": "[guest\n"})))
    assert answer["files"] == {}
    assert [call["exit"] for call in answer["calls"]] == [2]


@pytest.mark.parametrize(
    ("text", "line"), [("", 0), ("[guest\n", 1), ('[guest]\nmemory = "4G"\nmax = 3\n', 3), ('title = "\n', 1)]
)
def test_complaint_names_the_line(text: str, line: int) -> None:
    found = json.loads(calls.check(text))
    assert found["line"] == line
    assert bool(found["message"]) == bool(line)


def test_remark_is_made_once_and_damage_shown_as_a_difference() -> None:
    listing = b"> 00100000-7fffffff : System RAM\n> [...]\n> 100000000-13fffffff : System RAM\n"
    answer = json.loads(calls.look("mail.txt", listing))
    difference = next(call["output"] for call in answer["calls"] if call["title"] == "What was put right")
    assert "+00100000-7fffffff : System RAM\n" in difference
    remarks = [line for call in answer["calls"] for line in call["errors"].splitlines()]
    assert len(remarks) == len(set(remarks))
    assert "map.svg" in answer["files"]


def test_recording_is_looked_at_under_the_name_that_an_earlier_one_had() -> None:
    calls.play(json.dumps({"nothing.toml": ""}))
    answer = json.loads(calls.look("recording.json", Path("recording.json").read_bytes()))
    assert "recording.json is a recording" in answer["calls"][0]["output"]
    assert list(answer["files"]) == ["map.svg"]


@pytest.mark.parametrize("name", ["--help", "../../etc/passwd", ""])
def test_file_name_is_neither_an_option_nor_another_folder(name: str, folder: Path) -> None:
    answer = json.loads(calls.look(name, memoryview(b"00100000-7fffffff : System RAM\n")))
    assert answer["calls"][0]["exit"] == 0
    assert all(path.parent == folder for path in folder.rglob("*"))


def test_every_example_is_on_the_menu_with_a_sentence() -> None:
    shown = {one["name"]: one for one in build.examples()}
    assert {f"{name}.toml" for name in shown} == {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.toml")}
    assert all(one["shows"] and "](" not in one["shows"] for one in shown.values())


@pytest.mark.parametrize("page", ["start", "how-to/movable"])
def test_each_example_that_a_page_of_the_docs_links_can_be_opened_there(page: str) -> None:
    up = "../" * (page.count("/") + 1)
    source = [f"[dimm]({up}examples/dimm.toml) and [what it shows]({up}examples/dimm.out)"]
    link_inside(None, page, source)
    where = "../" * (page.count("/"))
    assert source[0].count("open in the playground") == 1
    assert f'href="{where}playground/index.html#example=dimm"' in source[0]


def test_page_of_the_examples_opens_every_one_of_them() -> None:
    source = [""]
    link_inside(None, "examples", source)
    opened = re.findall(r'playground/index\.html#example=([\w/-]+)"', source[0])
    assert set(opened) == {one["name"] for one in build.examples()}


def test_choices_are_keys_and_values_that_a_scenario_has() -> None:
    for key, values in build.choices().items():
        assert key.replace("-", "_") in GuestConfig.__struct_fields__
        for value in values:
            assert json.loads(calls.check(f'[guest]\n{key} = "{value}"\n'))["message"] == ""


def test_what_is_fetched_is_pinned_by_hash_and_from_nowhere_in_particular() -> None:
    lock = json.loads((build.HERE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    requirements = re.findall(r"^\w.*$", (build.HERE / "requirements.txt").read_text(), re.MULTILINE)
    assert all(re.fullmatch(r"\w+==[\d.]+ --hash=sha256:[0-9a-f]{64}", line) for line in requirements)
    assert not any("resolved" in package for package in packages.values())


def test_page_has_a_value_for_each_of_its_places() -> None:
    assert build.fill("{{ a }} {{ b-c }}", {"a": "1", "b-c": "2"}) == "1 2"
    with pytest.raises(KeyError, match="d"):
        build.fill("{{ d }}", {})


def test_colours_are_those_of_the_report_page() -> None:
    assert "prefers-color-scheme: dark" in build.palette()
    used = set(re.findall(r"var\((--\w+)\)", (build.HERE / "page/style.css").read_text()))
    assert used <= set(re.findall(r"(--\w+):", build.palette()))
