"""libvirt's door on a scripted libvirt: what the contract of all doors does not say."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.doors.contract import meanwhile, with_machine
from tests.vm.doors.fake_libvirt import URI, Daemon, FakeConnection, FakeDomain, FakeError, modules
from tests.vm.doors.machine import Played
from tests.vm.doors.test_contract import LibvirtRig
from tests.waiting import PATIENCE
from virtiomem.cli.main import main
from virtiomem.errors import BackendError, BackendTimeout, DeviceError, UsageError
from virtiomem.units import GiB, MiB
from virtiomem.vm import watch as watching
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors import libvirt_host
from virtiomem.vm.doors.libvirt import LibvirtHostTarget, LibvirtTarget
from virtiomem.vm.doors.libvirt_xml import WrongXml, read_domain, with_requested
from virtiomem.vm.model import VirtioMemDevice, Vm

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    machines = {"one": Played(tmp_path, "vm0"), "two": Played(tmp_path, "vm0", "vm1"), "plain": Played(tmp_path)}
    daemon = Daemon(**machines)
    for name, module in modules(daemon).items():
        monkeypatch.setitem(sys.modules, name, module)
    yield daemon
    daemon.hanging.set()
    for machine in machines.values():
        machine.close()


@pytest.mark.parametrize(
    ("text", "target", "name", "written"),
    [
        ("qemu:///system/web1", LibvirtTarget("qemu:///system", "web1"), "web1", None),
        (
            "qemu+ssh://host/system/web1?no_tty=1",
            LibvirtTarget("qemu+ssh://host/system?no_tty=1", "web1"),
            "web1",
            None,
        ),
        ("qemu+unix:///session/one?socket=/p", LibvirtTarget("qemu+unix:///session?socket=/p", "one"), "one", None),
        ("qemu:///system/a%20b", LibvirtTarget("qemu:///system", "a b"), "a b", "libvirt:qemu:///system/a b"),
        ("web1", LibvirtTarget(None, "web1"), "web1", None),
        ("qemu:///system/", LibvirtHostTarget("qemu:///system"), "qemu:///system/", None),
        ("/", LibvirtHostTarget(None), "/", None),
    ],
)
def test_text_is_read_once_and_written_as_it_was(text: str, target: object, name: str, written: str | None) -> None:
    connection = parse_connection(f"libvirt:{text}")
    assert (connection.target, connection.name) == (target, name)
    assert str(connection) == (written or f"libvirt:{text}")


@pytest.mark.parametrize("text", ["qemu:///system", "qemu:///system/a%2fb", "qemu:///system/a%0ab", "a/b"])
def test_text_that_names_no_domain_is_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--connect: "):
        parse_connection(f"libvirt:{text}")


def test_what_virsh_takes_is_answered_with_what_is_taken_here() -> None:
    with pytest.raises(UsageError, match=r"is a URI of libvirt: write libvirt: before it, and the domain behind it"):
        parse_connection("qemu:///system")


def test_every_running_domain_with_a_device_is_listed_by_its_host(daemon: Daemon, capsys: Capture) -> None:
    assert main(["vm", "list", "-c", f"libvirt:{URI}/", "-n", "-o", "vm,device,address"]) == 0
    assert capsys.readouterr().out.split() == ["one", "ua-vm0", "?", "two", "ua-vm0", "?", "two", "ua-vm1", "?"]
    assert main(["vm", "resize", "hv.two", "512M", "--plugged", "--no-wait", "-c", f"hv=libvirt:{URI}/"]) == 0
    assert [device.requested_size for device in daemon.domains["two"].devices] == [256 * MiB] * 2
    assert daemon.opened == [False, True]  # one connection each: who lists the domains leaves it to who opens them


def test_domain_that_ends_after_it_was_listed_is_named(
    daemon: Daemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(connection: FakeConnection, name: str) -> FakeDomain:
        assert connection.daemon is daemon
        raise FakeError(42, f"Domain not found: no domain with matching name {name!r}")

    monkeypatch.setattr(FakeConnection, "lookupByName", gone)
    assert main(["vm", "list", "-c", f"libvirt:{URI}/"]) == 1
    assert capsys.readouterr().err.startswith(f"virtiomem: libvirt:{URI}/one: Domain not found: ")


def test_host_without_such_a_domain_says_so(daemon: Daemon, capsys: Capture) -> None:
    daemon.domains = {"plain": daemon.domains["plain"]}
    assert main(["vm", "list", "-c", f"libvirt:{URI}/"]) == 1
    assert (
        capsys.readouterr().err
        == f"virtiomem: libvirt:{URI}/: no running domain has a virtio-mem device (vm attach adds one)\n"
    )


@pytest.mark.parametrize("verb", ["list", "status", "explain", "resize one 1G --dry-run"])
def test_what_changes_nothing_connects_read_only(daemon: Daemon, verb: str) -> None:
    assert main(["vm", *verb.split(), "-c", f"libvirt:{URI}/one"]) == 0
    assert daemon.opened == [False]


def test_one_connection_serves_all_machines_of_a_uri(daemon: Daemon) -> None:
    assert main(["vm", "status", "-c", f"libvirt:{URI}/one", "-c", f"libvirt:{URI}/two"]) == 0
    assert len(daemon.opened) == 1


def test_read_only_connection_is_refused_in_one_line(daemon: Daemon) -> None:
    async def change() -> None:
        vm = await open_vm(parse_connection(f"libvirt:{URI}/one"))
        try:
            await vm.backend.set_requested_size("ua-vm0", 128 * MiB)
        finally:
            await vm.aclose()

    with pytest.raises(DeviceError, match=r"read only access prevents virDomainUpdateDeviceFlags$"):
        asyncio.run(change())
    assert daemon.opened == [False]


def test_taint_is_said_before_the_agent_is_asked(daemon: Daemon, capsys: Capture) -> None:
    assert main(["vm", "status", "-c", f"libvirt:{URI}/one", "--agent", "libvirt"]) == 0
    said = capsys.readouterr()
    assert said.err.startswith(
        "virtiomem: warning: one: the guest agent is asked through libvirt, which marks the domain as tainted"
    )
    assert "inside (guest agent): 8 blocks online" in said.out
    assert daemon.opened == [True]


@pytest.mark.parametrize(("job", "word"), [("migration", "migrated"), ("save", "saved"), ("dump", "dumped")])
def test_job_refuses_a_resize_at_once(daemon: Daemon, capsys: Capture, job: str, word: str) -> None:
    daemon.domains["one"].busy = job
    code = main(["vm", "resize", "one", "1G", "-c", f"libvirt:{URI}/one", "-J"])
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (code, result["outcome"]) == (1, "refused")
    assert (
        f"libvirt takes no change while the domain is being {word}: try again when that has ended" in result["notes"][0]
    )


def test_persist_sets_the_stored_size_as_well(daemon: Daemon) -> None:
    for options, stored in (((), 0), (("--persist",), 256 * MiB)):
        assert main(["vm", "resize", "one", "256M", "--no-wait", *options, "-c", f"libvirt:{URI}/one"]) == 0
        assert daemon.stored["one"]["vm0"] == stored
        assert main(["vm", "resize", "one", "0", "--no-wait", "-c", f"libvirt:{URI}/one"]) == 0


def test_qemu_that_does_not_act_cannot_hold_the_program(
    daemon: Daemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_host, "ANSWER_SECONDS", 0.2)
    daemon.hanging.clear()
    code = main(["vm", "resize", "one", "1G", "-c", f"libvirt:{URI}/one", "-J"])
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert (code, result["outcome"]) == (1, "lost")
    assert "no answer to virDomainUpdateDeviceFlags in 0.2 s" in result["notes"][0]


def test_calls_that_never_end_are_counted(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_host, "MAX_THREADS", 3)

    async def hang(vm: Vm) -> None:
        calls = [vm.backend.set_requested_size("ua-vm0", 128 * MiB) for _ in range(8)]
        monkeypatch.setattr(libvirt_host, "ANSWER_SECONDS", 0.2)
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, BackendTimeout) for error in found)
        assert any("calls of libvirt have not ended" in str(error) for error in found)

    daemon.hanging.clear()
    with_machine(LibvirtRig(daemon, daemon.domains["one"]), hang)


def test_watch_outlives_a_daemon_that_is_killed(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FIRST_RETRY_SECONDS", 0.02)

    async def run() -> list[bool]:
        seen = []
        async with asyncio.timeout(PATIENCE):
            async for sample in watching.watch([parse_connection(f"libvirt:{URI}/one")], PATIENCE):
                seen.append(sample.machine is not None)
                if len(seen) == 1:
                    daemon.die()
                elif not seen[-1]:
                    daemon.alive = True
                else:
                    return seen
        return seen

    found = asyncio.run(run())
    assert (found[0], found[-1], False in found) == (True, True, True)


def test_domain_that_has_migrated_away_is_said_to_have(daemon: Daemon, capsys: Capture) -> None:
    machine = daemon.domains["one"]
    machine.set("vm0", 512 * MiB)
    machine.use(64 * MiB)
    rig = LibvirtRig(daemon, machine)
    with meanwhile(rig, lambda seen: seen.requested == 0, lambda: daemon.stop("one", 3)):
        assert main(["vm", "resize", "one", "0", "-c", f"libvirt:{URI}/one"]) == 1
    assert f"libvirt:{URI}/one: the domain migrated away" in capsys.readouterr().out


def test_missing_binding_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setitem(sys.modules, "libvirt", None)
    assert main(["vm", "list", "-c", "libvirt:web1"]) == 1
    assert capsys.readouterr().err == (
        "virtiomem: libvirt:web1: libvirt's Python binding is not installed: in the checkout, make libvirt; or "
        "Debian's python3-libvirt (which a virtual environment sees only with --system-site-packages)\n"
    )


def test_uri_that_is_invalid_is_one_line(daemon: Daemon, capsys: Capture) -> None:
    assert main(["vm", "list", "-c", "libvirt:foo:///bar/one"]) == 1
    assert capsys.readouterr().err == (
        "virtiomem: libvirt:foo:///bar/one: cannot connect: no connection driver available for foo:///bar\n"
    )
    assert daemon.opened == []


def test_first_device_of_a_domain_is_named_too(daemon: Daemon, capsys: Capture) -> None:
    assert main(["vm", "attach", "plain", "128M", "--dimm", "-c", f"libvirt:{URI}/plain"]) == 0
    assert capsys.readouterr().out == "plain/ua-dimm0: attached\n"
    assert main(["vm", "attach", "plain", "128M", "--dimm", "-c", f"libvirt:{URI}/plain"]) == 0
    assert capsys.readouterr().out == "plain/ua-dimm1: attached\n"
    assert daemon.opened == [True, True]


def test_full_device_is_not_detached(daemon: Daemon, capsys: Capture) -> None:
    daemon.domains["one"].set("vm0", 512 * MiB)
    assert main(["vm", "detach", "one/ua-vm0", "-c", f"libvirt:{URI}/one"]) == 1
    assert "one: ua-vm0 has 512M plugged, 512M requested: resize it to 0 first" in capsys.readouterr().err


# --- XML ---

MEMORY = (
    "<memory model='virtio-mem'><target><size unit='KiB'>2097152</size><node>1</node><block unit='MiB'>2</block>"
    "<requested unit='KiB'>1048576</requested>{current}{target}</target><alias name='{alias}'/>{place}</memory>"
)
CURRENT = "<current unit='KiB'>524288</current>"


def xml(*devices: str, memory: str = "<memory unit='GiB'>3</memory>", more: str = "") -> str:
    return f"<domain>{memory}<devices>{''.join(devices)}{more}</devices></domain>"


def device(alias: str = "vm0", current: str = CURRENT, target: str = "", place: str = "") -> str:
    return MEMORY.format(alias=alias, current=current, target=target, place=place)


def test_sizes_are_read_in_their_units() -> None:
    found = read_domain(xml(device()))
    assert found.boot_memory == GiB
    assert found.devices == (
        VirtioMemDevice(
            id="vm0", max_size=2 * GiB, requested_size=GiB, size=512 * MiB, block_size=2 * MiB, memaddr=None, node=1
        ),
    )
    (unknown,) = read_domain(xml(device(current=""))).devices
    assert unknown.size is None


@pytest.mark.parametrize(
    "places", [{"target": "<address base='0x140000000'/>"}, {"place": "<address type='dimm' base='0x140000000'/>"}]
)
def test_address_is_known_where_it_is_reported(places: dict[str, str]) -> None:
    (found,) = read_domain(xml(device(**places))).devices
    assert found.memaddr == 0x140000000


def test_passed_through_devices_and_cells_are_read() -> None:
    hostdev = "<hostdev type='pci'><source><address domain='0x0000' bus='0x3b' slot='0x02' function='0x1'/></source></hostdev>"
    cells = (
        "<memory unit='KiB'>1</memory><cpu><numa><cell memory='512' unit='MiB'/><cell memory='524288'/></numa></cpu>"
    )
    found = read_domain(xml(memory=cells, more=hostdev))
    assert (found.vfio, found.boot_memory) == (("0000:3b:02.1",), GiB)


def test_only_the_requested_size_is_replaced() -> None:
    element = read_domain(xml(device())).elements["vm0"]
    changed = with_requested(element, 128 * MiB)
    assert '<requested unit="bytes">134217728</requested>' in changed
    (found,) = read_domain(xml(changed)).devices
    assert (found.requested_size, found.size) == (128 * MiB, 512 * MiB)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<domain", "its XML cannot be parsed"),
        ("<!DOCTYPE d [<!ENTITY a 'b'>]><domain/>", "has a DOCTYPE"),
        ("<a>" + "x" * (5 << 20) + "</a>", "more than 4194304"),
        (xml(device(alias="a&#10;b")), "alias"),
        (xml(device(alias="")), "alias"),
        (xml(device(), device()), "two devices have the alias vm0"),
        (xml(device(current="<current unit='parsec'>1</current>")), "'parsec' is not a unit"),
        (xml(device(current="<current>-1</current>")), "'-1' is not a number"),
        (xml(device(current="<current>1_000</current>")), "'1_000' is not a number"),
        (xml(device(current="<current>+5</current>")), "'+5' is not a number"),
        (xml(device(current="<current>99999999999999999999</current>")), "not a number"),
        (xml(device(current="<current unit='EiB'>99</current>")), "beyond 2^64"),
        (xml(device().replace("<block unit='MiB'>2<", "<block unit='MiB'>3<")), "not a power of two"),
        (xml(*["<memory/>"] * 4097), "4097 memory devices"),
        (xml(memory=""), "memory is missing"),
    ],
)
def test_xml_that_no_libvirt_gives_is_named(text: str, words: str) -> None:
    with pytest.raises(WrongXml) as wrong:
        read_domain(text)
    assert words in str(wrong.value)


def test_bad_xml_is_one_line(daemon: Daemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeDomain, "XMLDesc", lambda _self, _flags: "<domain>\x1b[2J")
    assert main(["vm", "list", "-c", f"libvirt:{URI}/one"]) == 1
    assert capsys.readouterr().err.startswith(f"virtiomem: libvirt:{URI}/one: bad XML: its XML cannot be parsed: ")
    assert daemon.opened == [False]


def test_lost_connection_says_so_at_every_later_call(daemon: Daemon) -> None:
    async def lost(vm: Vm) -> Any:
        daemon.die()
        for _ in range(2):
            with pytest.raises(BackendError, match="connection lost"):
                await vm.backend.look()

    with_machine(LibvirtRig(daemon, daemon.domains["one"]), lost)
