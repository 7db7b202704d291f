"""A guest whose pages are not of 4K: its driver moves more at a time, and its struct pages take less."""

from pathlib import Path

import pytest

from virtiomem.cli.main import main
from virtiomem.units import GiB, KiB
from virtiomem.vm.explain import memmap_need
from virtiomem.vm.inside import GuestMemoryInfo, page_size_of

ZONE = (
    "Node 0, zone   Normal\n  pages free 10\n        spanned  70000\n        present  70000\n        managed  65536\n"
)
GUEST = """
[guest]
machine = "virt"
page-size = "16K"
default-state = "online_movable"
[[device]]
id = "vm0"
max-size = "4G"
[[step]]
do = "load"
"""


@pytest.mark.parametrize("size", [4 * KiB, 16 * KiB, 64 * KiB])
def test_page_size_is_what_the_managed_pages_make_of_the_memory_total(size: int) -> None:
    assert page_size_of(65536 * size - 5000, ZONE) == size


def test_page_size_is_unknown_without_both() -> None:
    assert page_size_of(None, ZONE) is page_size_of(GiB, "") is None


def test_struct_pages_of_larger_pages_take_less() -> None:
    rows = [GuestMemoryInfo(source="test", page_size=size).architecture for size in (4 * KiB, 16 * KiB, 64 * KiB)]
    assert [GiB // memmap_need(GiB, row) for row in rows] == [64, 256, 1024]


def test_a_size_that_16k_pages_do_not_allow_is_said_to_stop_before_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "guest.toml"
    path.write_text(GUEST)
    main(["vm", "resize", "vm0", "130M", "-c", f"sim:{path}", "--dry-run"])
    out, err = capsys.readouterr()
    assert "a request of 130M will stop at 128M: the driver moves 32M at a time" in " ".join((out + err).split())
    main(["vm", "resize", "vm0", "160M", "-c", f"sim:{path}", "--dry-run"])
    assert "will stop" not in "".join(capsys.readouterr())
