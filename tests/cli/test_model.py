"""`--model`: what each command makes of it, and what is said about an untried release."""

import json
from pathlib import Path

import pytest

from virtiomem.cli.main import main
from virtiomem.releases.linux import LINUX

DATA = Path(__file__).parents[1] / "data"
BOOT = str(DATA / "recordings/n-crash-kernel/boot.iomem")
NAMED = """
[guest]
kernel = "6.12"
[[device]]
id = "vm0"
max-size = "4G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "256M"
"""
"""On 6.12 a block that was added goes online, on 6.1 it does not (Debian's builds)."""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    (tmp_path / "a.toml").write_text(NAMED)
    return str(tmp_path / "a.toml")


@pytest.mark.parametrize(
    ("argv", "kernel", "state"),
    [([], "6.12", "online"), (["--model", "6.1"], "6.1", "offline"), (["--model", "6.18.3-x"], "6.18", "online")],
)
def test_run_plays_the_release_that_is_asked_for(
    scenario: str, argv: list[str], kernel: str, state: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", scenario, "--json", *argv]) == 0
    played = json.loads(capsys.readouterr().out)
    assert played["guest"]["kernel"] == kernel
    assert played["steps"][-1]["snapshot"]["memory-blocks"][-1]["state"] == state
    assert ("PCI ECAM" in played["boot"]["iomem"]) == (kernel != "6.1"), "the built-in listing is that release's, too"


def test_golden_recordings_are_held_against_another_release(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", scenario, "--update"]) == 0
    assert main(["test", scenario]) == 0
    assert main(["test", scenario, "--model", "6.1"]) == 1
    assert "different" in capsys.readouterr().out


@pytest.mark.parametrize(("argv", "online"), [([], 34), (["--model", "6.1"], 32)])
def test_simulated_machine_has_the_release_that_is_asked_for(
    scenario: str, argv: list[str], online: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vm", "status", "-J", "-c", f"sim:{scenario}", *argv]) == 0
    out, err = capsys.readouterr()
    blocks = json.loads(out)["vms"][0]["inside"]["blocks"]
    assert (sum(block["online"] for block in blocks), err) == (online, "")


def test_stand_in_is_said_once(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"Linux 99.4 is not known: it is taken for {LINUX.newest.name}\n"
    assert main(["vm", "list", "-c", f"sim:{scenario}", "-c", f"b=sim:{scenario}", "--model", "99.4"]) == 0
    assert capsys.readouterr().err == f"virtiomem: warning: a, b: {words}"
    assert main(["iomem", "check", BOOT, "--model", "99.4"]) in (0, 1)
    assert capsys.readouterr().err.count(words) == 1
    Path(scenario).write_text(NAMED.replace("6.12", "99.4"))
    assert main(["vm", "resize", "vm0", "512M", "-c", f"sim:{scenario}"]) == 0
    assert capsys.readouterr().err.count(words) == 1


def test_check_counts_the_room_of_the_release(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for release in ("6.1", "6.12"):
        assert main(["iomem", "check", BOOT, "--model", release, "--json"]) in (0, 1)
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] != told[1], "a header that the kernel keeps has a fixed room, since 6.6"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("run {} --model six", "'six' is not a release of Linux such as 6.12"),
        ("run {} --model 6.12 --guest linux", "--model is for the embedded guest"),
        ("test {} --model 6.12 --guest linux", "--model is for the embedded guest"),
        ("vm list -c qmp:/nonexistent --model 6.12", "--model is for a scenario (sim:FILE)"),
    ],
)
def test_model_that_nothing_would_read_is_refused(
    command: str, words: str, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.format(scenario).split()) == 2
    assert words in capsys.readouterr().err


def test_plan_says_which_release_it_plans_for_instead(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--memory", "4G", "--max", "8G", "--release", "9.9"]) == 0
    assert f"Linux 9.9 is not known: it is taken for {LINUX.newest.name}" in capsys.readouterr().err
