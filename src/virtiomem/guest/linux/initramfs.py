"""Build the guest's only root file system: busybox, modules and the agent, from what this machine has installed."""

import re
from collections.abc import Mapping, Sequence
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
_ADMIN_PROGRAMS = ("sbin", "usr/sbin", "usr/local/sbin")
_LIBRARIES = ("lib/*-linux-gnu", "usr/lib/*-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib")
_LIBC = "libc.so.6"
_SHARED_LIBRARY = re.compile(rb"/?[\w+./-]{0,200}[\w+-]\.so(?:\.\d+)*")
_DIRECTORIES = ("bin", "dev", "modules", "proc", "refusing", "sys", "use")
_ELF = b"\x7fELF"
_INTERPRETER = b"/ld-linux"
_MACHINE = slice(18, 20)
"""Where an ELF header says for which machine it is."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Contents of an initramfs; `programs` maps paths in the guest to files: kexec-tools and the kernel, and other programs."""

    busybox: bytes
    boot_modules: list[Module]
    driver: Module | None
    """None when it is built in."""
    programs: dict[str, bytes]
    refusing: list[Module] = field(default_factory=list)
    """What a refuse step loads; empty where the kernel lacks it."""


def gather(
    kernel: KernelImage,
    *,
    busybox: Path | None = None,
    kexec: bool = False,
    load: Sequence[str] = (),
    programs: Mapping[str, bytes] | None = None,
) -> Parts:
    """Collect the parts from this machine.

    `kexec` adds kexec-tools and the kernel, for a scenario that starts or loads another kernel; `load` and `programs` are more
    modules to load at boot and more programs. Raises BackendError naming the
    missing piece and its Debian package.
    """
    # Each once, where it is first needed: a dict keeps the order of insertion.
    modules = {module.name: module for name in (TRANSPORT, DRIVER, *load) for module in kernel.load_order(name)}
    return Parts(
        busybox=_static_busybox(busybox, kernel.architecture),
        # Apart from those that are loaded at boot: a load step loads it.
        driver=modules.pop(DRIVER, None),
        boot_modules=list(modules.values()),
        programs={**(programs or {}), **(_kexec(kernel) if kexec else {})},
        refusing=kernel.load_order(REFUSING) if kernel.has_module(REFUSING) else [],
    )


def build(parts: Parts) -> bytes:
    """The archive; not compressed, for QEMU hands it over as it is and every kernel takes it."""
    entries = [cpio.directory(path) for path in _DIRECTORIES]
    # The kernel opens it for the first program, before that could mount /dev.
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries.append(cpio.file("bin/busybox", parts.busybox, executable=True))
    entries += [cpio.symlink(f"bin/{applet}", "busybox") for applet in APPLETS]
    entries.append(cpio.file("init", resources.files(__package__).joinpath("agent.sh").read_bytes(), executable=True))
    # Numbered, for the agent loads them in the order in which its shell's glob sorts them.
    for folder, modules in (("modules", parts.boot_modules), ("refusing", parts.refusing)):
        entries += [
            cpio.file(f"{folder}/{number:02}-{module.name}.ko", module.data) for number, module in enumerate(modules)
        ]
    if parts.driver is not None:
        entries.append(cpio.file(f"{DRIVER}.ko", parts.driver.data))
    entries += [cpio.directory(path) for path in _parents(parts.programs) if path not in _DIRECTORIES]
    entries += [cpio.file(path, data, executable=True) for path, data in parts.programs.items()]
    return cpio.archive(entries)


def _static_busybox(path: Path | None, architecture: Architecture) -> bytes:
    """Busybox, which must run without libraries: the one of this machine, or one among unpacked packages."""
    package = f"(Debian package busybox-static{_suffix(architecture)})"
    places = [path] if path else [root / place / "busybox" for root in _roots() for place in _PROGRAMS]
    for found in filter(Path.exists, places) if path is None else places:
        data = _program(found, package)
        if _machine(data) == architecture.elf_machine:
            return data
        if path:
            raise BackendError(f"{found}: not a program for {architecture.family} {package}")
    wanted = "" if architecture is DEFAULT else f" for {architecture.family}"
    raise BackendError(f"busybox: not found{wanted} {package}")


def _roots() -> list[Path]:
    """Directories below which programs for the guest are looked for: this machine, then unpacked packages."""
    return list(dict.fromkeys([Path("/"), *kernels.roots()]))


def _suffix(architecture: Architecture) -> str:
    """Return the suffix of a Debian package's name for an architecture other than the default one."""
    return "" if architecture is DEFAULT else f":{architecture.debian}"


def _machine(program: bytes) -> int:
    """For which machine an ELF file is."""
    return int.from_bytes(program[_MACHINE], "little")


def _program(path: Path, package: str) -> bytes:
    """A static program."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BackendError(f"{path}: {error.strerror} {package}") from None
    # A dynamic program names its loader (PT_INTERP) near its start; the kernel would answer ENOENT for the loader.
    if not data.startswith(_ELF) or _INTERPRETER in data[:4096]:
        raise BackendError(f"{path}: not a static program; the guest has no libraries {package}")
    return data


def _kexec(kernel: KernelImage) -> dict[str, bytes]:
    """Collect kexec-tools and the kernel."""
    return {**_kexec_tools(kernel.architecture), "vmlinuz": kernel.image.read_bytes()}


def _kexec_tools(architecture: Architecture) -> dict[str, bytes]:
    """The kexec program and the libraries that it needs, by their paths: of this machine, or of unpacked packages."""
    for root in _roots():
        for program in (root / place / "kexec" for place in _ADMIN_PROGRAMS):
            if program.is_file() and _machine(data := program.read_bytes()) == architecture.elf_machine:
                return {"sbin/kexec": data, **_libraries(data, root)}
    package = "kexec-tools" + _suffix(architecture)
    wanted = "" if architecture is DEFAULT else f" for {architecture.family}"
    raise BackendError(
        f"kexec: not found{wanted}; a step that starts or loads a kernel needs it (Debian package {package})"
    )


def _libraries(program: bytes, root: Path) -> dict[str, bytes]:
    """Return the shared libraries below `root` that a program names, and those that they name in turn, by their paths.

    A file names its libraries in strings. ldd would have to run the program, which may be another processor's.
    """
    places = [str(path.relative_to(root)) for pattern in _LIBRARIES for path in sorted(root.glob(pattern))]
    found: dict[str, bytes] = {}
    waiting = [program]
    while waiting:
        for name in dict.fromkeys(_SHARED_LIBRARY.findall(waiting.pop())):
            wanted = name.decode()
            paths = [wanted.lstrip("/")] if wanted.startswith("/") else [f"{place}/{wanted}" for place in places]
            path = next((path for path in paths if (root / path).is_file()), None)
            # A name without a file is a string that only looks like a library's.
            if path and path not in found:
                found[path] = (root / path).read_bytes()
                if wanted != _LIBC:  # it names what it may open later, and kexec asks it for none of that
                    waiting.append(found[path])
    return found


def _parents(paths: dict[str, bytes]) -> list[str]:
    """Every directory above `paths`, upper ones first."""
    return sorted({str(parent) for path in paths for parent in Path(path).parents} - {"."})
