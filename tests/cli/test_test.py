import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from virtiomem.cli.main import main
from virtiomem.releases.linux import DEFAULT

EXAMPLE = Path(__file__).parents[2] / "examples" / "reload.toml"
PLAYED = f"the embedded guest as Linux {DEFAULT.name}"


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tests: one is the same, one has no golden recording."""
    monkeypatch.chdir(tmp_path)
    for name in ("kept.toml", "new.toml"):
        shutil.copy(EXAMPLE, tmp_path / name)
    assert main(["test", "kept.toml", "--update"]) == 0
    return tmp_path


@pytest.mark.usefixtures("suite")
def test_one_line_a_test_and_a_count(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["test", "."]) == 1
    assert capsys.readouterr().out == (
        "same        kept.toml  6 steps, 1 stopped short\n"
        "no golden   new.toml   6 steps, 1 stopped short; no new.json next to it (--update writes it)\n"
        f"2 scenarios: 1 same, 1 no golden ({PLAYED})\n"
    )
    assert main(["test", "kept.toml"]) == 0


@pytest.mark.usefixtures("suite")
def test_where_they_part_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = json.loads(Path("kept.json").read_text())
    recorded["steps"][1]["snapshot"]["iomem"] = recorded["boot"]["iomem"]
    Path("kept.json").write_text(json.dumps(recorded))
    capsys.readouterr()
    assert main(["test", "kept.toml"]) == 1
    assert capsys.readouterr().out == (
        "different   kept.toml  step 2 (resize vm0 to 1G): iomem; 5 of 6 steps differ\n"
        "  golden  580000000-d7fffffff : PCI Bus 0000:00\n"
        "  played  180000000-27fffffff : virtio0\n"
        f"1 scenario: 1 different ({PLAYED})\n"
    )


def test_json_and_junit(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["test", "--json", "--junit", "out.xml", "."]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["passed"], said["counts"]) == (False, {"same": 1, "no golden": 1})
    assert [(test["scenario"], test["outcome"]) for test in said["tests"]] == [
        ("kept.toml", "same"),
        ("new.toml", "no golden"),
    ]
    report = ET.parse(suite / "out.xml").getroot()  # noqa: S314 - our own
    assert (report.get("tests"), report.get("failures")) == ("2", "1")
    assert [case.get("name") for case in report] == ["kept", "new"]


def test_the_badge_has_the_counts(suite: Path) -> None:
    assert main(["test", "--badge", "badge.svg", "."]) == 1
    badge = ET.parse(suite / "badge.svg").getroot()  # noqa: S314 - our own
    assert badge.get("aria-label") == f"virtiomem test: {PLAYED}: 1 same, 1 no golden"


@pytest.mark.usefixtures("suite")
def test_nothing_is_played_when_an_option_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for options, words in (
        (["--junit", "kept.json"], "kept.json: would overwrite kept.json; give another name"),
        (["--kernel", "6.1"], "--kernel is for --guest linux"),
        (["--jobs", "0"], "argument -j/--jobs: not a count: '0' (write 1 or more) (see virtiomem test --help)"),
    ):
        assert main(["test", ".", "--update", *options]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err) == ("", f"virtiomem: {words}\n")
    assert not Path("new.json").exists()


@pytest.mark.usefixtures("suite")
def test_a_kernel_that_is_not_there_is_said_once_before_anything_is_played(
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert main(["test", ".", "--guest", "linux", "--kernel", "/no/bzImage"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "virtiomem: /no/bzImage: No such file or directory (make it)\n")


@pytest.mark.usefixtures("suite")
def test_when_nothing_could_be_tried_a_bisection_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIRTIOMEM_KERNELS", str(tmp_path))
    capsys.readouterr()
    assert main(["test", "kept.toml", "--guest", "linux"]) == 125
    assert capsys.readouterr().out.startswith("not played  kept.toml  no kernel with virtio_mem in ")


@pytest.mark.usefixtures("suite")
def test_of_two_kernels_neither_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "kept.toml", "--guest", "linux", "--kernel", "6.1", "--kernel", "6.12"]) == 2
    said = "virtiomem: argument --kernel: given twice, 6.1 and 6.12: one kernel plays (see virtiomem test --help)\n"
    assert capsys.readouterr().err.endswith(said)


@pytest.mark.usefixtures("suite")
def test_which_step_was_refused_and_which_release_stands_in_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(EXAMPLE.with_name("refused.toml"), "refused.toml")
    capsys.readouterr()
    assert main(["test", "refused.toml", "--update", "--model", "5.9"]) == 0
    said = capsys.readouterr()
    assert "(first: step 2, resize vm0 to 3M)" in said.out
    assert said.out.count("is refused, and the golden recording now expects it: ") == 3
    assert said.err == "virtiomem: warning: Linux 5.9 is not known: it is taken for 6.1\n"
