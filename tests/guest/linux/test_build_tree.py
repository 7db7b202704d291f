import re
from pathlib import Path

import pytest

from tests.guest.linux.test_kernels import bzimage
from virtiomem.errors import BackendError
from virtiomem.guest.linux import build_tree, kernels

MODULES = {"virtio": "", "virtio_ring": "", "virtio_mem": "virtio,virtio_ring", "virtio-pci": "virtio_ring,virtio"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What `make` leaves: an image, modules, their order, and the configuration."""
    image = tmp_path / "arch/x86/boot/bzImage"
    image.parent.mkdir(parents=True)
    image.write_bytes(bzimage("6.19.0-rc3+"))
    (tmp_path / ".config").write_text("".join(f"CONFIG_{name}=y\n" for name in build_tree.REQUIRED))
    for name, needs in MODULES.items():
        path = tmp_path / f"drivers/virtio/{name}.ko"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x7fELF" + name.encode() + b"\0license=GPL\0depends=" + needs.encode() + b"\0intree=Y\0")
    (tmp_path / "modules.order").write_text("".join(f"drivers/virtio/{name}.o\n" for name in MODULES))
    (tmp_path / "modules.builtin").write_text("kernel/drivers/pci/pci.ko\n")
    return tmp_path


def test_modules_are_loaded_from_where_the_compiler_left_them(tree: Path) -> None:
    kernel = kernels.read(tree / "arch/x86/boot/bzImage")
    assert (kernel.release, kernel.modules, kernel.driver_built_in) == ("6.19.0-rc3+", tree, False)
    names = [module.name for module in kernel.load_order("virtio_mem")]
    assert (sorted(names[:2]), names[2:]) == (["virtio", "virtio_ring"], ["virtio_mem"])
    assert kernel.has_driver


def test_a_link_to_the_image_finds_the_tree(tree: Path, tmp_path: Path) -> None:
    link = tmp_path / "mine"
    link.symlink_to(tree / "arch/x86/boot/bzImage")
    assert kernels.read(link).modules == tree


def test_a_driver_that_is_built_in_needs_no_modules(tree: Path) -> None:
    (tree / "modules.order").unlink()
    (tree / "modules.builtin").write_text("drivers/virtio/virtio_mem.ko\ndrivers/virtio/virtio_pci.ko\n")
    kernel = kernels.read(tree / "arch/x86/boot/bzImage")
    assert kernel.driver_built_in
    assert kernel.load_order("virtio_mem") == []


def test_what_the_configuration_lacks_is_said_by_name(tree: Path) -> None:
    config = (tree / ".config").read_text()
    config = config.replace("CONFIG_VIRTIO_MEM=y", "# CONFIG_VIRTIO_MEM is not set").replace("CONFIG_SYSFS=y\n", "")
    (tree / ".config").write_text(config)
    with pytest.raises(BackendError) as caught:
        kernels.read(tree / "arch/x86/boot/bzImage")
    assert str(caught.value).endswith("needs scripts/config -e SYSFS -e VIRTIO_MEM, make olddefconfig (docs/test.md)")


def test_everything_that_is_lacking_is_named_before_anything_is_built(tmp_path: Path) -> None:
    image = tmp_path / "a-directory-with-a-long-name" / build_tree.IMAGE
    image.parent.mkdir(parents=True)
    image.write_bytes(bzimage("6.19.0-rc3+"))
    (image.parents[3] / ".config").write_text("# CONFIG_PCI is not set\n")
    with pytest.raises(BackendError) as caught:
        kernels.read(image)
    words = str(caught.value)
    assert words[words.index("config -e") :].split(",", maxsplit=1)[0].split(" -e ") == ["config", *build_tree.REQUIRED]


def test_the_fragment_in_the_docs_has_all_that_is_required() -> None:
    page = (Path(__file__).parents[3] / "docs" / "test.md").read_text()
    assert set(build_tree.REQUIRED) <= set(re.findall(r"^CONFIG_(\w+)=y$", page, re.MULTILINE))


def test_the_tree_stands_for_its_image(tree: Path) -> None:
    assert kernels.read(tree).image == tree / build_tree.IMAGE
    (tree / build_tree.IMAGE).unlink()
    with pytest.raises(BackendError, match=r"arch/x86/boot/bzImage: No such file or directory \(make it\)"):
        kernels.read(tree)


def test_a_vmlinux_names_the_image_that_boots(tree: Path) -> None:
    (tree / "vmlinux").write_bytes(b"\x7fELF" + bytes(4096))
    with pytest.raises(BackendError, match=r"an ELF file, such as vmlinux; QEMU boots the arch/x86/boot/bzImage made"):
        kernels.read(tree / "vmlinux")


def test_modules_that_were_not_built_name_the_command(tree: Path) -> None:
    (tree / "modules.order").write_text("")
    with pytest.raises(BackendError, match=r"no module virtio_mem for kernel 6\.19\.0-rc3\+ \(make modules\)"):
        kernels.read(tree / "arch/x86/boot/bzImage").load_order("virtio_mem")


def test_a_tree_without_a_kernel_is_said(tree: Path) -> None:
    (tree / "modules.builtin").unlink()
    with pytest.raises(BackendError, match=r"is not built whole \(make\)"):
        kernels.read(tree / "arch/x86/boot/bzImage")


def test_an_image_elsewhere_is_in_no_tree(tree: Path) -> None:
    image = tree / "bzImage"
    image.write_bytes(bzimage("6.19.0-rc3+"))
    assert build_tree.tree_of(image) is None
