"""The memory of a running Linux as Prometheus metrics, in the text that node_exporter's textfile collector reads.

The prometheus-client library writes the text. The gauges of a device's sizes are those of `vm watch --metrics`, too.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from virtiomem.errors import UsageError
from virtiomem.live.linux import LiveLinux
from virtiomem.text import quoted

SUFFIX = ".prom"
"""How a file's name ends that the textfile collector reads."""
_SIZES = {
    "requested": "What is requested.",
    "plugged": "What the device has plugged; whether all of it is online is another matter.",
    "max": "What could be plugged.",
}


def device_gauges(*labels: str) -> dict[str, GaugeMetricFamily]:
    """Return gauges of a device's sizes, without values, by the size's name."""
    return {size: GaugeMetricFamily(f"virtiomem_{size}_bytes", words, labels=labels) for size, words in _SIZES.items()}


def check_name(name: str) -> None:
    """Refuse a file that the textfile collector would not read. Raises UsageError."""
    if name != "-" and Path(name).suffix != SUFFIX:
        raise UsageError(
            f"--metrics: {quoted(name)} does not end in {SUFFIX}, as node_exporter reads it (- for stdout)"
        )


def text(linux: LiveLinux) -> bytes:
    """All metrics in the exposition format; what nothing tells is left out."""
    return generate_latest(_LinuxMetrics(linux))


class _LinuxMetrics(Collector):
    """Gauges of memory blocks and virtio-mem devices."""

    def __init__(self, linux: LiveLinux) -> None:
        self._linux = linux

    def collect(self) -> Iterator[Metric]:
        """Make the gauges."""
        linux = self._linux
        known = "Whether all virtio-mem devices are known; 0 where /proc/iomem hides its addresses (read it as root)."
        yield GaugeMetricFamily("virtiomem_devices_known", known, not linux.hidden)
        yield GaugeMetricFamily("virtiomem_memory_block_size_bytes", "Size of a memory block.", linux.memory.block_size)
        yield self._blocks()
        sizes = device_gauges("device", "node")
        added = GaugeMetricFamily(
            "virtiomem_added_bytes", "What the driver added to Linux, parts of it unplugged.", labels=("device", "node")
        )
        for device in linux.devices:
            labels = (device.name, "" if device.node is None else str(device.node))
            # Where it lies is not known: nor is what was added of it.
            if device.region is not None:
                added.add_metric(labels, device.added)
            told = {
                "requested": device.requested_size,
                "plugged": device.size,
                "max": device.region.size if device.region else None,
            }
            for name, size in told.items():
                if size is not None:
                    sizes[name].add_metric(labels, size)
        yield from (*sizes.values(), added)

    def _blocks(self) -> Metric:
        """Memory blocks, counted by what tells them apart."""
        labels = ("state", "zone", "node", "device")
        blocks = GaugeMetricFamily(
            "virtiomem_memory_blocks", "Memory blocks by state, zone, node, device.", labels=labels
        )
        # No device's would be a claim, where it is not known which are.
        nobody = "unknown" if self._linux.hidden else ""
        counts = Counter(
            (
                block.state,
                block.zone or "",
                ",".join(map(str, block.nodes)),
                owner.device if (owner := self._linux.owners.get(block.block)) else nobody,
            )
            for block in self._linux.memory.blocks
        )
        # Sorted, so that two readings of the same machine differ only where the machine does.
        for values, count in sorted(counts.items()):
            blocks.add_metric(values, count)
        return blocks
