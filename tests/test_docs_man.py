"""The man pages, as groff takes them."""

import subprocess

import pytest

from docs.man import pages
from tests.real.needs import require
from virtiomem import __version__
from virtiomem.cli.main import COMMANDS

PAGES = dict(pages())


def test_there_is_a_page_for_the_command_and_for_every_verb() -> None:
    assert {name.split("-")[1] for name in PAGES if "-" in name} == set(COMMANDS)
    assert {"virtiomem", "virtiomem-iomem", "virtiomem-iomem-diff", "virtiomem-vm-resize"} <= set(PAGES)


@pytest.mark.parametrize("name", ["virtiomem", "virtiomem-vm-resize", "virtiomem-iomem-diff"])
def test_groff_sets_a_page_without_a_warning(name: str) -> None:
    require("groff", "groff-base")
    groff = ["groff", "-k", "-man", "-Tutf8", "-ww"]
    done = subprocess.run(groff, input=PAGES[name], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert f"virtiomem {__version__}" in done.stdout
