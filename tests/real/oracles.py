"""Bring the kernels, QEMUs and lsmems that this machine lacks, from the Debian mirror that its apt uses, without installing them.

python tests/real/oracles.py [NAME...]

Packages of other Debian releases are unpacked below .oracles, or the directory that VIRTIOMEM_ORACLES names, and tests/real
find them there. Each gets a directory of its own, which appears only when all of it is there and was seen to work. What
cannot be had is said; it is a failure (exit status 1) only where the mirror has it and the continuous integration counts
on it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.real.needs import ORACLES, found_debug, found_kernels, found_lsmems, found_qemus, look_for_kernels, series
from virtiomem.architecture import ARM64, DEFAULT
from virtiomem.errors import BackendError
from virtiomem.guest.linux import kernels

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATIENCE = 600
"""Seconds that one call of apt may take."""
START = """\
#!/bin/sh
# This program with the C library that it was packaged with.
root=$(dirname "$(readlink -f "$0")")
for loader in "$root"/usr/lib/x86_64-linux-gnu "$root"/lib/x86_64-linux-gnu "$root"/usr/lib64; do
    loader=$loader/ld-linux-x86-64.so.2
    [ -e "$loader" ] && break
done
libraries=$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
exec "$loader" --library-path "$libraries" "$root/usr/bin/{}" "$@"
"""
START_QEMU = START.replace("exec", 'export QEMU_MODULE_DIR="$root/usr/lib/x86_64-linux-gnu/qemu"\nexec').replace(
    '"$@"', '-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"'
)
"""QEMU with its modules and its firmware, as well."""


class UnreachableError(Exception):
    """The mirror does not answer, or has no such release of Debian."""


class NotHadError(Exception):
    """The mirror answers, and what was asked for is not there, not whole, or does not work."""


@dataclass(frozen=True, slots=True)
class Oracle:
    """A series of Linux, QEMU or util-linux, the releases of Debian to look through, and whether CI counts on it."""

    program: str
    series: str
    suites: tuple[str, ...]
    counted_on: bool = False
    architecture: str = "amd64"
    """What Debian calls the processor that it is for."""
    by_name: bool = False
    """Brought only when it is asked for: it is large."""

    @property
    def name(self) -> str:
        """Its directory below ORACLES, such as ``qemu-10.0``."""
        return f"{self.program}-{self.series}"

    @property
    def here(self) -> str | None:
        """The version that this machine has already."""
        return _FOUND[self.program]().get(self.series)


_FOUND: Mapping[str, Callable[[], Mapping[str, str]]] = {
    "linux": found_kernels,
    "linux-arm64": lambda: found_kernels(ARM64),
    "qemu": lambda: {series(version): version for version in found_qemus().values()},
    "debug": found_debug,
    "util-linux": lambda: {series(version): version for version in found_lsmems().values()},
}


ALL = (
    Oracle("linux", "6.1", ("bookworm-security", "bookworm"), counted_on=True),
    Oracle("linux", "6.12", ("bookworm-security", "trixie"), counted_on=True),
    Oracle("linux", "6.18", ("trixie-backports", "sid")),
    Oracle("linux", "7.3", ("trixie-backports", "sid")),
    Oracle("linux-arm64", "6.1", ("bookworm",), architecture=ARM64.debian),
    Oracle("qemu", "7.2", ("bookworm",)),
    Oracle("qemu", "10.0", ("trixie",), counted_on=True),
    Oracle("qemu", "11.1", ("trixie-backports",)),
    Oracle("util-linux", "2.36", ("bullseye",)),
    Oracle("util-linux", "2.41", ("trixie",)),
    Oracle("util-linux", "2.42", ("sid",)),
    Oracle("debug", "6.1", ("bookworm-security", "bookworm"), by_name=True),
    Oracle("debug", "6.12", ("bookworm-security", "trixie"), by_name=True),
)


class Apt:
    """apt with one suite and architecture, and lists, cache and status of its own."""

    def __init__(self, suite: str, home: Path, architecture: str) -> None:
        self.home = home
        self.architecture = architecture
        for folder in ("lists/partial", "cache/archives/partial"):
            (home / folder).mkdir(parents=True)
        (home / "status").touch()
        signed = f" [signed-by={KEYRING}]" if KEYRING.exists() else ""
        base = suite.removesuffix("-backports")
        sources = [f"deb{signed} {mirror(suite)} {name} main\n" for name in dict.fromkeys((base, suite))]
        (home / "sources.list").write_text("".join(sources))
        values = {
            "Dir::Etc::sourcelist": home / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferences": "-",
            "Dir::Etc::preferencesparts": "-",
            "Dir::State::lists": home / "lists",
            "Dir::State::status": home / "status",
            "Dir::Cache": home / "cache",
            "APT::Architecture": architecture,
            "APT::Architectures::": architecture,
            "APT::Sandbox::User": "root",
            "APT::Default-Release": suite,
            "APT::Update::Error-Mode": "any",
        }
        self.options = [word for key, value in values.items() for word in ("-o", f"{key}={value}")]
        try:
            self("apt-get", "update")
        except NotHadError as error:
            raise UnreachableError(str(error)) from None

    def __call__(self, tool: str, *arguments: str, folder: Path | None = None) -> list[str]:
        """The lines that a tool of apt prints; raises NotHadError with what it says about an error."""
        command = [tool, "-q", *self.options, *arguments]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            raise NotHadError(f"{tool} {arguments[0]}: no end after {PATIENCE} seconds") from None
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or [f"exit {done.returncode}"]
            raise NotHadError(f"{tool} {arguments[0]}: {said[0].removeprefix('E: ')}")
        return done.stdout.splitlines()

    def download(self, packages: Sequence[str], folder: Path) -> None:
        """Unpack these very packages into a folder."""
        with TemporaryDirectory(dir=self.home) as debs:
            self("apt-get", "download", *packages, folder=Path(debs))
            unpack(Path(debs), folder, at_least=len(packages))

    def download_with_all_it_needs(self, packages: Sequence[str], folder: Path) -> None:
        """Unpack packages and everything that they depend on, down to the C library."""
        self("apt-get", "install", "-y", "--no-install-recommends", "--download-only", *packages)
        unpack(self.home / "cache/archives", folder, at_least=len(packages))


def mirror(suite: str) -> str:
    """Where this machine's apt gets Debian from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    known = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    name = "debian-security" if suite.endswith("-security") else "debian"
    for address in known:
        if address.rstrip("/").endswith(f"/{name}"):
            return address
    raise UnreachableError(f"apt has no source that ends with /{name}")


def unpack(debs: Path, folder: Path, at_least: int) -> None:
    """Unpack every package of a folder into another."""
    found = sorted(debs.glob("*.deb"))
    if len(found) < at_least:
        raise NotHadError(f"{len(found)} packages came, where {at_least} were asked for")
    for deb in found:
        subprocess.run(["dpkg-deb", "-x", str(deb), str(folder)], check=True)


def kernel(apt: Apt, wanted: str, folder: Path) -> str:
    """Unpack the newest cloud kernel of a series, and a busybox where this machine's is for another processor; return its release."""
    pattern = rf"linux-image-({re.escape(wanted)}[.-]\S*cloud-{apt.architecture})"
    releases = [match[1] for name in apt("apt-cache", "pkgnames") if (match := re.fullmatch(pattern, name))]
    if not releases:
        raise NotHadError(f"no package of Linux {wanted}")
    release = max(releases, key=kernels.version_key)
    busybox = [] if apt.architecture == DEFAULT.debian else ["busybox-static"]
    apt.download([*dict.fromkeys(parts(apt, f"linux-image-{release}", release)), *busybox], folder)
    modules = next(path for path in folder.glob(f"**/modules/{release}") if path.is_dir())
    subprocess.run([depmod(), "-b", str(modules.parents[2]), release], check=True)
    image = next(iter(sorted(folder.glob(f"**/vmlinuz-{release}")) + sorted(modules.glob("vmlinuz"))))
    if not kernels.read(image, modules).has_driver:
        raise NotHadError(f"Linux {release} has no {kernels.DRIVER}")
    return release


def parts(apt: Apt, package: str, release: str) -> Iterator[str]:
    """A kernel's package and those that it depends on for itself: from 6.17 on image and modules are packages of their own."""
    yield package
    for line in apt("apt-cache", "depends", "--important", package):
        name = line.rpartition("Depends: ")[2].strip()
        if line.strip().startswith(("Depends:", "PreDepends:")) and name.endswith(f"-{release}"):
            yield from parts(apt, name, release)


def depmod() -> str:
    """The program that lists what modules need."""
    return shutil.which("depmod", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or _no("depmod (kmod)")


def _no(program: str) -> str:
    raise NotHadError(f"{program} is needed here")


def qemu(apt: Apt, wanted: str, folder: Path) -> str:
    """Unpack QEMU with its firmware and libraries; return its version."""
    apt.download_with_all_it_needs(["qemu-system-x86", "seabios"], folder)
    return program(folder, "qemu-system-x86_64", START_QEMU, wanted)


def lsmem(apt: Apt, wanted: str, folder: Path) -> str:
    """Unpack util-linux with its libraries; return its version."""
    packages = [name for name in ("util-linux", "util-linux-extra") if name in apt("apt-cache", "pkgnames")]
    apt.download_with_all_it_needs(packages, folder)
    return program(folder, "lsmem", START, wanted)


def program(folder: Path, name: str, start: str, wanted: str) -> str:
    """Make an unpacked program one that can be run; return its version."""
    command = folder / name
    command.write_text(start.replace("{}", name))
    command.chmod(0o755)
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False)
    match = re.search(r"\d+\.\d+[.\d]*", done.stdout)
    if match is None or series(match[0]) != wanted:
        raise NotHadError(f"it is {match[0] if match else done.stderr.strip()[:200] or 'silent'}")
    return match[0]


def debug(apt: Apt, wanted: str, folder: Path) -> str:
    """Take the vmlinux out of the debug information of the kernel of a series that is here; return its release."""
    release = found_kernels().get(wanted) or _no(f"Linux {wanted}")
    with TemporaryDirectory(dir=apt.home) as debs:
        apt("apt-get", "download", f"linux-image-{release}-dbg", folder=Path(debs))
        files = ["dpkg-deb", "--fsys-tarfile", str(next(Path(debs).glob("*.deb")))]
        take = ["tar", "-x", "-C", str(folder), "--strip-components=5", f"./usr/lib/debug/boot/vmlinux-{release}"]
        with subprocess.Popen(files, stdout=subprocess.PIPE) as unpacking:  # all of it is several gigabytes
            subprocess.run(take, stdin=unpacking.stdout, check=True)
    return release


_BRING: Mapping[str, Callable[[Apt, str, Path], str]] = {
    "linux": kernel,
    "linux-arm64": kernel,
    "qemu": qemu,
    "util-linux": lsmem,
    "debug": debug,
}


def bring(oracle: Oracle) -> str:
    """Bring one from the first suite that has it; return its version. Raises NotHadError, or UnreachableError if no suite answers."""
    errors: list[Exception] = []
    for suite in oracle.suites:
        with TemporaryDirectory(prefix=".", dir=ORACLES) as home:
            folder = Path(home) / "root"
            folder.mkdir()
            try:
                version = _BRING[oracle.program](
                    Apt(suite, Path(home) / "apt", oracle.architecture), oracle.series, folder
                )
            except (NotHadError, UnreachableError) as error:
                errors.append(type(error)(f"{suite}: {error}"))
            except (OSError, StopIteration, subprocess.SubprocessError, BackendError) as error:
                errors.append(NotHadError(f"{suite}: {error or 'an incomplete package'}"))
            else:
                shutil.rmtree(ORACLES / oracle.name, ignore_errors=True)  # here, and of no use
                folder.rename(ORACLES / oracle.name)
                return version
    raise next((error for error in errors if isinstance(error, NotHadError)), errors[-1])


def main(names: Sequence[str]) -> int:
    """Bring what is missing; a line for each; 1 when one is not to be had that is counted on."""
    known = {oracle.name: oracle for oracle in ALL}
    if unknown := [name for name in names if name not in known]:
        print(f"oracles: {unknown[0]} is not one of {', '.join(known)}", file=sys.stderr)
        return 2
    ORACLES.mkdir(parents=True, exist_ok=True)
    look_for_kernels()
    failed = False
    for oracle in [known[name] for name in names] or [one for one in ALL if not one.by_name]:
        if version := oracle.here:
            print(f"{oracle.name:15} {version}, already here")
            continue
        try:
            print(f"{oracle.name:15} {bring(oracle)}, brought", flush=True)
        except UnreachableError as error:
            print(f"{oracle.name:15} NOT HERE: {error}", flush=True)
        except NotHadError as error:
            failed |= oracle.counted_on
            print(f"{oracle.name:15} NOT HAD: {error}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
