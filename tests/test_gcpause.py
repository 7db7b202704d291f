import gc
import subprocess
import sys

import pytest

from virtiomem import gcpause


def test_collection_pauses_and_goes_on() -> None:
    with gcpause.paused():
        assert not gc.isenabled()
        with gcpause.paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_goes_on_after_a_failure() -> None:
    with pytest.raises(ValueError, match="mine"), gcpause.paused():
        raise ValueError("mine")
    assert gc.isenabled()


_SAY = "import gc; print(gc.get_threshold()[0], gc.get_freeze_count() > 0)"


@pytest.mark.parametrize(
    ("owner", "is_rare"),
    [
        ("import sys; from virtiomem.cli import start; sys.argv[1:] = ['--version']; start()", True),
        ("from virtiomem.cli.main import main; main(['--version'])", False),
    ],
    ids=["command", "program that calls it"],
)
def test_only_a_command_that_owns_its_process_makes_collection_rare(owner: str, is_rare: bool) -> None:
    program = f"{owner}; {_SAY}"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    usual = gc.get_threshold()[0]
    assert said.splitlines()[-1] == ("100000 True" if is_rare else f"{usual} False")


def test_library_leaves_the_collector_as_it_is() -> None:
    program = f"import virtiomem, virtiomem.recording, virtiomem.scenario; {_SAY}"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said == f"{gc.get_threshold()[0]} False\n"
