"""The agent's script as a shell sees it; what it does is tested in a guest (tests/real)."""

import re
import shutil
import subprocess
from importlib import resources

import pytest

from virtiomem.guest.linux import initramfs

SCRIPT = resources.files("virtiomem.guest.linux").joinpath("agent.sh").read_text()
BUILTINS = {
    "break", "case", "cd", "continue", "do", "done", "elif", "else", "esac", "eval", "exec", "false", "fi", "for", "if",
    "in", "printf", "read", "return", "set", "shift", "then", "true", "while",
}  # fmt: skip


@pytest.mark.parametrize("shell", ["busybox sh", "dash", "bash"])
def test_the_script_is_one_that_shells_can_read(shell: str) -> None:
    if shutil.which(shell.split(maxsplit=1)[0]) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([*shell.split(), "-n"], input=SCRIPT.encode(), check=True)


def test_the_initramfs_has_every_program_that_the_script_starts() -> None:
    code = re.sub(r"^\s*#.*$|'[^']*'", "", SCRIPT, flags=re.MULTILINE)
    functions = set(re.findall(r"^(\w+)\(\) \{", code, re.MULTILINE))
    started = set(
        re.findall(r"(?:^\s*|[|(;{]\s*|&& |\|\| |then |do |if ! |\$\()([a-z]\w*)(?=\s|$)", code, re.MULTILINE)
    )
    assigned = {name for name in started if f"{name}=" in code}
    assert started - functions - BUILTINS - assigned <= set(initramfs.APPLETS)
    assert {"grep", "insmod", "mount", "stty"} <= started
