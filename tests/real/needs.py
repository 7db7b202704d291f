"""What a real test needs of this machine: without it the test is skipped, loudly, and in continuous integration fails."""

import os
import shutil
from typing import NoReturn

import pytest

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
