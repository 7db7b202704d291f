import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.sweep.conftest import TEXT
from virtiomem.cli.main import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(TEXT)
    return tmp_path


def test_summary_and_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "small.toml"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    head, _, columns, *lines = said.out.splitlines()
    assert head == "small: 16 runs, rows in small.csv"
    assert columns.split()[:3] == ["POLICY", "SCATTER", "BACK"]
    assert [line.split()[:2] for line in lines[:4]] == [
        ["kernel", "0.0"],
        ["kernel", "1.0"],
        ["movable", "0.0"],
        ["movable", "1.0"],
    ]
    assert len((folder / "small.csv").read_text().splitlines()) == 17


@pytest.mark.usefixtures("folder")
def test_json_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "small.toml", "--json", "--rows", "r.parquet", "--jobs", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["title"], told["runs"], told["failed"], told["rows"]) == ("small", 16, 0, "r.parquet")
    assert [point["labels"]["policy"] for point in told["points"]] == ["kernel", "kernel", "movable", "movable"]
    assert [point["left"] for point in told["points"][2:]] == ["", ""]
    assert all(re.fullmatch(r"[0-9]+(-[0-9]+)?(, .*)?", point["left"]) for point in told["points"][:2])
    assert told["points"][2]["medians"]["came-back"] == {"value": 100.0, "low": 100.0, "high": 100.0, "values": 4}


@pytest.mark.parametrize("source", [pytest.param("small.toml", marks=pytest.mark.long), "r.parquet"])
def test_row_is_played_again(source: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "small.toml", "--rows", "r.parquet"]) == 0
    capsys.readouterr()
    assert main(["run", "--from-sweep", source, "5", "--json"]) == 0
    recording = json.loads(capsys.readouterr().out)
    varied = "policy kernel, workload.scatter 1.0, seed 1"
    assert recording["scenario"]["title"] == f"small (run 5: {varied})"
    device = recording["steps"][-1]["snapshot"]["devices"][0]
    assert main(["sweep", "small.toml", "--rows", "r.csv"]) == 0
    columns, *rows = csv.reader((folder / "r.csv").read_text().splitlines())
    capsys.readouterr()
    assert main(["run", "--from-sweep", "r.csv", "5"]) == 2
    assert "r.csv is a table of a sweep's rows, and not a sweep; `virtiomem run --from" in capsys.readouterr().err
    row = dict(zip(columns, rows[5], strict=True))
    assert (row["run"], row["plugged"]) == ("5", str(device["size"]))


class _Page(HTMLParser):
    """What a browser would fetch, and the pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]


def test_page_is_one_file_without_a_network(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "small.toml").write_text(TEXT.replace('title = "small"', 'title = "<script>small&"'))
    assert main(["sweep", "small.toml", "--page", "p.html"]) == 0
    text = (folder / "p.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.fetched == ["data:,"]
    assert "script" not in page.tags
    assert page.tags.count("svg") >= 2
    assert len(re.findall("<td>(?:kernel|movable)</td>", text)) == 4
    assert "&lt;script&gt;small&amp;" in text
    capsys.readouterr()


def test_combinations_that_fail_are_counted_and_the_rest_is_played(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "small.toml").write_text(TEXT.replace("[0.0, 1.0]", '[0.0]\n"guest.memory" = ["1G", "100T"]'))
    assert main(["sweep", "small.toml"]) == 64
    said = capsys.readouterr()
    assert re.fullmatch("virtiomem: warning: 8 runs failed: guest.memory: .*\n", said.err)
    assert "FAILED" in said.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("sweep gone.toml", "gone.toml: No such file or directory"),
        ("sweep small.toml --rows small.toml", "small.toml: would overwrite small.toml; give another name"),
        ("sweep small.toml --rows r.html --page r.html", "r.html: would overwrite r.html; give another name"),
        ("sweep small.toml -j 2 --cluster 2", "argument --cluster: not allowed with argument -j/--jobs"),
        ("sweep small.toml -j 0", "argument -j/--jobs: not a count: '0'"),
        ("run --from-sweep small.toml 16", "run 16 is not there: small.toml has runs 0 to 15"),
        ("run --from-sweep small.toml -1", "--from-sweep: '-1' is not the number of a run"),
        ("run --from-sweep small.toml one", "--from-sweep: 'one' is not the number of a run: 0, 1, …"),
        ("run --from-sweep rows.csv 1", "rows.csv: No such file or directory"),
        ("run small.toml", "small.toml is a sweep, and not a scenario; `virtiomem sweep` plays it"),
        ("report small.toml -o r.html", "small.toml is a sweep, and not a recording; `virtiomem sweep` plays it"),
        ("test small.toml", "small.toml is a sweep, and not a scenario; `virtiomem sweep` plays it"),
        ("sweep small.toml --page a.pdf", "--page: 'a.pdf' does not end in .html"),
        ("run --from-sweep small.toml 1 small.toml", "either a SCENARIO or --from-sweep FILE RUN is played"),
        ("run", "either a SCENARIO or --from-sweep FILE RUN is played"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: str, complaint: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"virtiomem: {complaint}")
    assert [path.name for path in folder.iterdir()] == ["small.toml"]


def test_too_few_seeds_to_compare_are_said_before_anything_is_played(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder / "small.toml").read_text()
    (folder / "few.toml").write_text(re.sub(r"^seeds = \d+", "seeds = 1", text, flags=re.MULTILINE))
    assert main(["sweep", "few.toml"]) == 0
    assert (
        "warning: 2 pairs of runs to compare, and 6 are the fewest that say anything: more seeds"
        in capsys.readouterr().err
    )
