import json
from pathlib import Path

import pytest

from virtiomem.cli.main import main

DATA = Path(__file__).parents[1] / "data" / "recordings"
ONE, OTHER = (str(DATA / name / "recording.json") for name in ("a-movable", "a-patch-exact"))


def test_page_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    assert main(["report", ONE, OTHER, "-o", str(out)]) == 0
    assert "<title>a-movable / a-patch-exact" in out.read_text()
    assert capsys.readouterr() == ("", "")


def test_json_is_what_the_page_would_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", ONE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "virtiomem-report/1"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([ONE], "where should the page go"),
        ([ONE, ONE, ONE, "-o", "x"], "3 recordings"),
        (["nowhere.json", "-o", "x"], "nowhere.json: No such file"),
        ([ONE, "-o", "/nonexistent/x.html"], "/nonexistent/x.html: No such file"),
        ([str(DATA / "README.md"), "-o", "x"], "README.md: not a recording"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *arguments]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
