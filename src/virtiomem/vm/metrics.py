"""The latest samples as Prometheus metrics, served on the same event loop.

The prometheus-client library writes the text; the server here is the least that answers a scraper, because the
library's own serves from threads without limits.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from virtiomem.errors import UsageError
from virtiomem.live.metrics import device_gauges
from virtiomem.text import quoted
from virtiomem.vm.doors.address import parse_address
from virtiomem.vm.watch import Sample

MAX_CLIENTS = 64
"""Connections at once; one more ends the oldest, so that clients that say nothing keep no one out."""
REQUEST_SECONDS = 5.0
REQUEST_LIMIT = 8192

_DEVICE = ("vm", "device", "node")


class Metrics(Collector):
    """The latest sample of every machine."""

    def __init__(self, machines: Iterable[str] = ()) -> None:
        """`machines` are down until they are seen."""
        # Present from the start: an alert on `virtiomem_up == 0` cannot fire on a series that does not exist.
        self._samples = {name: Sample(name, 0.0, None) for name in machines}

    def take(self, sample: Sample) -> None:
        """Remember a machine's latest sample."""
        self._samples[sample.vm] = sample

    def text(self) -> bytes:
        """All metrics in the exposition format."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Gauges per machine and per virtio-mem device."""
        up = GaugeMetricFamily("virtiomem_up", "Whether the machine answers.", labels=["vm"])
        boot = GaugeMetricFamily("virtiomem_boot_bytes", "Boot memory and DIMMs.", labels=["vm"])
        sizes = device_gauges(*_DEVICE)
        still = GaugeMetricFamily(
            "virtiomem_seconds_since_progress", "Since the plugged size last changed or was first seen.", labels=_DEVICE
        )
        for sample in self._samples.values():
            up.add_metric([sample.vm], sample.machine is not None)
            if sample.machine is None:
                continue
            boot.add_metric([sample.vm], sample.machine.fixed)
            for device in sample.machine.virtio_mem:
                labels = [sample.vm, device.id, str(device.node)]
                sizes["requested"].add_metric(labels, device.requested_size)
                # A gauge that is absent means unknown; 0 would be a size.
                if device.size is not None:
                    sizes["plugged"].add_metric(labels, device.size)
                sizes["max"].add_metric(labels, device.max_size)
                still.add_metric(labels, round(sample.still_for.get(device.id, 0.0), 3))
        yield from (up, boot, *sizes.values(), still)


async def serve(where: str, metrics: Metrics) -> asyncio.Server:
    """Answer ``GET /metrics`` on ``[HOST:]PORT`` (127.0.0.1 when there is no host); UsageError when that address cannot
    be used.
    """
    address = parse_address(where if ":" in where else f"127.0.0.1:{where}", source="--metrics")
    if isinstance(address, str):
        raise UsageError(f"--metrics {quoted(where)} is not [HOST:]PORT")
    clients: deque[asyncio.StreamWriter] = deque()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(clients) == MAX_CLIENTS:  # the oldest connection has had its chance
            # abort(), since close() would wait until a client that reads nothing has taken what is still to be sent.
            clients.popleft().transport.abort()
        clients.append(writer)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                # A scraper that hangs up, or a request beyond the limit, costs the connection and nothing more.
                with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                    request = await reader.readuntil(b"\r\n\r\n")
                    writer.write(_response(request, metrics))
                    await writer.drain()
        except TimeoutError:
            pass
        finally:
            writer.close()
            with suppress(ValueError):  # another client came, and took its place
                clients.remove(writer)

    try:
        return await asyncio.start_server(answer, address[0], address[1], limit=REQUEST_LIMIT)
    except OSError as error:
        raise UsageError(f"--metrics {where}: {error.strerror}") from None


def _response(request: bytes, metrics: Metrics) -> bytes:
    """The whole answer to a whole request."""
    line = request.split(b"\r\n", 1)[0].split(b" ")
    if line[0] not in {b"GET", b"HEAD"}:
        return _headers("405 Method Not Allowed", 0)
    if len(line) < 2 or line[1].split(b"?")[0] not in {b"/metrics", b"/"}:
        return _headers("404 Not Found", 0)
    body = metrics.text()
    return _headers("200 OK", len(body)) + (body if line[0] == b"GET" else b"")


def _headers(status: str, length: int) -> bytes:
    lines = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {CONTENT_TYPE_PLAIN_0_0_4}",
        f"Content-Length: {length}",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode()
