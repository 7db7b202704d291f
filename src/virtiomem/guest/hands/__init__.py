"""A guest whose only program is ours: it drives a virtio device on behalf of a client outside (the hands).

hands.c   the program; what it says is at its head, and `transport.hands` is the other side
"""

import platform
import shutil
import subprocess
import tempfile
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from virtiomem.architecture import ARCHITECTURES, Architecture
from virtiomem.errors import BackendError, BackendTimeout
from virtiomem.guest.linux import cpio, kernels
from virtiomem.text import one_line

_ELF = b"\x7fELF"
# Static, for the guest has no libraries.
_FLAGS = ("-Os", "-static", "-Wall", "-Wextra", "-Werror")
_SECONDS = 60.0


def architecture_of(kernel: Path) -> Architecture:
    """Return the architecture (with 4K pages) of a kernel image or vmlinux. Raises BackendError for any other file."""
    try:
        with kernel.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise BackendError(f"{kernel}: {error.strerror}") from None
    # A vmlinux is an ELF file: what Firecracker boots on x86.
    if not head.startswith(_ELF):
        return kernels.identify(kernel)[1]
    # e_machine lies at 18 in ELF files of 32 and 64 bits.
    machine = int.from_bytes(head[18:20], "little")
    found = next((row for row in ARCHITECTURES if row.elf_machine == machine), None)
    if found is None:
        raise BackendError(f"{kernel}: for ELF machine {machine}, which is not supported")
    return found


def command_line(architecture: Architecture, more: str = "") -> str:
    """Return the kernel parameters: /dev/mem may access device memory, and the hands are the first program."""
    return f"{architecture.console_parameters} iomem=relaxed rdinit=/init {more}".strip()


def initramfs(program: bytes) -> bytes:
    """The guest's only root: the hands, and places to mount what they read."""
    folders = [cpio.directory(name) for name in ("dev", "proc", "sys")]
    # The kernel opens it for the first program before anything could mount /dev.
    console = cpio.character_device("dev/console", 5, 1)
    return cpio.archive([*folders, console, cpio.file("init", program, executable=True)])


def build(architecture: Architecture) -> bytes:
    """Compile the hands; see `static_program`."""
    return static_program(resources.files(__package__).joinpath("hands.c"), architecture, "; or name one with --hands")


def static_program(text: Traversable, architecture: Architecture, cure: str = "") -> bytes:
    """Compile a C file with the distribution's compiler; BackendError names its package, and another `cure`."""
    native = platform.machine() == architecture.kernel_name
    triple = f"{architecture.kernel_name}-linux-gnu"
    # The native compiler is wrong for another processor, while Debian's cross compilers are named by their target.
    names = [*(("cc", "gcc") if native else ()), f"{triple}-gcc"]
    compiler = next(filter(None, map(shutil.which, names)), None)
    if compiler is None:
        package = "gcc, libc6-dev" if native else f"gcc-{triple.replace('_', '-')}"
        raise BackendError(
            f"{names[0]}: not found; the program for the guest is compiled here (Debian package {package}){cure}"
        )
    with tempfile.TemporaryDirectory(prefix="virtiomem-") as folder, resources.as_file(text) as source:
        program = Path(folder, "program")
        try:
            done = subprocess.run(  # noqa: S603 - an argument list, no shell
                [compiler, *_FLAGS, "-o", str(program), str(source)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise BackendTimeout(
                f"{compiler}: the program for the guest is not compiled after {_SECONDS:g} s"
            ) from None
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing"]
            raise BackendError(one_line(f"{compiler} cannot compile the program for the guest: {said[-1]}"))
        return program.read_bytes()
