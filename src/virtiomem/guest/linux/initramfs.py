"""The guest's first and only root: busybox, the modules, the agent; made here, of what this machine has installed."""

import shutil
import subprocess
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from virtiomem.errors import BackendError
from virtiomem.guest.linux import cpio
from virtiomem.guest.linux.kernels import DRIVER, REFUSING, TRANSPORT, KernelImage, Module

APPLETS = (
    "base64", "cat", "cpio", "dd", "echo", "fallocate", "find", "grep", "gzip", "insmod", "ls", "mkdir", "mount", "rm",
    "rmdir", "rmmod", "sh", "sleep", "stty", "tr", "umount", "uname",
)  # fmt: skip
"""The busybox programs that the agent calls."""

_DIRECTORIES = ("bin", "dev", "modules", "proc", "refusing", "sys", "use")
_ELF = b"\x7fELF"
_INTERPRETER = b"/lib64/ld-linux"


@dataclass(frozen=True, slots=True)
class Parts:
    """What an initramfs is made of; `kexec` maps paths in the guest to the files of kexec-tools, empty without it."""

    busybox: bytes
    boot_modules: list[Module]
    driver: Module | None
    """None when it is built in."""
    kexec: dict[str, bytes]
    refusing: list[Module] = field(default_factory=list)
    """What a refuse step loads; empty where the kernel lacks it."""


def gather(kernel: KernelImage, *, busybox: Path | None = None, kexec: bool = False) -> Parts:
    """Collect the parts from this machine.

    `kexec` adds kexec-tools and the kernel, for a scenario that starts or loads another kernel. Raises BackendError naming the
    missing piece and its Debian package.
    """
    modules = {module.name: module for name in (TRANSPORT, DRIVER) for module in kernel.load_order(name)}
    return Parts(
        busybox=_static_busybox(busybox),
        driver=modules.pop(DRIVER, None),
        boot_modules=list(modules.values()),
        kexec={**_kexec_tools(), "vmlinuz": kernel.image.read_bytes()} if kexec else {},
        refusing=kernel.load_order(REFUSING) if kernel.has_module(REFUSING) else [],
    )


def build(parts: Parts) -> bytes:
    """The archive; not compressed, for QEMU hands it over as it is and every kernel takes it."""
    entries = [cpio.directory(path) for path in _DIRECTORIES]
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries.append(cpio.file("bin/busybox", parts.busybox, executable=True))
    entries += [cpio.symlink(f"bin/{applet}", "busybox") for applet in APPLETS]
    entries.append(cpio.file("init", resources.files(__package__).joinpath("agent.sh").read_bytes(), executable=True))
    for folder, modules in (("modules", parts.boot_modules), ("refusing", parts.refusing)):
        entries += [
            cpio.file(f"{folder}/{number:02}-{module.name}.ko", module.data) for number, module in enumerate(modules)
        ]
    if parts.driver is not None:
        entries.append(cpio.file(f"{DRIVER}.ko", parts.driver.data))
    entries += [cpio.directory(path) for path in _parents(parts.kexec) if path not in _DIRECTORIES]
    entries += [cpio.file(path, data, executable=True) for path, data in parts.kexec.items()]
    return cpio.archive(entries)


def _static_busybox(path: Path | None) -> bytes:
    """Busybox, which must run without libraries."""
    found = path or shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    try:
        data = Path(found).read_bytes() if found else b""
    except OSError as error:
        raise BackendError(f"{found}: {error.strerror} (Debian package busybox-static)") from None
    if not data:
        raise BackendError("busybox: not found (Debian package busybox-static)")
    if not data.startswith(_ELF) or _INTERPRETER in data[:4096]:
        raise BackendError(f"{found}: not a static program; the guest has no libraries (Debian package busybox-static)")
    return data


def _kexec_tools() -> dict[str, bytes]:
    """The kexec program and the libraries it is linked with, by their paths."""
    program = shutil.which("kexec", path="/sbin:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BackendError(
            "kexec: not found; a step that starts or loads a kernel needs it (Debian package kexec-tools)"
        )
    linked = subprocess.run(["/usr/bin/ldd", program], capture_output=True, text=True, check=False)  # noqa: S603
    libraries = [word for word in linked.stdout.split() if word.startswith("/")]
    files = {path.lstrip("/"): Path(path).read_bytes() for path in libraries}
    return {"sbin/kexec": Path(program).read_bytes(), **files}


def _parents(paths: dict[str, bytes]) -> list[str]:
    """Every directory above `paths`, upper ones first."""
    return sorted({str(parent) for path in paths for parent in Path(path).parents} - {"."})
