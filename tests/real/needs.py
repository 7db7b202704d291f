"""What a real test needs of this machine: without it the test is skipped, loudly, and in continuous integration fails."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from tests.waiting import PATIENCE
from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.guest.linux import kernels
from virtiomem.qemu import BINARY

REQUIRED_KERNELS = ("6.1", "6.12")
"""The series that continuous integration must have, oldest first."""
ORACLES = Path(os.environ.get("VIRTIOMEM_ORACLES") or Path(__file__).parents[2] / ".oracles").absolute()
"""Where `make oracles` puts kernels, QEMUs and lsmems."""

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where programs for root lie; other people have it not in their PATH."""


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"required here: {what}")
    pytest.skip(f"NOT HERE: {what}")


def require(program: str, package: str) -> str:
    """The program's path; see `missing` where it is absent."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM}")
    return found or missing(f"{program} (Debian package {package})")


def series(version: str) -> str:
    """The first two numbers of a version: 6.1 of ``6.1.0-56-cloud-amd64``; empty without numbers."""
    match = re.match(r"\d+\.\d+", version)
    return match[0] if match else ""


def found_qemus() -> dict[str, str]:
    """The installed QEMU, those that VIRTIOMEM_QEMUS names and those of ORACLES: paths with versions, each version once."""
    named = os.environ.get("VIRTIOMEM_QEMUS", "").split(":")
    brought = sorted(ORACLES.glob(f"qemu-*/{BINARY}"), key=lambda path: kernels.version_key(str(path)))
    first: dict[str, str] = {}
    for path in filter(None, (shutil.which(BINARY), *named, *map(str, brought))):
        first.setdefault(_version(path), path)
    return {path: version for version, path in first.items()}


def found_lsmems() -> dict[str, str]:
    """The installed lsmem and those of ORACLES: paths with the versions of their util-linux, each version once."""
    brought = sorted(ORACLES.glob("util-linux-*/lsmem"), key=lambda path: kernels.version_key(str(path)))
    first: dict[str, str] = {}
    for path in filter(None, (shutil.which("lsmem"), *map(str, brought))):
        first.setdefault(_version(path), path)
    return {path: version for version, path in first.items()}


def _version(program: str) -> str:
    """What a program calls itself, such as 7.2.22; its path when it does not run."""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return program
    match = re.search(r"\d+\.\d+[.\d]*", said)
    return match[0] if match else program


def debug_information(release: str) -> Path | None:
    """The vmlinux with the debug information of a kernel, installed or of ORACLES; None where it is absent."""
    places = [Path("/usr/lib/debug/boot"), ORACLES / f"debug-{series(release)}"]
    return next((path for place in places if (path := place / f"vmlinux-{release}").exists()), None)


def found_debug() -> dict[str, str]:
    """The releases of the kernels here whose debug information is here, too, by series."""
    return {name: release for name, release in found_kernels().items() if debug_information(release)}


def look_for_kernels() -> None:
    """Let VIRTIOMEM_KERNELS, or / without it, be followed by what ORACLES has."""
    before = [root for root in os.environ.get(kernels.ROOTS, "").split(":") if root] or ["/"]
    brought = [str(path) for path in sorted(ORACLES.glob("linux-*")) if str(path) not in before]
    os.environ[kernels.ROOTS] = ":".join([*before, *brought])


def found_kernels(architecture: Architecture = DEFAULT) -> dict[str, str]:
    """The newest kernel of each series that is here, with its whole release, oldest first."""
    return {series(kernel.release): kernel.release for kernel in kernels.here(architecture)}
