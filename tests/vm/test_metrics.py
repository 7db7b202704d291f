import asyncio
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.waiting import PATIENCE
from virtiomem.errors import BackendError, UsageError
from virtiomem.units import GiB, MiB
from virtiomem.vm import metrics as metrics_module
from virtiomem.vm.metrics import MAX_CLIENTS, REQUEST_LIMIT, Metrics, serve
from virtiomem.vm.model import Machine, VirtioMemDevice
from virtiomem.vm.watch import Sample

DEVICE = VirtioMemDevice(
    id="vm0",
    memaddr=4 * GiB,
    size=GiB,
    requested_size=2 * GiB,
    max_size=4 * GiB,
    block_size=2 * MiB,
    node=1,
)
SEEN = Sample("web1", 5.0, Machine(status="running", boot_memory=GiB, devices=(DEVICE,)), still_for={"vm0": 3.5})
LOST = Sample('a "b"\n', 5.0, None, BackendError("gone"))


def metrics() -> Metrics:
    made = Metrics()
    made.take(SEEN)
    made.take(LOST)
    return made


def test_every_size_is_a_gauge_by_machine_device_and_node() -> None:
    families = {family.name: family for family in text_string_to_metric_families(metrics().text().decode())}
    values = {name: [(s.labels, s.value) for s in family.samples] for name, family in families.items()}
    labels = {"vm": "web1", "device": "vm0", "node": "1"}
    assert values["virtiomem_requested_bytes"] == [(labels, 2 * GiB)]
    assert values["virtiomem_plugged_bytes"] == [(labels, GiB)]
    assert values["virtiomem_max_bytes"] == [(labels, 4 * GiB)]
    assert values["virtiomem_seconds_since_progress"] == [(labels, 3.5)]
    assert values["virtiomem_boot_bytes"] == [({"vm": "web1"}, GiB)]
    assert values["virtiomem_up"] == [({"vm": "web1"}, 1), ({"vm": 'a "b"\n'}, 0)]


def test_machine_that_was_never_seen_is_down_and_not_missing() -> None:
    made = Metrics(["web1", "silent"])
    made.take(SEEN)
    assert b'virtiomem_up{vm="silent"} 0.0' in made.text()
    assert b'virtiomem_up{vm="web1"} 1.0' in made.text()


def fetch(request: bytes) -> bytes:
    async def run() -> bytes:
        server = await serve("127.0.0.1:0".replace(":0", f":{free_port()}"), metrics())
        host, port = server.sockets[0].getsockname()[:2]
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request)
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            writer.close()
            server.close()

    return asyncio.run(run())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_scraper_gets_the_text_and_its_length() -> None:
    head, _, body = fetch(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'virtiomem_plugged_bytes{device="vm0",node="1",vm="web1"}' in body


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /metrics HTTP/1.1", b"405"),
        (b"GET /etc/passwd HTTP/1.1", b"404"),
        (b"GET", b"404"),
        (b"\xff\xfe", b"405"),
    ],
)
def test_anything_else_is_refused(request_line: bytes, status: bytes) -> None:
    assert fetch(request_line + b"\r\n\r\n").split(b" ")[1] == status


def test_idle_clients_keep_no_scraper_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "REQUEST_SECONDS", 2 * PATIENCE)  # none of them is let go of for its time

    async def run() -> bytes:
        server = await serve(f"127.0.0.1:{free_port()}", metrics())
        address = server.sockets[0].getsockname()[:2]
        idle = [await asyncio.open_connection(*address) for _ in range(3 * MAX_CLIENTS)]
        for _, writer in idle:
            writer.write(b"GET / HT")
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        try:
            async with asyncio.timeout(PATIENCE):
                return await reader.read()
        finally:
            server.close()
            for _, opened in (*idle, (reader, writer)):
                opened.close()

    assert asyncio.run(run()).startswith(b"HTTP/1.1 200 OK")


def test_request_without_end_is_dropped() -> None:
    assert fetch(b"GET /" + b"x" * (2 * REQUEST_LIMIT)) == b""


@pytest.mark.parametrize("where", ["x", "70000", "host:", "/run/metrics.sock", "192.0.2.1:1"])
def test_address_that_cannot_be_served_is_usage(where: str) -> None:
    with pytest.raises(UsageError, match="--metrics"):
        asyncio.run(serve(where, Metrics()))
