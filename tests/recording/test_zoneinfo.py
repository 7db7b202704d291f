import re
from pathlib import Path

from virtiomem.live.sources import SOURCES
from virtiomem.recording import ZonePages, zoneinfo

REAL = """\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 107
  pages free     3840
        boost    0
        min      66
        spanned  4095
        present  3998
        managed  3840
        cma      0
        protection: (0, 2965, 3901, 3901, 3901)
      nr_free_pages 3840
  pagesets
    cpu: 0
              count: 0
Node 0, zone  Movable
  pages free     0
        spanned  0
        present  0
        managed  0
"""
AGENT = Path(zoneinfo.__file__).parents[1] / "guest/linux/agent.sh"


def test_zones_are_read_as_the_kernel_writes_them() -> None:
    dma, movable = zoneinfo.parse(REAL.splitlines())
    assert (dma.node, dma.name) == (0, "DMA")
    kept = {"min": "66", "reserve": "3901"}
    assert dma.pages == {"free": "3840", "spanned": "4095", "present": "3998", "managed": "3840"} | kept
    assert movable.pages["present"] == "0"


def test_zones_that_are_written_read_back() -> None:
    zones = zoneinfo.by_node(zoneinfo.parse(REAL.splitlines()))
    assert zones["node0"]["DMA"] == ZonePages(spanned=4095, present=3998, managed=3840)
    assert zoneinfo.by_node(zoneinfo.parse(zoneinfo.dumps(zones))) == zones


def test_lines_that_are_of_no_zone_are_handed_over() -> None:
    others: list[str] = []
    assert zoneinfo.parse(["        spanned  1", "Node 0, per-node stats", "Node x, zone DMA"], others.append) == []
    assert len(others) == 3


def test_zone_that_lacks_a_counter_is_left_out() -> None:
    assert zoneinfo.by_node(zoneinfo.parse(["Node 1, zone Normal", "        spanned  1"])) == {}


def test_both_shell_programs_keep_the_lines_of_these_counters() -> None:
    kept = re.search(r"grep -E '\^Node\|(.*)' /proc/zoneinfo", AGENT.read_text())
    assert kept is not None
    assert set(zoneinfo.COUNTERS) < set(kept[1].split("|"))
    (source,) = (one for one in SOURCES if one.heading == "proc/zoneinfo")
    assert source.what == ("Node", *zoneinfo.COUNTERS)
