"""`virtiomem iomem watch` inside a real guest: the kernel says that memory came or went, and one line says what changed."""

import marshal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

import virtiomem
from tests.waiting import wait_until
from virtiomem.guest.base import DeviceConfig, GuestConfig
from virtiomem.guest.linux import LinuxGuest, Setup, cpio, initramfs
from virtiomem.recording.values import Load, Resize
from virtiomem.units import GiB, MiB, Size

pytestmark = pytest.mark.real

PYTHON = Path(sys.executable).resolve()
PACKAGES = "/python"
"""Where the guest has what is not Python's own."""
WATCH = f"PYTHONPATH={PACKAGES} {PYTHON} -S -c 'from virtiomem.cli.main import main; main()' iomem watch"
NEEDED = """
import sys
from virtiomem.cli.main import main
import virtiomem.cli.iomem_watch
main(["iomem"])  # what reading a running Linux's map imports
print(*sorted({m.__file__ for m in sys.modules.values() if getattr(m, "__file__", None)}), sep="\\n", file=sys.stderr)
"""


def modules() -> list[Path]:
    """The files of every module that watching imports."""
    told = subprocess.run([sys.executable, "-S", "-c", NEEDED], capture_output=True, text=True, check=True, env=paths())
    return [Path(line) for line in told.stderr.splitlines() if line.startswith("/")]


def paths() -> dict[str, str]:
    """What lets a Python without `site` find the same packages."""
    return {"PYTHONPATH": ":".join(path for path in sys.path if path)}


def libraries(*programs: Path) -> set[Path]:
    """The shared libraries they are linked with."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True).stdout
    return {Path(word) for word in told.split() if word.startswith("/") and not word.endswith(":")}


def in_guest(module: Path) -> str:
    """Python's own modules keep their place, packages go to one of their own."""
    for root in {Path(entry) for entry in sys.path if "site-packages" in entry} | {Path(virtiomem.__file__).parents[1]}:
        if module.is_relative_to(root):
            return f"{PACKAGES}/{module.relative_to(root)}"
    return str(module)


def python_archive() -> bytes:
    """A second archive for the guest's root: Python and the modules, compiled, for emulated processors are slow."""
    files = {str(PYTHON): PYTHON.read_bytes()}
    found = modules()
    for module in found:
        if module.suffix == ".py":
            code = compile(module.read_bytes(), module, "exec")
            files[in_guest(module) + "c"] = MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
        else:
            files[in_guest(module)] = module.read_bytes()
    shared = [module for module in found if module.suffix == ".so"]
    files |= {str(library): library.read_bytes() for library in libraries(PYTHON, *shared)}
    directories = sorted({str(parent) for path in files for parent in Path(path.lstrip("/")).parents} - {"."})
    entries = [cpio.directory(path) for path in directories]
    entries += [cpio.file(path.lstrip("/"), data, executable=True) for path, data in files.items()]
    return cpio.archive(entries)


@pytest.fixture
def guest(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> Iterator[LinuxGuest]:
    """A guest that has Python, too."""
    build = initramfs.build
    monkeypatch.setattr(initramfs, "build", lambda parts: build(parts) + python_archive())
    device = DeviceConfig(id="vm0", max_size=Size(2 * GiB))
    config = GuestConfig(memory=Size(512 * MiB), default_state="online_movable")
    with LinuxGuest(config, [device], setup=setup) as guest:
        yield guest


def wait_for(guest: LinuxGuest, command: str) -> None:
    """Until a command in the guest succeeds."""
    wait_until(lambda: guest.shell(command).status == 0, lambda: guest.shell("cat /watched").text)


def test_watching_hears_a_resize_from_the_kernel(guest: LinuxGuest) -> None:
    guest.play(Load())
    guest.shell(f"{WATCH} --interval 100000 > /watched 2>&1 & echo $! > /pid")  # only a uevent makes it look again
    wait_for(guest, "grep -q 'select\\|poll' /proc/$(cat /pid)/wchan")  # it has read the map, and listens
    guest.play(Resize(device="vm0", requested_size=Size(GiB)))
    wait_for(guest, "grep -q 100000000-13fffffff /watched")
    guest.play(Resize(device="vm0", requested_size=Size(512 * MiB)))
    wait_for(guest, "grep -q 100000000-11fffffff /watched")
    said = [line.split(maxsplit=2) for line in guest.shell("cat /watched").text.splitlines()]
    grew = [(what, where) for _, what, where in said if what in {"added", "grew"}]
    assert grew[0][0] == "added"
    assert "100000000-13fffffff (" in grew[-1][1]
    assert grew[-1][1].endswith(": System RAM (virtio_mem) in virtio0")
    shrank = [what for _, what, _ in said[len(grew) :]]
    assert set(shrank) == {"shrank"}  # in one line or in several: it takes a moment
