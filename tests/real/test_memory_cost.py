"""A real guest that cannot pay for what it is to have: what is said about it, in words and not as a broken protocol."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from virtiomem.guest.linux.kernels import KernelImage

pytestmark = pytest.mark.real
CASE = Path(__file__).parents[2] / "examples/embedded-only/memory-cost.toml"


@pytest.mark.on(linux="every")
def test_a_guest_that_runs_out_of_memory_says_so(kernel: KernelImage, qemu: str) -> None:
    del qemu  # the installed one: the command finds it
    words = [sys.executable, "-m", "virtiomem", "run", str(CASE), "--guest", "linux", "--kernel", kernel.release]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=10 * PATIENCE, check=False, env=os.environ)
    said = ran.stdout + ran.stderr
    assert "before step 2: vm0: 15G more need 240M for struct pages" in said
    lost = "the guest ran out of memory while playing resize" in ran.stderr and "struct pages took" in ran.stderr
    held = "vm0: out of memory for struct pages (needs 2M, node 0 has" in ran.stdout
    assert lost or held, said
    assert ran.returncode == (1 if lost else 0)
    assert "sections" not in said
    assert "out of order" not in said
