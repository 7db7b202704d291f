"""What `iomem --core` says where it cannot read; what it reads is held against real guests in tests/real/test_drgn.py."""

import sys

import pytest

from virtiomem.cli.main import main


def test_core_without_drgn_is_refused_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "drgn", None)
    assert main(["iomem", "--core", "vmcore"]) == 2
    assert capsys.readouterr() == ("", "virtiomem: --core needs drgn (in the checkout: pip install -e '.[drgn]')\n")


@pytest.mark.parametrize(
    "other", [["map"], ["--lenient"], ["--from", "listing"], ["--sysroot", "/x"]], ids=lambda options: options[0]
)
def test_core_is_read_alone(other: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iomem", "--core", "vmcore", *other]) == 2
    assert f"{other[0]} is of no use with --core" in capsys.readouterr().err


def test_debug_information_is_for_a_core(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["iomem", "map", "--debug", "vmlinux"]) == 2
    assert "--debug is the debug information of a --core" in capsys.readouterr().err
