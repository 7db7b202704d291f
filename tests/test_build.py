"""Which build is tested, and what compiling must not change."""

import os
import subprocess
import sys

from tests.refused import refused
from virtiomem import Memory, ResourceTree, build, errors, iomem
from virtiomem.errors import Errno, Exit, ListingError, MaskedListingError
from virtiomem.memory import add_memory, offline_and_remove_memory
from virtiomem.resource.node import ResourceConflict
from virtiomem.units import GiB, MiB


def test_version_names_the_build_that_is_meant() -> None:
    said = subprocess.run([sys.executable, "-m", "virtiomem", "--version"], capture_output=True, text=True, check=True)
    meant = os.environ.get("VIRTIOMEM_BUILD", "pure Python")
    assert said.stdout.endswith(f" ({meant})\n")
    assert build.is_compiled() == (meant == "compiled")


def test_errors_are_never_compiled() -> None:
    # mypyc 2.4.1 takes every Errno that may be None for true, OK among them, and gives a subclass its parent's exit code.
    assert str(errors.__file__).endswith(".py")


def test_errors_that_the_heart_adds_keep_their_exit_codes() -> None:
    assert MaskedListingError().exit_code is Exit.USAGE
    assert isinstance(MaskedListingError(), ListingError)
    assert issubclass(ResourceConflict, errors.KernelError)
    assert ResourceConflict.exit_code is Exit.FAILED


def test_an_errno_that_may_be_none_is_true_only_where_something_failed() -> None:
    memory = Memory(iomem.loads("00000000-7fffffff : System RAM\n"))
    assert not add_memory(memory, 0, 4 * GiB, 256 * MiB)
    assert offline_and_remove_memory(memory, 4 * GiB, 256 * MiB) is Errno.OK
    assert not memory.blocks.keys() & {32, 33}


def test_what_is_not_a_number_is_a_type_error_in_every_build() -> None:
    tree = ResourceTree()
    for wrong in ("1", None, 1.5):
        refused(tree.request_region, wrong, 4096, "device")
    tree.check()
    assert not tree.children
