"""Firecracker's and Cloud Hypervisor's doors: the traps of their APIs, and what a bad API can do to us."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.doors.machine import Played
from tests.vm.doors.servers import CloudHypervisorServer, FirecrackerServer, HttpServer, Reply
from virtiomem.cli.main import main
from virtiomem.recording.values import Unload
from virtiomem.units import MiB
from virtiomem.vm.doors import http

Capture = pytest.CaptureFixture[str]
Make = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Start a server of a kind, with devices of these names and these attributes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made: list[Any] = []

    def making(kind: type[HttpServer], *names: str, **attributes: Any) -> Any:
        played = Played(tmp_path, *(names or ("vm0",)))
        server = kind(tmp_path / "one.sock", played)
        vars(server).update(attributes)
        made.extend((server, played))
        return server

    yield making
    for closing in made:
        closing.close()


def run(capsys: Capture, server: HttpServer, *argv: str) -> tuple[int, Any, str]:
    scheme = "firecracker" if isinstance(server, FirecrackerServer) else "cloud-hypervisor"
    code = main(["vm", *argv, "-J", "-c", f"{scheme}:{server.path}"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def devices(capsys: Capture, server: HttpServer) -> list[dict[str, Any]]:
    code, shown, err = run(capsys, server, "list")
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = shown["vms"][0]["devices"]
    return found


def test_what_is_plugged_is_unknown_before_release_52_and_cannot_be_waited_for(make: Make, capsys: Capture) -> None:
    server = make(CloudHypervisorServer, version="v51.1")
    assert devices(capsys, server)[0]["size"] is None
    code, shown, err = run(capsys, server, "resize", "mem0", "256M")
    assert (code, shown["results"]) == (1, [])
    assert "mem0: the hypervisor does not show what is plugged, so that it cannot be waited for (--no-wait" in err
    assert server.played.devices[0].requested_size == 0
    code, shown, _ = run(capsys, server, "resize", "mem0", "256M", "--no-wait")
    assert (code, shown["results"][0]["devices"][0]["size"]) == (0, None)
    assert server.played.devices[0].requested_size == 256 * MiB
    code, shown, _ = run(capsys, server, "explain")
    assert shown["vms"][0]["findings"][0]["reason"] == "size-unknown"


def test_balloon_makes_it_unknown_too(make: Make, capsys: Capture) -> None:
    assert devices(capsys, make(CloudHypervisorServer, balloon=64 * MiB))[0]["size"] is None


def test_of_several_zones_only_the_sum_is_known(make: Make, capsys: Capture) -> None:
    server = make(CloudHypervisorServer, "a", "b")
    run(capsys, server, "resize", "a", "256M", "--no-wait")
    _, shown, _ = run(capsys, server, "list")
    (vm,) = shown["vms"]
    assert [(d["id"], d["size"], d["requested-size"]) for d in vm["devices"]] == [
        ("a", None, 256 * MiB),
        ("b", None, 0),
    ]
    assert vm["plugged-sum"] == 256 * MiB
    assert main(["vm", "status", "-c", f"cloud-hypervisor:{server.path}"]) == 0
    assert "memory 1.2G: boot and DIMMs 1G, virtio-mem 256M" in capsys.readouterr().out


def test_size_that_is_an_error_the_second_time_is_not_sent(make: Make, capsys: Capture) -> None:
    server = make(CloudHypervisorServer)
    for _ in range(2):
        assert run(capsys, server, "resize", "mem0", "256M", "--no-wait")[0] == 0


def test_vm_that_is_only_created_is_not_resized(make: Make, capsys: Capture) -> None:
    server = make(CloudHypervisorServer)
    server.played.status = "created"
    code, shown, _ = run(capsys, server, "resize", "mem0", "256M", "--no-wait")
    assert (code, shown["results"][0]["outcome"]) == (1, "refused")
    assert "the VM is created: it can be resized while it is running or paused" in shown["results"][0]["notes"][0]
    assert server.played.devices[0].requested_size == 0


def test_device_without_a_driver_is_refused_in_firecrackers_words(make: Make, capsys: Capture) -> None:
    server = make(FirecrackerServer)
    server.played.play(Unload())
    code, shown, _ = run(capsys, server, "resize", "mem", "256M")
    assert (code, shown["results"][0]["outcome"]) == (1, "refused")
    assert shown["results"][0]["notes"][0].endswith("Device is not active")


@pytest.mark.parametrize(
    ("attributes", "words"),
    [({"configured": False}, "Device not found"), ({"version": "1.13.0", "configured": False}, "needs 1.14")],
)
def test_microvm_without_a_device_says_what_it_takes(
    make: Make, capsys: Capture, attributes: dict[str, Any], words: str
) -> None:
    code, _, err = run(capsys, make(FirecrackerServer, **attributes), "list")
    assert code == 1
    assert words in err
    assert err.count("\n") == 1


BAD: dict[str, tuple[Reply, str]] = {
    "no API": ((404, ["x"]), "it is no Cloud Hypervisor: x"),
    "plain words": ((500, "nothing"), "it is no Cloud Hypervisor: "),
    "wrong type": ((200, {"version": 5}), "bad answer to GET /vmm.ping: version is 5"),
    "no object": ((200, [1]), "bad answer to GET /vmm.ping"),
    "control characters": ((400, ["a", "\x1b[2J\n"]), "it is no Cloud Hypervisor: a"),
}


@pytest.mark.parametrize("case", BAD)
def test_answer_that_cannot_be_is_one_line(make: Make, capsys: Capture, case: str) -> None:
    reply, words = BAD[case]
    server = make(CloudHypervisorServer, answer=lambda *_: reply)
    code, _, err = run(capsys, server, "list")
    assert code == 1
    assert words in err
    assert (err.count("\n"), "\x1b" in err) == (1, False)


def test_body_without_end_is_bounded(make: Make, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 1 << 20)
    server = make(CloudHypervisorServer, answer=lambda *_: (200, "x" * (2 << 20)))
    code, _, err = run(capsys, server, "list")
    assert (code, "bad answer to GET /vmm.ping: more than 1 MiB" in err) == (1, True)


def test_silence_is_bounded(make: Make, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_SECONDS", 0.1)

    async def silent(reader: Any, _: Any) -> None:
        await reader.read()

    code, _, err = run(capsys, make(FirecrackerServer, talk=silent), "list")
    assert (code, "no answer to GET / in 0.1 s" in err) == (124, True)


def test_another_protocol_is_named(make: Make, capsys: Capture) -> None:
    async def ssh(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await writer.drain()

    code, _, err = run(capsys, make(FirecrackerServer, talk=ssh), "list")
    assert (code, "it does not speak HTTP" in err) == (1, True)


def test_no_peer_is_one_line(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert main(["vm", "list", "-c", f"firecracker:{tmp_path}/none.sock"]) == 1
    assert capsys.readouterr().err == (
        f"virtiomem: firecracker:{tmp_path}/none.sock: cannot connect: No such file or directory\n"
    )
