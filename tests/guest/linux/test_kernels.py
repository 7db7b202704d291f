import gzip
import lzma
import shutil
import subprocess
from pathlib import Path

import pytest

from virtiomem.errors import BackendError
from virtiomem.guest.linux import kernels

DEPENDENCIES = """\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_mem.ko.xz: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
"""


def bzimage(release: str) -> bytes:
    """The part of a kernel image that names its release (Documentation/x86/boot.rst)."""
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x600).to_bytes(2, "little")
    head[0x800 : 0x800 + len(release) + 20] = release.encode() + b" (someone@somewhere)"
    return bytes(head)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /boot and a /lib/modules with kernels of two releases that have the driver, and a newer one that has not."""
    monkeypatch.setenv(kernels.ROOTS, str(tmp_path))
    (tmp_path / "boot").mkdir()
    for release, dependencies in (
        ("6.1.9", DEPENDENCIES),
        ("6.1.10", DEPENDENCIES),
        ("6.12.3", DEPENDENCIES),
        ("6.19.0", ""),
    ):
        (tmp_path / "boot" / f"vmlinuz-{release}").write_bytes(bzimage(release))
        modules = tmp_path / "lib/modules" / release
        for line in dependencies.splitlines():
            path = modules / line.partition(":")[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            data = path.name.partition(".")[0].encode()
            path.write_bytes(lzma.compress(data) if path.suffix == ".xz" else data)
        modules.mkdir(parents=True, exist_ok=True)
        (modules / "modules.dep").write_text(dependencies)
        (modules / "modules.builtin").write_text("kernel/drivers/virtio/virtio_pci.ko\n")
    return tmp_path


def test_the_newest_kernel_with_the_driver_is_found(machine: Path) -> None:
    kernel = kernels.find()
    assert kernel.release == "6.12.3"
    assert not kernel.driver_built_in
    assert kernel.modules == machine / "lib/modules/6.12.3"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("wanted", "found"), [("6.1", "6.1.10"), ("6.12", "6.12.3"), ("6.1.9", "6.1.9"), ("6", "6.12.3"), (None, "6.12.3")]
)
def test_the_newest_kernel_of_the_release_that_was_asked_for_is_found(wanted: str | None, found: str) -> None:
    assert kernels.choose(wanted).release == found


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("wanted", ["6.2", "6.1.1", "6.19", "7"])
def test_a_release_that_is_not_here_is_named_with_its_package(wanted: str) -> None:
    with pytest.raises(
        BackendError,
        match=rf"^no kernel {wanted} with virtio_mem in .*Debian package linux-image-{wanted}\*-cloud-amd64\)$",
    ) as told:
        kernels.find(wanted)
    assert "6.1.10" in str(told.value)


def test_a_kernel_lies_next_to_its_modules_too_and_counts_once(machine: Path) -> None:
    newest = "6.12.4+deb13"
    shutil.copytree(machine / "lib/modules/6.12.3", machine / "lib/modules" / newest)
    (machine / "lib/modules" / newest / "vmlinuz").write_bytes(bzimage(newest))
    (machine / "usr").mkdir()
    (machine / "usr/lib").symlink_to(machine / "lib")
    assert kernels.find("6.12").release == newest
    with pytest.raises(BackendError, match=r"there is [^;]*6\.12\.4\+deb13;") as told:
        kernels.find("5.10")
    assert str(told.value).count(newest) == 1


def test_kernels_are_looked_for_below_every_root_that_is_named(
    machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(kernels.ROOTS, f"{tmp_path / 'empty'}:{machine}")
    assert kernels.find().release == "6.12.3"
    monkeypatch.setenv(kernels.ROOTS, str(tmp_path / "empty"))
    with pytest.raises(BackendError, match=r"^no kernel with virtio_mem in .*/empty/boot \(there is nothing\)"):
        kernels.find()


def test_modules_come_unpacked_and_in_an_order_that_loads(machine: Path) -> None:
    order = kernels.find().load_order("virtio_mem")
    assert [(module.name, module.data) for module in order] == [
        ("virtio_ring", b"virtio_ring"),
        ("virtio", b"virtio"),
        ("virtio_mem", b"virtio_mem"),
    ]
    assert [module.name for module in kernels.find().load_order("virtio_rng")][-1] == "virtio_rng"
    assert kernels.find().load_order("virtio_pci") == []
    assert machine.exists()


def test_a_missing_module_is_named_with_its_package(machine: Path) -> None:
    with pytest.raises(BackendError, match=r"no module virtio_fs .*linux-image-6\.12\.3"):
        kernels.find().load_order("virtio_fs")
    assert machine.exists()


def test_no_kernel_with_the_driver_says_what_was_looked_at(machine: Path) -> None:
    shutil.rmtree(machine / "lib/modules")
    with pytest.raises(
        BackendError, match=r"\(there is 6\.1\.10, 6\.1\.9, 6\.12\.3, 6\.19\.0; .*linux-image-cloud-amd64"
    ):
        kernels.find()
    shutil.rmtree(machine / "boot")
    with pytest.raises(BackendError, match=r"boot \(there is nothing\) \(Debian package linux-image-cloud-amd64\)$"):
        kernels.find()


def test_a_kernel_is_named_by_its_own_words_not_by_its_file(machine: Path) -> None:
    image = machine / "my-kernel"
    image.write_bytes(bzimage("6.1.9"))
    assert kernels.read(image).release == "6.1.9"
    assert kernels.read(image, machine / "lib/modules/6.1.10").modules.name == "6.1.10"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "not an x86 Linux kernel"), (b"x" * 5000, "not an x86"), (None, "No such file or directory")],
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    image = tmp_path / "vmlinuz"
    if content is not None:
        image.write_bytes(content)
    with pytest.raises(BackendError, match=words):
        kernels.release(image)


def test_every_compression_is_unpacked(tmp_path: Path) -> None:
    data = b"module" * 1000
    (tmp_path / "a.ko").write_bytes(data)
    (tmp_path / "a.ko.gz").write_bytes(gzip.compress(data))
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(data))
    for name in ("a.ko", "a.ko.gz", "a.ko.xz"):
        assert kernels.unpack(tmp_path / name) == data


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd program (Debian package zstd)")
def test_zstd_is_unpacked(tmp_path: Path) -> None:
    packed = subprocess.run(["zstd", "-c"], input=b"module", capture_output=True, check=True).stdout
    (tmp_path / "a.ko.zst").write_bytes(packed)
    assert kernels.unpack(tmp_path / "a.ko.zst") == b"module"


@pytest.mark.parametrize("suffix", ["gz", "xz"])
def test_a_broken_module_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a.ko.{suffix}").write_bytes(b"not compressed")
    with pytest.raises(BackendError, match=rf"a\.ko\.{suffix}: cannot unpack this module"):
        kernels.unpack(tmp_path / f"a.ko.{suffix}")


def test_without_zstd_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ko.zst").write_bytes(b"")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendError, match="Debian package zstd"):
        kernels.unpack(tmp_path / "a.ko.zst")
