"""docs/upstream.md: every reproducer prints what stands below it, on every version on which that was seen."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.real.cells import Cell
from tests.real.needs import require, series
from tests.waiting import PATIENCE
from virtiomem.guest.linux import kernels

pytestmark = [pytest.mark.real, pytest.mark.proves("reproducers")]

PAGE = (Path(__file__).parents[2] / "docs" / "upstream.md").read_text()


class Finding(NamedTuple):
    """A section that has a reproducer."""

    title: str
    seen_on: dict[str, set[str]]
    """Series of each program."""
    language: str
    code: str
    shown: str


def findings() -> list[Finding]:
    found = []
    for section in PAGE.split("\n## ")[1:]:
        if not (match := re.search(r"```(sh|python)\n(.*?)```\n```text\n(.*?)```", section, re.DOTALL)):
            continue
        seen = section.partition("Seen on: ")[2].partition(". ")[0].partition("\n\n")[0]
        versions: dict[str, set[str]] = {}
        for program, version in re.findall(r"(QEMU|Linux|kexec-tools) ([\d.]+)", seen):
            versions.setdefault(program, set()).add(series(version))
        found.append(Finding(section.partition("\n")[0], versions, *match.groups()))
    return found


ABOUT_QEMU, ABOUT_LINUX, ABOUT_KEXEC = (
    [finding for finding in findings() if program in finding.seen_on] for program in ("QEMU", "Linux", "kexec-tools")
)


def printed(finding: Finding, folder: Path, **environment: str) -> str:
    """What a reproducer prints, run as the page says."""
    words = ["sh", "-c", finding.code] if finding.language == "sh" else [sys.executable, "-c", finding.code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    known = os.environ | environment | {"PATH": path}
    done = subprocess.run(words, cwd=folder, env=known, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.stdout or done.stderr


def is_seen(finding: Finding, said: str) -> bool:
    """Whether a reproducer printed what the page shows."""
    pattern = re.escape(finding.shown.strip("\n")).replace("…", "(?s:.*)")
    return re.fullmatch(pattern, said.strip("\n")) is not None


def test_page_is_read_whole() -> None:
    assert len(ABOUT_QEMU) + len(ABOUT_LINUX) + len(ABOUT_KEXEC) == PAGE.count("```text") == PAGE.count("\n| [")


@pytest.mark.on(qemu="every")
@pytest.mark.usefixtures("qemu")
@pytest.mark.parametrize("finding", ABOUT_QEMU, ids=lambda finding: finding.title)
def test_reproducer_on_qemu(finding: Finding, cell: Cell, tmp_path: Path) -> None:
    version = series(subprocess.run([cell.qemu, "--version"], capture_output=True, text=True, check=True).stdout[22:])
    said = printed(finding, tmp_path)
    assert is_seen(finding, said) == (version in finding.seen_on["QEMU"]), said


@pytest.mark.on(linux="every")
@pytest.mark.parametrize("finding", ABOUT_LINUX, ids=lambda finding: finding.title)
def test_reproducer_on_linux(finding: Finding, kernel: kernels.KernelImage, qemu: str, tmp_path: Path) -> None:
    assert qemu
    said = printed(finding, tmp_path, KERNEL=series(kernel.release))
    assert is_seen(finding, said) == (series(kernel.release) in finding.seen_on["Linux"]), said


@pytest.mark.parametrize("finding", ABOUT_KEXEC, ids=lambda finding: finding.title)
def test_reproducer_on_kexec_tools(finding: Finding, tmp_path: Path) -> None:
    require("unshare", "util-linux")
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("MAY NOT UNSHARE MOUNTS HERE: run as root")
    asked = [require("kexec", "kexec-tools"), "--version"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[-1]
    if series(version) not in finding.seen_on["kexec-tools"]:
        pytest.skip(f"this is kexec-tools {version}")
    said = printed(finding, tmp_path, KERNEL_IMAGE=str(kernels.find().image))
    assert is_seen(finding, said), said
