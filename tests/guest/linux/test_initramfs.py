import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from virtiomem.architecture import ARM64, DEFAULT, Architecture
from virtiomem.errors import BackendError
from virtiomem.guest.linux import initramfs, kernels
from virtiomem.guest.linux.initramfs import Parts, build
from virtiomem.guest.linux.kernels import KernelImage, Module

PARTS = Parts(
    busybox=b"\x7fELF static".ljust(18, b"\0") + DEFAULT.elf_machine.to_bytes(2, "little"),
    boot_modules=[Module("virtio_ring", b"ring"), Module("virtio", b"virtio")],
    driver=Module("virtio_mem", b"driver"),
    programs={"usr/lib/x86_64/libc.so.6": b"libc", "sbin/kexec": b"kexec"},
)


def members(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, mode and content of everything in a newc archive."""
    at = 0
    while True:
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_size = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_size - 1].decode()
        if name == "TRAILER!!!":
            return
        start = -(-(at + 110 + name_size) // 4) * 4
        yield name, fields[1], archive[start : start + size]
        at = -(-(start + size) // 4) * 4


def test_the_guest_finds_its_agent_its_modules_in_order_and_the_driver() -> None:
    content = {name: data for name, mode, data in members(build(PARTS)) if stat.S_ISREG(mode)}
    assert content["init"].startswith(b"#!/bin/sh\n")
    assert [name for name in content if name.startswith("modules/")] == [
        "modules/00-virtio_ring.ko",
        "modules/01-virtio.ko",
    ]
    assert content["virtio_mem.ko"] == b"driver"
    assert content["bin/busybox"] == PARTS.busybox


def test_every_directory_comes_before_what_lies_in_it_and_once() -> None:
    names = [name for name, _, _ in members(build(PARTS))]
    assert len(names) == len(set(names))
    for number, name in enumerate(names):
        assert all(str(parent) in names[:number] for parent in Path(name).parents if str(parent) != ".")


def test_every_program_that_the_agent_calls_is_there() -> None:
    modes = {name: mode for name, mode, _ in members(build(PARTS))}
    assert all(stat.S_ISLNK(modes[f"bin/{applet}"]) for applet in initramfs.APPLETS)
    assert all(modes[name] & 0o111 for name in ("init", "bin/busybox", "sbin/kexec"))


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF\0\0/lib64/ld-linux-x86-64.so.2\0"])
def test_a_busybox_that_cannot_run_alone_is_refused(tmp_path: Path, content: bytes) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(content)
    kernel = KernelImage(tmp_path, "6.1", DEFAULT, tmp_path, frozenset({"virtio_mem", "virtio_pci"}), {})
    with pytest.raises(BackendError, match="Debian package busybox-static"):
        initramfs.gather(kernel, busybox=busybox)


def test_a_busybox_that_is_not_there_is_named(tmp_path: Path) -> None:
    kernel = KernelImage(tmp_path, "6.1", DEFAULT, tmp_path, frozenset({"virtio_mem", "virtio_pci"}), {})
    with pytest.raises(BackendError, match=r"no-busybox: No such file or directory \(Debian package busybox-static\)"):
        initramfs.gather(kernel, busybox=tmp_path / "no-busybox")


def test_a_driver_that_is_built_in_needs_no_module(tmp_path: Path) -> None:
    busybox = tmp_path / "busybox"
    busybox.write_bytes(PARTS.busybox)
    kernel = KernelImage(tmp_path, "6.1", DEFAULT, tmp_path, frozenset({"virtio_mem", "virtio_pci"}), {})
    parts = initramfs.gather(kernel, busybox=busybox)
    assert (parts.driver, parts.boot_modules) == (None, [])
    assert "virtio_mem.ko" not in [name for name, _, _ in members(build(parts))]


def program(architecture: Architecture, *names: bytes) -> bytes:
    """An ELF file for a machine that names some libraries."""
    head = b"\x7fELF".ljust(18, b"\0") + architecture.elf_machine.to_bytes(2, "little")
    return b"\0".join([head, *names, b""])


def test_kexec_for_another_processor_comes_from_unpacked_packages_with_the_libraries_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {
        "sbin/kexec": program(ARM64, b"/lib/ld-linux-aarch64.so.1", b"libz.so.1", b"libgone.so.2"),
        "lib/ld-linux-aarch64.so.1": program(ARM64, b"/etc/ld.so.cache"),
        "usr/lib/aarch64-linux-gnu/libz.so.1": program(ARM64, b"libc.so.6"),
        "lib/aarch64-linux-gnu/libc.so.6": program(ARM64, b"libnss_files.so.2"),
        "lib/aarch64-linux-gnu/libnss_files.so.2": program(ARM64),
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    kernel = KernelImage(tmp_path / "sbin/kexec", "6.1", ARM64, tmp_path, frozenset({"virtio_mem", "virtio_pci"}), {})
    monkeypatch.setenv(kernels.ROOTS, str(tmp_path / "nothing"))
    (tmp_path / "busybox").write_bytes(program(ARM64))
    with pytest.raises(BackendError, match=r"^kexec: not found for arm64; .* \(Debian package kexec-tools:arm64\)$"):
        initramfs.gather(kernel, busybox=tmp_path / "busybox", kexec=True)
    monkeypatch.setenv(kernels.ROOTS, str(tmp_path))
    taken = initramfs.gather(kernel, busybox=tmp_path / "busybox", kexec=True).programs
    del files["lib/aarch64-linux-gnu/libnss_files.so.2"]  # what libc may open later is not needed
    assert taken == {**files, "vmlinuz": files["sbin/kexec"]}
