"""Where kexec_file_load puts an image, against what real kernels showed (4G q35, `kexec -s`, virtio-mem above)."""

import pytest

from virtiomem.errors import KernelError
from virtiomem.kdump.placement import Segment, place
from virtiomem.releases.linux import LINUX, LinuxRelease
from virtiomem.resource import iomem
from virtiomem.units import MiB, Span

LISTING = """\
00001000-0009fbff : System RAM
00100000-7ffdffff : System RAM
100000000-17fffffff : System RAM
180000000-37fffffff : virtio0
  180000000-1bfffffff : System RAM (virtio_mem)
"""
DIMM = "400000000-43fffffff : System RAM\n"
PURGATORY = Segment(5 * 4096)
PARAMETERS = Segment(0x1100, align=16, lowest=0x3000)
"""4096 bytes, then what else the next kernel receives: two lines of it cut RAM in the next map at 0x10e0."""
BEFORE = LINUX.release("6.1")
SINCE = LINUX.release("6.12")


def kernel(init_size: int) -> Segment:
    """A bzImage, of the `init_size` in its header."""
    return Segment(init_size, align=2 * MiB, lowest=MiB)


@pytest.mark.parametrize(
    ("release", "init_size", "cut", "code"),
    [(BEFORE, 0x3378000, 0x990E0, 0x7CC00000), (SINCE, 0x37DC000, 0x17FFFA0E0, 0x17C800000)],
)
def test_segments_lie_where_real_kernels_put_them(release: LinuxRelease, init_size: int, cut: int, code: int) -> None:
    _, parameters, image = place(iomem.loads(LISTING), [PURGATORY, PARAMETERS, kernel(init_size)], release)
    assert (parameters.start + 0x10E0, image.start) == (cut, code)


def test_dimm_above_is_the_first_choice_since_the_search_begins_at_the_top() -> None:
    tree = iomem.loads(LISTING + DIMM)
    assert place(tree, [PURGATORY], SINCE) == [Span(0x43FFFB000, 0x440000000)]
    assert place(tree, [PURGATORY], BEFORE) == [Span(0x9A000, 0x9F000)]


def test_exact_fit_was_one_alignment_too_low() -> None:
    tree = iomem.loads("100000000-17fffffff : System RAM\n")
    assert place(tree, [kernel(4 * MiB)], BEFORE)[0].stop == 0x180000000 - 2 * MiB
    assert place(tree, [kernel(4 * MiB)] * 2, SINCE) == [
        Span(0x17FC00000, 0x180000000),
        Span(0x17F800000, 0x17FC00000),
    ]


@pytest.mark.parametrize("release", [BEFORE, SINCE], ids=["6.1", "6.12"])
def test_image_that_fits_nowhere_is_refused(release: LinuxRelease) -> None:
    managed_only = "".join(LISTING.splitlines(keepends=True)[3:])
    for listing, segment in ((LISTING, kernel(4096 * MiB)), (LISTING[:31], kernel(4096)), (managed_only, PURGATORY)):
        with pytest.raises(KernelError, match="no System RAM has room for a segment of"):
            place(iomem.loads(listing), [segment], release)
