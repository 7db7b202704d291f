"""Kernels and their modules: which one to boot, and what it must load before the driver.

A kernel is any x86 bzImage; its release, read from the image, names its modules (``/lib/modules/RELEASE``). Modules may
be compressed as distributions do it (.ko.xz, .ko.gz, .ko.zst): they are unpacked here, not in the guest.
"""

import gzip
import lzma
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from virtiomem.errors import BackendError
from virtiomem.text import shown

DRIVER = "virtio_mem"
TRANSPORT = "virtio_pci"
PACKAGE = "linux-image-cloud-amd64"

_BOOT = Path("/boot")
_MODULES = Path("/lib/modules")
_VERSION_POINTER = 0x20E  # Documentation/x86/boot.rst (v6.1), "kernel_version"
_SETUP_MAGIC = (0x202, b"HdrS")


@dataclass(frozen=True, slots=True)
class Module:
    """A module's name and its unpacked bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel image and where its modules are; `builtin` and `dependencies` are modules.builtin and modules.dep."""

    image: Path
    release: str
    modules: Path
    builtin: frozenset[str]
    dependencies: dict[str, tuple[str, ...]]

    @property
    def driver_built_in(self) -> bool:
        """The virtio-mem driver is part of the image: it can be bound and unbound, not loaded."""
        return DRIVER in self.builtin

    @property
    def has_driver(self) -> bool:
        """The driver is there, as a module or built in, and so is virtio-pci."""
        return all(name in self.builtin or name in self._paths for name in (DRIVER, TRANSPORT))

    def load_order(self, name: str) -> list[Module]:
        """The modules to load for `name`, itself last; empty when it is built in.

        Raises BackendError when the module is missing or cannot be unpacked.
        """
        if name in self.builtin:
            return []
        path = self._paths.get(name)
        if path is None:
            raise BackendError(
                f"{self.modules}: no module {name} for kernel {self.release} (Debian package linux-image-{self.release})"
            )
        # modules.dep lists a module's dependencies with the one to load first at the end.
        return [Module(_name(each), unpack(self.modules / each)) for each in (*reversed(self.dependencies[path]), path)]

    @property
    def _paths(self) -> dict[str, str]:
        return {_name(path): path for path in self.dependencies}


def find() -> Kernel:
    """The newest kernel in /boot that has the virtio-mem driver; BackendError when there is none."""
    images = sorted(_BOOT.glob("vmlinuz-*"), key=_version_key, reverse=True)
    newest = ""
    for image in images:
        try:
            kernel = read(image)
        except BackendError as error:
            newest = newest or f"; {error}"
            continue
        if kernel.has_driver:
            return kernel
        newest = newest or f"; {image}: no {DRIVER} in {kernel.modules}"
    names = shown(", ".join(image.name for image in images) or "nothing")
    raise BackendError(f"no kernel with {DRIVER} in {_BOOT} (there is {names}{newest}) (Debian package {PACKAGE})")


def read(image: Path, modules: Path | None = None) -> Kernel:
    """A kernel from its image, and the directory of its modules unless that is /lib/modules/RELEASE.

    Raises BackendError when the image cannot be read or is none, or there are no modules.
    """
    version = release(image)
    directory = modules or _MODULES / version
    try:
        dependencies = _dependencies((directory / "modules.dep").read_text())
        builtin = frozenset(_name(line) for line in (directory / "modules.builtin").read_text().split())
    except OSError as error:
        raise BackendError(
            f"{error.filename}: {error.strerror}: no modules for kernel {version} (--modules DIR;"
            f" Debian package linux-image-{version})"
        ) from None
    return Kernel(image, version, directory, builtin, dependencies)


def release(image: Path) -> str:
    """The release in a bzImage, such as ``6.1.0-56-cloud-amd64``."""
    try:
        with image.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise BackendError(f"{image}: {error.strerror} (--kernel FILE; Debian package {PACKAGE})") from None
    offset, magic = _SETUP_MAGIC
    start = int.from_bytes(head[_VERSION_POINTER : _VERSION_POINTER + 2], "little") + 0x200
    text = re.match(rb"[\w.+~-]+", head[start : start + 128])
    if head[offset : offset + 4] != magic or text is None:
        raise BackendError(f"{image}: not an x86 Linux kernel (bzImage)")
    return text[0].decode()


def unpack(path: Path) -> bytes:
    """A module's bytes, whatever it is compressed with."""
    try:
        data = path.read_bytes()
        match path.suffix:
            case ".xz":
                return lzma.decompress(data)
            case ".gz":
                return gzip.decompress(data)
            case ".zst":
                return _unzstd(path, data)
            case _:
                return data
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise BackendError(f"{path}: cannot unpack this module: {error}") from None


def _unzstd(path: Path, data: bytes) -> bytes:
    """Python reads zstd from 3.14 on; until then its own program does."""
    program = shutil.which("zstd")
    if program is None:
        raise BackendError(f"{path}: zstd is needed to unpack this module (Debian package zstd)")
    done = subprocess.run([program, "-dc"], input=data, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        raise BackendError(f"{path}: cannot unpack this module: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """modules.dep: ``path: path path …``."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {path: tuple(needs.split()) for path, _, needs in pairs}


@cache
def _name(path: str) -> str:
    """A module's name from its path: no directory, no suffix, underscores."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _version_key(image: Path) -> list[tuple[int, int | str]]:
    """Version order: numbers by value, the rest as text."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", image.name)]
