"""Kernels and their modules: which one to boot, and what it must load before the driver.

A kernel is an x86 bzImage or an arm64 Image; its release, read from the image, names its modules
(``/lib/modules/RELEASE``). Modules may be compressed as distributions do it (.ko.xz, .ko.gz, .ko.zst): they are
unpacked here, not in the guest.

Looked through are ``/boot/vmlinuz-*`` and ``/lib/modules/*/vmlinuz``, below / or below the directories that the
environment variable VIRTIOMEM_KERNELS names (separated by colons), such as unpacked packages. An image in the tree that
it was built in has its modules there (`build_tree`).
"""

import gzip
import lzma
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.architecture import find as find_row
from virtiomem.errors import BackendError
from virtiomem.guest.linux import build_tree
from virtiomem.text import shown
from virtiomem.units import KiB

DRIVER = "virtio_mem"
TRANSPORT = "virtio_pci"
REFUSING = "memory_notifier_error_inject"
"""The module that lets a memory notifier refuse."""
PACKAGE = "linux-image-cloud-amd64"
ROOTS = "VIRTIOMEM_KERNELS"
"""The environment variable with the directories to look below instead of /."""

_IMAGES = ("boot/vmlinuz-*", "lib/modules/*/vmlinuz", "usr/lib/modules/*/vmlinuz")
_MODULES = ("lib/modules", "usr/lib/modules")
_VERSION_POINTER = 0x20E  # Documentation/x86/boot.rst (v6.1), "kernel_version"
_SETUP_MAGIC = (0x202, b"HdrS")
_ELF = b"\x7fELF"
_SHORT_PATH = 50
"""Characters of a path in a message that names every option of the kernel that is missing."""
_ARM64_MAGIC, _ARM64_FLAGS = slice(0x38, 0x3C), slice(0x18, 0x20)  # Documentation/arm64/booting.rst (v6.1)


@dataclass(frozen=True, slots=True)
class Module:
    """A module's name and its unpacked bytes."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class KernelImage:
    """A kernel image and where its modules are; `builtin` and `dependencies` are modules.builtin and modules.dep."""

    image: Path
    release: str
    architecture: Architecture
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

    def has_module(self, name: str) -> bool:
        """The module is there, not built in."""
        return name in self._paths

    def load_order(self, name: str) -> list[Module]:
        """The modules to load for `name`, itself last; empty when it is built in.

        Raises BackendError when the module is missing or cannot be unpacked.
        """
        if name in self.builtin:
            return []
        path = self._paths.get(name)
        if path is None:
            cure = (
                "make modules" if (self.modules / ".config").is_file() else f"Debian package linux-image-{self.release}"
            )
            raise BackendError(f"{self.modules}: no module {name} for kernel {self.release} ({cure})")
        # modules.dep lists a module's dependencies with the one to load first at the end.
        return [Module(_name(each), unpack(self.modules / each)) for each in (*reversed(self.dependencies[path]), path)]

    @property
    def _paths(self) -> dict[str, str]:
        return {_name(path): path for path in self.dependencies}


def choose(kernel: Path | str | None, modules: Path | None = None, architecture: Architecture = DEFAULT) -> KernelImage:
    """The kernel of an image, or the newest one of a release such as ``6.1``, or the newest of all.

    Raises BackendError as `read` and `find` do, and for an image of another architecture or page size.
    """
    if not isinstance(kernel, Path):
        return find(kernel or "", architecture)
    chosen = read(kernel, modules)
    if chosen.architecture is not architecture:
        raise BackendError(f"{kernel}: a kernel for {chosen.architecture.name}, not for {architecture.name}")
    return chosen


def choose_image(kernel: str | None) -> Path:
    """The image alone, without modules: a file, or the newest in /boot, or of a release such as ``6.1``."""
    if kernel is not None and "/" in kernel:
        return Path(kernel)
    return find(kernel or "").image


def find(wanted: str = "", architecture: Architecture = DEFAULT) -> KernelImage:
    """The newest kernel of the wanted release (empty: of any) and architecture that has the virtio-mem driver.

    ``6.1`` is every 6.1.x, not 6.12. Raises BackendError, with what there is and the Debian package, when none matches.
    """
    found, refused = _looked_at(architecture)
    fitting = [kernel for kernel in found if is_release(kernel.release, wanted)]
    if not fitting:
        raise BackendError(_none_found(wanted, _images(), refused, architecture))
    return fitting[-1]


def here(architecture: Architecture = DEFAULT) -> list[KernelImage]:
    """Every kernel here that has the virtio-mem driver, oldest first."""
    return _looked_at(architecture)[0]


def _looked_at(architecture: Architecture) -> tuple[list[KernelImage], list[str]]:
    """Return the suitable kernels, oldest first, and why the others are unsuitable."""
    found, refused = [], []
    for image in _images():
        try:
            kernel = read(image)
        except BackendError as error:
            refused.append(str(error))
        else:
            if kernel.architecture is not architecture:
                refused.append(f"{image}: a kernel for {kernel.architecture.name}")
            elif kernel.has_driver:
                found.append(kernel)
            else:
                refused.append(f"{image}: no {DRIVER} in {kernel.modules}")
    # By number: as text 6.12 would come before 6.2.
    return sorted(found, key=lambda kernel: version_key(kernel.release)), refused


def is_release(release: str, wanted: str) -> bool:
    """Return whether a kernel is of a release: ``6.1.0-57-cloud-amd64`` is a ``6.1``, 6.12.3 is not."""
    # 6.1 must not find 6.12.
    return release.startswith(wanted) and not (wanted and release[len(wanted) :][:1].isdigit())


def _none_found(wanted: str, images: list[Path], refused: list[str], architecture: Architecture) -> str:
    """Describe a kernel that was not found: what was asked for, what there is, why the last of these does not match,
    and the cure.
    """
    kernel = "kernel" if architecture is DEFAULT else f"kernel for {architecture.name}"
    what = f"{kernel} {wanted}" if wanted else kernel
    package = (
        f"linux-image-{wanted}*-cloud-{architecture.debian}" if wanted else f"linux-image-cloud-{architecture.debian}"
    )
    where = ", ".join(str(root / "boot") for root in roots())
    names = shown(", ".join(map(_file_release, images)) or "nothing")
    why = f"; {refused[-1]}" if refused else ""
    return f"no {what} with {DRIVER} in {where} (there is {names}{why}) (Debian package {package})"


def _file_release(image: Path) -> str:
    """The release that the path of an image tells: /boot/vmlinuz-RELEASE, /lib/modules/RELEASE/vmlinuz."""
    return image.name.removeprefix("vmlinuz-") if "-" in image.name else image.parent.name


def roots() -> list[Path]:
    """The directories below which kernels are looked for."""
    return [Path(root) for root in os.environ.get(ROOTS, "").split(":") if root] or [Path("/")]


def _images() -> list[Path]:
    """Every kernel image there is, each once: /lib may be /usr/lib."""
    found = (image for root in roots() for pattern in _IMAGES for image in sorted(root.glob(pattern)))
    return list({image.resolve(): image for image in found}.values())


def read(image: Path, modules: Path | None = None) -> KernelImage:
    """A kernel from its image, or the tree that it was built in; and the directory of its modules unless that is its build tree
    or /lib/modules/RELEASE.

    Raises BackendError when the image cannot be read or is not a kernel, there are no modules, or a build tree's
    configuration lacks what the guest needs.
    """
    if image.is_dir():
        image /= build_tree.IMAGE
    version, architecture = identify(image)
    if modules is None and (tree := build_tree.tree_of(image)) is not None:
        return _just_built(image, version, architecture, tree)
    places = [root / place / version for root in roots() for place in _MODULES]
    directory = modules or next(filter(Path.is_dir, places), places[0])
    try:
        dependencies = _dependencies((directory / "modules.dep").read_text())
        builtin = frozenset(_name(line) for line in (directory / "modules.builtin").read_text().split())
    except OSError as error:
        raise BackendError(
            f"{error.filename}: {error.strerror}: no modules for kernel {version} (--modules DIR;"
            f" Debian package linux-image-{version})"
        ) from None
    return KernelImage(image, version, architecture, directory, builtin, dependencies)


def _just_built(image: Path, version: str, architecture: Architecture, tree: Path) -> KernelImage:
    """A kernel in its build tree."""
    try:
        if lacking := build_tree.lacking((tree / ".config").read_text()):
            raise BackendError(
                f"{shown(tree / '.config', _SHORT_PATH)}: needs scripts/config "
                f"{' '.join(f'-e {name}' for name in lacking)}, make olddefconfig (docs/test.md)"
            )
        builtin = frozenset(_name(line) for line in (tree / "modules.builtin").read_text().split())
        dependencies = build_tree.dependencies(tree)
    except OSError as error:
        raise BackendError(f"{error.filename}: {error.strerror}: kernel {version} is not built whole (make)") from None
    return KernelImage(image, version, architecture, tree, builtin, dependencies)


def release(image: Path) -> str:
    """The release of a kernel, such as ``6.1.0-56-cloud-amd64``; see `identify`."""
    return identify(image)[0]


def identify(image: Path) -> tuple[str, Architecture]:
    """The release in an image, and what it is for. Raises BackendError when it cannot be read or is not a kernel."""
    try:
        with image.open("rb") as file:
            # A bzImage has its version in the first sectors; an arm64 Image only somewhere in the whole.
            head = file.read(0x10000)
            rest = file.read() if head[_ARM64_MAGIC] == b"ARM\x64" else b""
    except OSError as error:
        cure = "make it" if image.name == build_tree.IMAGE.name else f"--kernel FILE; Debian package {PACKAGE}"
        raise BackendError(f"{image}: {error.strerror} ({cure})") from None
    if rest:
        return _identify_arm64(image, head + rest)
    offset, magic = _SETUP_MAGIC
    # The pointer is relative to the second sector (boot.rst: "kernel_version" plus 0x200).
    start = int.from_bytes(head[_VERSION_POINTER : _VERSION_POINTER + 2], "little") + 0x200
    text = re.match(rb"[\w.+~-]+", head[start : start + 128])
    if head.startswith(_ELF):
        raise BackendError(f"{image}: an ELF file, such as vmlinux; QEMU boots the {build_tree.IMAGE} made of it")
    if head[offset : offset + 4] != magic or text is None:
        raise BackendError(f"{image}: not an x86 Linux kernel (bzImage), nor one for arm64 (Image)")
    return text[0].decode(), DEFAULT


def _identify_arm64(image: Path, data: bytes) -> tuple[str, Architecture]:
    """Identify an arm64 image: the header has its page size, a banner somewhere in it the release."""
    flags = int.from_bytes(data[_ARM64_FLAGS], "little")
    sizes = {1: 4 * KiB, 2: 16 * KiB, 3: 64 * KiB}
    # Bits 1 and 2 are the page size, 0 if it is not said (booting.rst).
    row = find_row("arm64", sizes.get(flags >> 1 & 3))
    text = re.search(rb"Linux version ([\w.+~-]+)", data)
    if row is None or text is None:
        raise BackendError(f"{image}: an arm64 kernel without a page size or a release in it")
    return text[1].decode(), row


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


def version_key(release: str) -> list[tuple[int, int | str]]:
    """Sort key of a release: numbers by value, the rest as text."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", release)]
