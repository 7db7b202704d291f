"""What a real test needs of this machine: without it the test is skipped, loudly, and in continuous integration fails."""

import os
import shutil
import subprocess
from typing import NoReturn

import pytest

from tests.waiting import PATIENCE
from virtiomem.qemu import BINARY

MODELLED_QEMU = "7.2"
"""The release of QEMU that the embedded device models."""

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where programs for root lie; other people have it not in their PATH."""


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"required here: {what}")
    pytest.skip(f"NOT HERE: {what}")


def require(program: str, package: str) -> str:
    """The program's path; see `missing` for when there is none."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM}")
    return found or missing(f"{program} (Debian package {package})")


def found_qemus() -> dict[str, str]:
    """The installed QEMU and those that VIRTIOMEM_QEMUS names (paths, colons between them), each with its release."""
    named = os.environ.get("VIRTIOMEM_QEMUS", "").split(":")
    installed = shutil.which(BINARY)
    return {path: _release(path) for path in (installed, *named) if path} or {BINARY: BINARY}


def _release(qemu: str) -> str:
    """What a QEMU calls itself, such as 7.2.22; its path when it does not run."""
    try:
        said = subprocess.run([qemu, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return qemu
    return said.partition("version ")[2].partition(" ")[0].strip() or qemu
