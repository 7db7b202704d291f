"""What is written in another language says what `resource.names` says."""

from importlib.resources import files

import pytest

from virtiomem.resource.names import SYSTEM_RAM, VIRTIO_MEM_RAM, is_system_ram, is_virtio_device


@pytest.mark.parametrize(
    ("package", "path", "words"),
    [
        ("virtiomem.live", "capture.sh", f" : {VIRTIO_MEM_RAM}$/"),
        ("virtiomem.report", "assets/map.js", f'row.name.startsWith("{SYSTEM_RAM}")'),
    ],
)
def test_mirror_in_another_language_has_the_name(package: str, path: str, words: str) -> None:
    assert words in files(package).joinpath(path).read_text(encoding="utf-8")


def test_ram_is_distinguished_from_what_only_sounds_like_it() -> None:
    assert [
        name for name in ("System RAM", "System RAM (kmem)", "System RAM (", "System ROM") if is_system_ram(name)
    ] == [
        "System RAM",
        "System RAM (kmem)",
    ]


def test_a_virtio_device_has_a_number_as_linux_writes_it() -> None:
    assert [
        name for name in ("virtio0", "virtio10", "virtio01", "virtio", "vm0", "virtio-pci") if is_virtio_device(name)
    ] == [
        "virtio0",
        "virtio10",
    ]
