"""The guest's first and only root: busybox, the modules, the agent; made here, of what this machine has installed."""

import shutil
import subprocess
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.errors import BackendError
from virtiomem.guest.linux import cpio, kernels
from virtiomem.guest.linux.kernels import DRIVER, REFUSING, TRANSPORT, KernelImage, Module

APPLETS = (
    "base64", "cat", "cpio", "dd", "echo", "fallocate", "find", "grep", "gzip", "insmod", "ls", "mkdir", "mount", "rm",
    "rmdir", "rmmod", "sh", "sleep", "stty", "tr", "umount", "uname",
)  # fmt: skip
"""The busybox programs that the agent calls."""

_PROGRAMS = ("bin", "usr/bin", "usr/local/bin")
_DIRECTORIES = ("bin", "dev", "modules", "proc", "refusing", "sys", "use")
_ELF = b"\x7fELF"
_INTERPRETER = b"/ld-linux"
_MACHINE = slice(18, 20)
"""Where an ELF header says for which machine it is."""


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
        busybox=_static_busybox(busybox, kernel.architecture),
        driver=modules.pop(DRIVER, None),
        boot_modules=list(modules.values()),
        kexec={**_kexec_tools(kernel.architecture), "vmlinuz": kernel.image.read_bytes()} if kexec else {},
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


def _static_busybox(path: Path | None, architecture: Architecture) -> bytes:
    """Busybox, which must run without libraries: the one of this machine, or one among unpacked packages."""
    package = "(Debian package busybox-static" + ("" if architecture is DEFAULT else f":{architecture.debian}") + ")"
    roots = dict.fromkeys([Path("/"), *kernels.roots()])
    places = [path] if path else [root / place / "busybox" for root in roots for place in _PROGRAMS]
    for found in filter(Path.exists, places) if path is None else places:
        data = _program(found, package)
        if int.from_bytes(data[_MACHINE], "little") == architecture.elf_machine:
            return data
        if path:
            raise BackendError(f"{found}: not a program for {architecture.family} {package}")
    wanted = "" if architecture is DEFAULT else f" for {architecture.family}"
    raise BackendError(f"busybox: not found{wanted} {package}")


def _program(path: Path, package: str) -> bytes:
    """A static program."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(f"{path}: {error.strerror} {package}") from None
    if not data.startswith(_ELF) or _INTERPRETER in data[:4096]:
        raise BackendError(f"{path}: not a static program; the guest has no libraries {package}")
    return data


def _kexec_tools(architecture: Architecture) -> dict[str, bytes]:
    """The kexec program and the libraries it is linked with, by their paths."""
    if architecture is not DEFAULT:
        raise BackendError(f"kexec: this machine's is not for {architecture.family}; a kexec step needs one that is")
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
