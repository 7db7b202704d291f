"""Hypervisors played from an embedded guest: QEMU's monitor, Firecracker's API, Cloud Hypervisor's API, each on a unix socket.

Written from their documents: docs/interop/qemu-qmp-ref of QEMU 7.2; swagger/firecracker.yaml and docs/memory-hotplug.md of
Firecracker 1.16; openapi/cloud-hypervisor.yaml of Cloud Hypervisor 53, and its source where that says nothing.
"""

import asyncio
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.vm.doors.machine import BOOT, MAX, Played
from virtiomem.errors import DeviceError
from virtiomem.recording.values import DimmInfo, VirtioMemInfo
from virtiomem.units import MiB

Reply = tuple[int, Any]


class Server(ABC):
    """A server in a thread of its own, so that a command in this process can be its client."""

    def __init__(self, path: Path, played: Played) -> None:
        self.path = path
        self.played = played
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(lambda: asyncio.start_unix_server(self._connected, str(path)))
        played.listeners.append(self._on_size)

    def lose(self) -> None:
        """Go, as a hypervisor that is killed."""

        async def end() -> None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()

        self._run(end)

    def close(self) -> None:
        self.lose()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._ended())
        self._loop.close()

    async def _ended(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, work: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(30)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self.talk(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    @abstractmethod
    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""

    def _on_size(self, name: str, size: int) -> None:
        """Hear that a device's size has changed; nothing comes of it where there are no events."""
        del name, size


class QmpServer(Server):
    """QEMU's monitor; it sends events to clients that have got the answer to qmp_capabilities."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._listening: set[asyncio.StreamWriter] = set()
        super().__init__(*arguments, **options)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}
        writer.write(json.dumps({"QMP": {"version": version, "capabilities": []}}).encode() + b"\r\n")
        text, decoder = "", json.JSONDecoder()
        while data := await reader.read(4096):
            text += data.decode()
            while text := text.lstrip():
                try:
                    message, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    break
                text = text[end:]
                answer = self.answer(message["execute"], message.get("arguments", {}))
                writer.write(json.dumps(answer | {"id": message.get("id")}).encode() + b"\r\n")
                self._listening.add(writer)
            await writer.drain()

    def answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        match command:
            case "query-status":
                return {"return": {"status": self.played.status, "running": self.played.status == "running"}}
            case "query-memory-size-summary":
                return {"return": {"base-memory": BOOT, "plugged-memory": 0}}
            case "query-memory-devices":
                return {"return": [_memory_device(device) for device in self.played.devices]}
            case "query-migrate":
                return {"return": {"status": "active"} if self.played.busy == "migration" else {}}
            case "qom-list":
                return {"return": []}
            case "qom-set":
                try:
                    self.played.set(arguments["path"].rpartition("/")[2], arguments["value"])
                except DeviceError as error:
                    return {"error": {"class": "GenericError", "desc": str(error)}}
                return {"return": {}}
            case "qmp_capabilities":
                return {"return": {}}
        return {"error": {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}}

    def _on_size(self, name: str, size: int) -> None:
        event = {"event": "MEMORY_DEVICE_SIZE_CHANGE", "data": {"id": name, "size": size}}
        line = json.dumps(event | {"timestamp": {"seconds": 0, "microseconds": 0}}).encode() + b"\r\n"

        def tell() -> None:
            for writer in self._writers & self._listening:
                writer.write(line)

        self._loop.call_soon_threadsafe(tell)


def _memory_device(device: VirtioMemInfo) -> dict[str, Any]:
    data = {"id": device.id, "memaddr": device.memaddr, "requested-size": device.requested_size, "size": device.size}
    return {
        "type": "virtio-mem",
        "data": data
        | {"max-size": device.max_size, "block-size": device.block_size, "node": device.node, "memdev": "/m"},
    }


class HttpServer(Server):
    """HTTP/1.1 as both VMMs speak it: Content-Length, several requests a connection."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = head.decode().split("\r\n")
            method, path, _ = lines[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, answer = self.answer(f"{method} {path}", json.loads(body) if body else {})
            writer.write(self.written(status, b"" if answer is None else json.dumps(answer).encode()))
            await writer.drain()

    def written(self, status: int, text: bytes) -> bytes:
        """A response as it goes out."""
        return f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text

    @abstractmethod
    def answer(self, request: str, body: dict[str, Any]) -> Reply:
        """The status and the JSON for a request."""


class FirecrackerServer(HttpServer):
    """A microVM with one hotplug memory device."""

    version = "1.16.1"
    configured = True

    def answer(self, request: str, body: dict[str, Any]) -> Reply:
        state = {"running": "Running", "paused": "Paused"}.get(self.played.status, "Not started")
        match request:
            case "GET /":
                named = {"id": "anonymous-instance", "app_name": "Firecracker"}
                return 200, named | {"state": state, "vmm_version": self.version}
            case "GET /machine-config":
                return 200, {"vcpu_count": 1, "mem_size_mib": BOOT // MiB, "smt": False}
        if request.partition(" ")[2] != "/hotplug/memory":
            return 400, {"fault_message": f"Invalid request method and/or path: {request}."}
        if state == "Not started":
            return 400, {"fault_message": "The requested operation is not supported before starting the microVM."}
        if not self.configured:
            return 400, {"fault_message": "Internal VMM error: Failed perform action on device: Device not found"}
        (device,) = self.played.devices
        if request == "GET /hotplug/memory":
            return 200, {
                "total_size_mib": device.max_size // MiB,
                "block_size_mib": device.block_size // MiB,
                "slot_size_mib": 128,
                "plugged_size_mib": device.size // MiB,
                "requested_size_mib": device.requested_size // MiB,
            }
        return self._patch(device, body)

    def _patch(self, device: VirtioMemInfo, body: dict[str, Any]) -> Reply:
        if set(body) != {"requested_size_mib"}:
            return 400, {
                "fault_message": "An error occurred when deserializing the json body of a request: unknown field"
            }
        size = body["requested_size_mib"] * MiB
        if size % device.block_size or size > device.max_size:
            return 400, {
                "fault_message": "Memory hotplug update error: Failed to create memory hotplug device: "
                f"Size {size} is invalid: it must be a multiple of block size and less than the total size"
            }
        if self.played.guest.kernel.module is None:
            return 400, {
                "fault_message": "Memory hotplug update error: Failed to create memory hotplug device: Device is not active"
            }
        self.played.set(device.id, size)
        return 204, None


class CloudHypervisorServer(HttpServer):
    """A VM with as many zones as the guest has devices; with one, it has no zones but the one of all memory."""

    version = "v53.0"
    balloon = 0

    def answer(self, request: str, body: dict[str, Any]) -> Reply:
        match request.replace(" /api/v1/", " /"):
            case "GET /vmm.ping":
                return 200, {"build_version": self.version, "version": self.version, "pid": 1, "features": []}
            case "GET /vm.info":
                return 200, self._info()
            case "PUT /vm.resize" if len(self.played.devices) == 1:
                return self._resize(self.played.devices[0], body["desired_ram"], BOOT)
            case "PUT /vm.resize-zone" if len(self.played.devices) > 1:
                device = next(device for device in self.played.devices if device.id == body["id"])
                return self._resize(device, body["desired_ram"], BOOT // len(self.played.devices))
        return 500, ["Error from API", "The VM could not be resized", f"cannot do {request}"]

    def _info(self) -> dict[str, Any]:
        devices = self.played.devices
        memory: dict[str, Any] = {"size": BOOT, "hotplug_method": "VirtioMem", "zones": None}
        if len(devices) == 1:
            memory |= {"hotplug_size": devices[0].max_size, "hotplugged_size": devices[0].requested_size or None}
        else:
            memory |= {"size": 0, "zones": [self._zone(device) for device in devices]}
        plugged = sum(device.size for device in devices)
        if int(self.version.lstrip("v").partition(".")[0]) < 52:
            plugged = sum(device.requested_size for device in devices)
        config = {"memory": memory, "balloon": {"size": self.balloon} if self.balloon else None, "numa": None}
        actual = BOOT + plugged - self.balloon
        return {"config": config | {"devices": None}, "state": self._state(), "memory_actual_size": actual}

    def _state(self) -> str:
        return {"running": "Running", "paused": "Paused"}.get(self.played.status, "Created")

    def _zone(self, device: VirtioMemInfo) -> dict[str, Any]:
        size = BOOT // len(self.played.devices)
        hotplugged = device.requested_size or None
        return {"id": device.id, "size": size, "hotplug_size": device.max_size, "hotplugged_size": hotplugged}

    def _resize(self, device: VirtioMemInfo, total: int, boot: int) -> Reply:
        size = total - boot
        if size == device.requested_size:
            why = f"new size {size:#x} and requested_size are identical"
            return 500, ["Error from API", "The VM could not be resized", "Failed to virtio-mem resize", why]
        if not 0 <= size <= MAX:
            return 500, ["Error from API", "The VM could not be resized", "Invalid size"]
        self.played.set(device.id, size)
        return 204, None


def dimms(played: Played) -> list[DimmInfo]:
    return [device for device in played.guest.memory_devices if isinstance(device, DimmInfo)]
