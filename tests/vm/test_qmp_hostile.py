"""What a broken or hostile peer can do to us: one clear line within bounds, whatever it says."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from qemu.qmp import Runstate

from tests.waiting import PATIENCE
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, ProtocolError, VirtiomemError
from virtiomem.qemu import client
from virtiomem.units import MiB
from virtiomem.vm.doors import peer
from virtiomem.vm.doors.qmp import QmpBackend
from virtiomem.vm.model import Driver, kind

VIRTIO_MEM = {
    "id": "vm0",
    "memaddr": 1 << 32,
    "size": 0,
    "requested-size": 0,
    "max-size": 1 << 30,
    "block-size": 1 << 21,
    "node": 0,
    "memdev": "/objects/m0",
}
GOOD = {
    "query-memory-size-summary": {"base-memory": 1 << 29, "plugged-memory": 0},
    "query-status": {"status": "running", "running": True, "singlestep": False},
    "query-memory-devices": [{"type": "virtio-mem", "data": VIRTIO_MEM}],
    "qom-list": [],
}

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'

Serve = Any
Qmp = Any


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(peer, "ANSWER_SECONDS", 0.3)


async def look(path: str) -> Any:
    backend = QmpBackend("qmp:test", path, unstable=True)
    try:
        await backend.open()
        machine = await backend.look()
        return machine, await backend.hypervisor_info(machine)
    finally:
        await backend.close()


def outcome(serve: Serve, talk: Any, then: Callable[[str], Awaitable[Any]] = look) -> Any:
    async def run() -> Any:
        async with serve(talk) as path:
            return await then(path)

    return asyncio.run(run())


def failure(serve: Serve, talk: Any) -> VirtiomemError:
    with pytest.raises(VirtiomemError) as failed:
        outcome(serve, talk)
    line = str(failed.value)
    assert line.startswith("qmp:test: ")
    assert line.isprintable()
    assert len(line) < 400
    return failed.value


def says(data: bytes, *, then_silence: bool = False) -> Any:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if then_silence:
            await reader.read()

    return talk


def with_devices(*devices: Any) -> dict[str, Any]:
    return GOOD | {"query-memory-devices": list(devices)}


def test_well_behaved_peer_is_read(serve: Serve, qmp: Qmp) -> None:
    machine, hypervisor_info = outcome(serve, qmp(GOOD))
    assert machine.virtio_mem[0].max_size == 1 << 30
    assert hypervisor_info.drivers == {"vm0": Driver.UNKNOWN}
    assert hypervisor_info.hypervisor == "QEMU 7.2.22"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not speak QMP"),
        (b"\x00\xff\xfe\x80garbage\n", "does not speak QMP"),
        (b"[]\n", "does not speak QMP"),
        (b"{}\n", "does not speak QMP"),
        (b'{"QMP": 5}\n', "does not speak QMP"),
        (b"[" * 100_000 + b"\n", "does not speak QMP: a message nested without end"),
        (b'{"QMP": ' + b"9" * 5000 + b"}\n", "does not speak QMP"),
        (b'{"QMP": {"vers', "does not speak QMP"),
        (b"", "it closed the connection before its greeting"),
    ],
)
def test_garbage_instead_of_a_greeting_is_one_clear_line(serve: Serve, data: bytes, words: str) -> None:
    assert words in str(failure(serve, says(data)))


@pytest.mark.usefixtures("impatient")
def test_silence_says_that_another_client_may_be_connected(serve: Serve) -> None:
    error = failure(serve, says(b"", then_silence=True))
    assert isinstance(error, BackendTimeout)
    assert "no greeting in 0.3 s: is another client connected?" in str(error)


@pytest.mark.usefixtures("impatient")
def test_a_handshake_that_hangs_after_the_greeting_is_reported_as_such(serve: Serve) -> None:
    error = failure(serve, says(GREETING, then_silence=True))
    assert isinstance(error, BackendTimeout)
    assert str(error).endswith(": no answer to qmp_capabilities in 0.3 s")


@pytest.mark.usefixtures("impatient")
def test_half_a_greeting_and_silence_times_out(serve: Serve) -> None:
    assert isinstance(failure(serve, says(b'{"QMP": {"version"', then_silence=True)), BackendTimeout)


def test_endless_line_is_cut_off_within_bounds(serve: Serve) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"x" * (1 << 20))
            await writer.drain()

    tracemalloc.start()
    error = failure(serve, talk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(error, BackendError | ProtocolError)
    assert peak < 64 * MiB


@pytest.mark.parametrize(
    "message", [b'{"event": "RTC_CHANGE", "timestamp": {}}\n', b'{"return": {}, "id": "nobody"}\n']
)
def test_endless_stream_of_messages_ends_the_connection(serve: Serve, qmp: Qmp, message: bytes) -> None:
    error = failure(serve, qmp(GOOD | {"query-status": message * 50_000}))
    assert "more than 2000 messages in a second" in str(error)


@pytest.mark.parametrize("field", ["size", "max-size", "requested-size", "block-size", "node", "memaddr"])
@pytest.mark.parametrize("value", [-1, 1 << 64, 10**40, 1.5, "2G", None, [], {}])
def test_impossible_numbers_are_a_bad_answer(serve: Serve, qmp: Qmp, field: str, value: object) -> None:
    error = failure(serve, qmp(with_devices({"type": "virtio-mem", "data": VIRTIO_MEM | {field: value}})))
    assert isinstance(error, ProtocolError)
    assert "bad answer to query-memory-devices" in str(error)


@pytest.mark.parametrize(
    "devices",
    [
        [{"type": "virtio-mem", "data": VIRTIO_MEM | {"block-size": 0}}],
        [{"type": "virtio-mem", "data": VIRTIO_MEM | {"block-size": 3 << 20}}],
        [{"type": "virtio-mem", "data": VIRTIO_MEM | {"id": "\x1b[2J"}}],
        [{"type": "virtio-mem", "data": VIRTIO_MEM | {"id": "x" * 300}}],
        [{"type": "virtio-mem"}],
        ["vm0"],
        {"vm0": 1},
        "none",
    ],
)
def test_impossible_devices_are_a_bad_answer(serve: Serve, qmp: Qmp, devices: object) -> None:
    error = failure(serve, qmp(GOOD | {"query-memory-devices": devices}))
    assert "bad answer to query-memory-devices" in str(error)


def test_more_devices_than_any_machine_has_is_refused(serve: Serve, qmp: Qmp) -> None:
    devices = [{"type": "dimm", "data": {"id": f"d{i}", "size": 1}} for i in range(5000)]
    assert "5000 memory devices, more than 4096" in str(failure(serve, qmp(with_devices(*devices))))


def test_kinds_of_memory_devices_we_do_not_know_are_shown_as_other(serve: Serve, qmp: Qmp) -> None:
    machine, _ = outcome(serve, qmp(with_devices({"type": "sgx-epc", "data": {"size": 4096, "memaddr": 8192}})))
    (device,) = machine.devices
    assert (device.id, kind(device), device.max_size) == ("0x2000", "other", 4096)


def test_a_total_of_ram_has_dimms_and_no_nvdimms(serve: Serve, qmp: Qmp) -> None:
    devices = [{"type": type_, "data": {"id": type_, "size": 1 << 30}} for type_ in ("dimm", "nvdimm", "virtio-pmem")]
    machine, _ = outcome(serve, qmp(with_devices(*devices)))
    assert [kind(device) for device in machine.devices] == ["dimm", "other", "other"]
    assert machine.fixed == machine.boot_memory + (1 << 30)


@pytest.mark.parametrize(
    "command", ["query-memory-size-summary", "query-status", "query-memory-devices", "query-migrate"]
)
@pytest.mark.parametrize(
    "answer", ["\ud800", {"\ud800": 1, "base-memory": -1, "status": "\ud800"}, 10**4000, [["\x1b[2J"]]]
)
def test_bad_answer_is_named_with_command_and_value(serve: Serve, qmp: Qmp, command: str, answer: object) -> None:
    error = failure(serve, qmp(GOOD | {command: answer}))
    assert isinstance(error, ProtocolError)
    assert f"bad answer to {command}: " in str(error)
    assert ", not " in str(error)


@pytest.mark.parametrize("micro", [b"1e400", b"-1", b'"\\ud800"', b"null", b"9" * 4000])
def test_version_that_cannot_be_is_unknown(serve: Serve, qmp: Qmp, micro: bytes) -> None:
    greeting = b'{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": %s}}, "capabilities": []}}\n' % micro
    _, hypervisor_info = outcome(serve, qmp(GOOD, greeting=greeting))
    assert hypervisor_info.hypervisor == "QEMU (version unknown)"


def test_second_greeting_is_reported_as_such(serve: Serve) -> None:
    assert "does not speak QMP: it answered qmp_capabilities with {'QMP': {" in str(
        failure(serve, says(GREETING * 2, then_silence=True))
    )


UNNAMED = {"type": "virtio-mem", "data": {key: value for key, value in VIRTIO_MEM.items() if key != "id"}}


@pytest.mark.parametrize("name", ["", "\x1b", "a/b", "\ud800", "x" * 300])
def test_unnamed_device_under_an_odd_name_is_a_bad_answer(serve: Serve, qmp: Qmp, name: str) -> None:
    children = [{"name": name, "type": "child<virtio-mem-pci>"}]
    error = failure(serve, qmp(with_devices(UNNAMED) | {"qom-list": children, "qom-get": 1 << 32}))
    assert "bad answer to qom-list: " in str(error)


def test_two_devices_of_one_id_are_a_bad_answer(serve: Serve, qmp: Qmp) -> None:
    error = failure(
        serve, qmp(with_devices({"type": "virtio-mem", "data": VIRTIO_MEM}, {"type": "dimm", "data": VIRTIO_MEM}))
    )
    assert str(error).endswith("bad answer to query-memory-devices: two devices have the id vm0")


@pytest.mark.parametrize("named", [True, False])
def test_answers_to_our_own_questions_are_no_flood(
    serve: Serve, qmp: Qmp, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BURST_LIMIT", 20)
    numbers = range(300)
    data = [VIRTIO_MEM | {"id": f"device[{number}]", "memaddr": number << 30} for number in numbers]
    asked = 0

    def address(path: str, **_: object) -> int:
        nonlocal asked
        asked += 1
        return int(path.partition("[")[2][:-1]) << 30

    table = GOOD | {
        "query-memory-devices": [{"type": "virtio-mem", "data": d if named else d | {"id": None}} for d in data],
        "qom-list": [{"name": d["id"], "type": "child<virtio-mem-pci>"} for d in data],
        "qom-get": address,
    }
    machine, _ = outcome(serve, qmp(table))
    assert [device.id for device in machine.devices] == [d["id"] for d in data]
    assert asked == (0 if named else len(numbers))


def test_look_that_never_ends_runs_into_its_deadline(
    serve: Serve, messages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "LOOK_SECONDS", 0.3)
    unnamed = [{"name": "device[0]", "type": "child<virtio-mem-pci>"}] * 999
    table = with_devices(UNNAMED) | {"qom-list": unnamed, "qom-get": 0}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        async for message in messages(reader):
            writer.write(
                json.dumps({"return": table.get(message["execute"], {}), "id": message.get("id")}).encode() + b"\n"
            )
            await asyncio.sleep(0.01)  # each answer is there in time

    error = failure(serve, talk)
    assert isinstance(error, BackendTimeout)
    assert str(error) == "qmp:test: it has not answered everything in 0.3 s"


def test_peer_that_is_not_a_machine_is_named_so(serve: Serve, qmp: Qmp) -> None:
    refusal = b'{"error": {"class": "CommandNotFound", "desc": "no such command"}, "id": $ID}\n'
    assert "it speaks QMP, but is no QEMU machine" in str(failure(serve, qmp({"query-memory-size-summary": refusal})))


def test_refused_handshake_is_a_protocol_error(serve: Serve, qmp: Qmp) -> None:
    refusal = b'{"error": {"class": "GenericError", "desc": "no"}, "id": $ID}\n'
    assert "does not speak QMP" in str(failure(serve, qmp({"qmp_capabilities": refusal})))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"id": $ID}\n', ProtocolError),
        (b'{"error": {}, "id": $ID}\n', ProtocolError),
        (b'{"error": {"class": "GenericError", "desc": "x"}}\n', BackendError),
        (b'{"return": ', BackendError),
        (b"}{\n", BackendError),
        (b"\xff\xfe\n", BackendError),
        (b"[1]\n", BackendError),
    ],
)
def test_nonsense_for_an_answer_is_an_error_of_its_kind(
    serve: Serve, qmp: Qmp, answer: bytes, kind: type[VirtiomemError]
) -> None:
    assert isinstance(failure(serve, qmp(GOOD | {"query-status": answer})), kind)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [b"", b'{"return": {}, "id": "another"}\n'])
def test_no_answer_to_our_question_times_out(serve: Serve, qmp: Qmp, answer: bytes) -> None:
    assert isinstance(failure(serve, qmp(GOOD | {"query-status": answer})), BackendTimeout)


def test_what_a_peer_says_cannot_control_the_terminal(serve: Serve, qmp: Qmp) -> None:
    refusal = {"error": {"class": "GenericError", "desc": "\x1b]0;owned\x07\nvirtiomem: all is well"}}
    raw = json.dumps(refusal).encode()[:-1] + b', "id": $ID}\n'

    async def request(path: str) -> None:
        backend = QmpBackend("qmp:test", path)
        await backend.open()
        try:
            await backend.set_requested_size("vm0", 0)
        finally:
            await backend.close()

    with pytest.raises(DeviceError) as refused:
        outcome(serve, qmp(GOOD | {"qom-set": raw}), request)
    assert str(refused.value).isprintable()


def test_peer_that_dies_while_we_wait_is_lost(serve: Serve) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"QMP": {"version": {}, "capabilities": []}}).encode() + b"\n")
        await reader.read(4096)
        writer.write(b'{"return": {}}\n')
        await reader.read(4096)

    assert "connection lost: it closed the connection" in str(failure(serve, talk))


def test_peer_that_never_reads_cannot_keep_us_from_closing(serve: Serve, qmp: Qmp) -> None:
    async def close_twice(path: str) -> None:
        backend = QmpBackend("qmp:test", path)
        await backend.open()
        async with asyncio.timeout(PATIENCE):
            await backend.close()
            await backend.close()

    outcome(serve, qmp(GOOD), close_twice)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b'{"return": {"base-memory": "much"}, "id": $ID}\n',
        b'{"error": {"class": "CommandNotFound", "desc": "no such command"}, "id": $ID}\n',
    ],
)
def test_machine_that_cannot_be_opened_is_let_go_of(serve: Serve, qmp: Qmp, answer: bytes) -> None:
    left = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await qmp({"query-memory-size-summary": answer})(reader, writer)
        left.set()

    async def attempt(path: str) -> None:
        backend = QmpBackend("qmp:test", path)
        with pytest.raises(VirtiomemError):
            await backend.open()
        async with asyncio.timeout(PATIENCE):
            await left.wait()

    outcome(serve, talk, attempt)


@pytest.mark.parametrize(
    ("status", "driver"),
    [
        ({"status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]}}, Driver.READY),
        ({"status": {"statuses": ["VIRTIO_CONFIG_S_ACKNOWLEDGE: …"]}}, Driver.ABSENT),
        ({"status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: …"]}, "broken": True}, Driver.BROKEN),
        ({"status": 7}, Driver.UNKNOWN),
        ({"status": {"statuses": [7]}}, Driver.UNKNOWN),
    ],
)
def test_driver_state_follows_from_the_status_and_is_unknown_when_its_shape_is(
    serve: Serve, qmp: Qmp, status: object, driver: Driver
) -> None:
    _, hypervisor_info = outcome(serve, qmp(GOOD | {"x-query-virtio-status": status}))
    assert hypervisor_info.drivers == {"vm0": driver}


@pytest.mark.parametrize("turns", range(1, 8))
def test_cancellation_while_leaving_a_peer_that_broke_off_leaves_no_exception_behind(
    serve: Serve, qmp: Qmp, caplog: pytest.LogCaptureFixture, turns: int
) -> None:
    async def leave(path: str) -> None:
        backend = QmpBackend("qmp:test", path)
        await backend.open()
        while backend._peer._client.runstate is Runstate.RUNNING:
            await backend._peer._client.runstate_changed()
        leaving = asyncio.create_task(backend.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        await backend.close()

    summary = b'{"return": {"base-memory": 0}, "id": $ID}\n[1]\n'
    outcome(serve, qmp(GOOD | {"query-memory-size-summary": summary}), leave)
    gc.collect()
    assert caplog.records == []
