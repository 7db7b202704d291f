"""libvirt's door against a real libvirtd: what the contract (test_vm_contract.py) does not say about it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.libvirtd import SYSTEM_USER, Libvirtd, LibvirtGuest, domain, require_libvirt
from tests.real.needs import missing
from tests.vm.doors import fake_libvirt
from tests.vm.doors.machine import Played
from tests.waiting import PATIENCE, wait_until
from virtiomem.units import GiB, MiB
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors.libvirt_xml import read_domain

pytestmark = pytest.mark.real

HEARD_SECONDS = 1.5
"""libvirt hears of a size once a second and device."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Libvirtd]:
    require_libvirt()
    with Libvirtd() as found:
        yield found


@pytest.fixture(scope="module")
def tiny(daemon: Libvirtd) -> Libvirtd:
    """The daemon with a domain `tiny`, which has no guest."""
    daemon.tiny("tiny")
    return daemon


@pytest.fixture(scope="module")
def guest(daemon: Libvirtd) -> Iterator[LibvirtGuest]:
    """A Linux with a device on each of two nodes."""
    found = LibvirtGuest(daemon, "two", (0, 1))
    yield found
    found.close()


def vm(*argv: str) -> subprocess.CompletedProcess[str]:
    """`virtiomem vm …` as its user runs it."""
    command = [sys.executable, "-m", "virtiomem", "vm", *argv]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def result(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout)["results"][0]


def refused(api: Any, domain: Any) -> dict[str, int]:
    """The codes with which libvirt refuses impossible requests."""
    element = read_domain(domain.XMLDesc(0)).elements["ua-vm0"]
    requested = '<requested unit="KiB">0</requested>'
    assert requested in element
    changes = {
        "not a multiple": element.replace(requested, "<requested unit='bytes'>1048576</requested>"),
        "above the maximum": element.replace(requested, "<requested unit='bytes'>4294967296</requested>"),
        "other alias": element.replace("ua-vm0", "ua-other"),
    }
    codes = {}
    for name, xml in changes.items():
        try:
            domain.updateDeviceFlags(xml, 1)
        except api.libvirtError as error:
            codes[name] = error.get_error_code()
    return codes


def test_scripted_libvirt_refuses_as_the_real_one_does(tiny: Libvirtd, tmp_path: Path) -> None:
    import libvirt

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(tiny.uri)
    real = refused(libvirt, connection.lookupByName("tiny"))
    connection.close()
    played = Played(tmp_path, "vm0")
    api = fake_libvirt.modules(fake_libvirt.Daemon(tiny=played))["libvirt"]
    fake = refused(api, vars(api)["open"](fake_libvirt.URI).lookupByName("tiny"))
    played.close()
    assert fake == real == {"not a multiple": 35, "above the maximum": 35, "other alias": 67}


def test_domain_without_an_own_alias_is_called_as_libvirt_calls_it(daemon: Libvirtd) -> None:
    daemon.define(domain("auto", memory=64, alias=False))
    daemon.virsh("start", "auto", "--paused")
    done = vm("list", "-c", daemon.connect("auto"), "-n", "-o", "device,address")
    assert done.stdout.split() == ["virtiomem0", "?"]
    assert vm("resize", "auto", "128M", "--no-wait", "--persist", "-c", daemon.connect("auto")).returncode == 0
    assert "131072" in daemon.virsh("dumpxml", "--inactive", "auto")


def test_read_only_connection_is_refused_in_one_line(tiny: Libvirtd) -> None:
    async def change() -> None:
        machine = await open_vm(parse_connection(tiny.connect("tiny")))
        try:
            await machine.backend.set_requested_size("ua-vm0", 128 * MiB)
        finally:
            await machine.aclose()

    with pytest.raises(Exception, match=r"read only access prevents virDomainUpdateDeviceFlags$"):
        asyncio.run(change())


def test_save_in_progress_refuses_a_resize_at_once(daemon: Libvirtd) -> None:
    daemon.tiny("saved")
    fifo = daemon.run / "fifo"
    os.mkfifo(fifo, 0o666)
    fifo.chmod(0o666)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # reads nothing, so that the save goes on for as long as wanted
    saving = subprocess.Popen(["virsh", "-c", daemon.uri, "save", "saved", str(fifo)], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: "Operation:        Save" in daemon.virsh("domjobinfo", "saved"), "no save began")
        began = time.monotonic()
        done = vm("resize", "saved", "1G", "-J", "-c", daemon.connect("saved"))
        assert (done.returncode, result(done)["outcome"]) == (1, "refused")
        assert "libvirt takes no change while the domain is being saved" in result(done)["notes"][0]
        assert time.monotonic() - began < 30, "libvirt itself takes 30 s"
    finally:
        os.close(reader)
        saving.wait(PATIENCE)
        daemon.virsh("destroy", "saved")


def test_migration_refuses_a_resize_at_once(daemon: Libvirtd, guest: LibvirtGuest) -> None:
    with Libvirtd() as other:
        other_uri = other.uri
        command = ["migrate", "--live", guest.name, other_uri, "--migrateuri", "tcp:127.0.0.1", "--bandwidth", "1"]
        migrating = subprocess.Popen(["virsh", "-c", daemon.uri, *command], stdin=subprocess.DEVNULL)
        try:
            wait_until(
                lambda: "Outgoing migration" in daemon.virsh("domjobinfo", guest.name) or migrating.poll() is not None,
                "no migration began",
            )
            assert migrating.poll() is None, "it ended at once"
            done = vm("resize", guest.name, "256M", "--plugged", "-J", "-c", daemon.connect(guest.name))
            assert (done.returncode, result(done)["outcome"]) == (1, "refused")
            assert "while the domain is being migrated" in result(done)["notes"][0]
            assert "the machine is migrating" in done.stderr
        finally:
            daemon.virsh("domjobabort", guest.name)
            migrating.wait(PATIENCE)


def test_stopped_qemu_cannot_hold_the_program(tiny: Libvirtd) -> None:
    os.kill(tiny.qemu("tiny"), signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = vm("resize", "tiny", "1G", "-J", "-c", tiny.connect("tiny"))
        assert (done.returncode, result(done)["outcome"]) == (1, "lost")
        assert "no answer to virDomainUpdateDeviceFlags in 10 s" in result(done)["notes"][0]
        assert time.monotonic() - began < 120
        assert vm("list", "-c", tiny.connect("tiny")).returncode == 0
    finally:
        os.kill(tiny.qemu("tiny"), signal.SIGCONT)


def test_nodes_are_grown_alike_and_a_change_is_heard(daemon: Libvirtd, guest: LibvirtGuest) -> None:
    watching = subprocess.Popen(
        [sys.executable, "-m", "virtiomem", "vm", "watch", "-J", "--interval", "300", "-c", daemon.connect(guest.name)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["devices"][0]["size"] == 0
    done = vm("resize", guest.name, "512M", "--plugged", "-J", "-c", daemon.connect(guest.name), "--agent", "libvirt")
    reached = time.monotonic()
    assert (done.returncode, result(done)["outcome"], result(done)["inside"]) == (0, "done", "online")
    assert [(device["node"], device["size"]) for device in result(done)["devices"]] == [(0, 256 * MiB), (1, 256 * MiB)]
    while [device["size"] for device in json.loads(watching.stdout.readline())["devices"]] != [256 * MiB] * 2:
        pass
    heard = time.monotonic() - reached
    watching.terminate()
    watching.communicate(timeout=PATIENCE)
    assert heard < HEARD_SECONDS, f"{heard:.2f} s after the resize has heard of it"
    assert "custom guest agent control commands" in done.stderr
    assert vm("resize", guest.name, "0", "--plugged", "-c", daemon.connect(guest.name)).returncode == 0


def test_device_is_added_and_a_dimm_taken_away_again(daemon: Libvirtd, guest: LibvirtGuest) -> None:
    where = ["-c", daemon.connect(guest.name)]
    assert vm("attach", guest.name, "1G", "--id", "more", "--node", "1", *where).stdout == "two/ua-more: attached\n"
    shown = json.loads(vm("list", "-J", *where).stdout)["vms"][0]["devices"]
    assert [(device["id"], device["max-size"], device["size"]) for device in shown][-1] == ("ua-more", GiB, 0)
    refused = vm("detach", f"{guest.name}/ua-more", *where)
    assert refused.returncode in {0, 1}, "older libvirt and QEMU cannot"
    assert refused.stderr.count("\n") <= 1
    before = guest.blocks()
    assert vm("attach", guest.name, "128M", "--dimm", "--node", "0", *where).returncode == 0
    wait_until(lambda: guest.blocks() == before + 1, "the guest has not added the DIMM")
    assert vm("detach", f"{guest.name}/ua-dimm0", "--timeout", "200", *where).returncode == 0


def test_watch_outlives_a_daemon_that_is_killed() -> None:
    require_libvirt()
    with Libvirtd() as mine:
        mine.tiny("mine")
        process = subprocess.Popen(
            [sys.executable, "-m", "virtiomem", "vm", "watch", "-J", "-c", mine.connect("mine")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["error"] is None
            mine.kill()
            assert "connection lost" in json.loads(process.stdout.readline())["error"]
            mine.start()
            while json.loads(process.stdout.readline())["error"] is not None:
                pass
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def test_monitor_and_agent_that_libvirt_holds_are_named_so(tiny: Libvirtd) -> None:
    (monitor,) = (path for path in tiny.folder.rglob("monitor.sock") if "-tiny" in str(path))
    done = vm("list", "-c", f"qmp:{monitor}")
    assert done.returncode == 124
    assert done.stderr.endswith("libvirt holds this monitor: write libvirt:tiny\n"), done.stderr


def test_system_daemon_is_the_same() -> None:
    require_libvirt()
    if os.geteuid() != 0:
        missing("root, for a system libvirtd")
    if SYSTEM_USER not in Path("/etc/passwd").read_text():
        missing(f"the user {SYSTEM_USER}, which a system libvirtd looks up (Debian package libvirt-daemon-system)")
    settings = Path("/etc/libvirt/qemu.conf")
    if not settings.exists() or '\nstdio_handler = "file"' not in settings.read_text():
        missing(f"a system libvirtd that needs no other daemon: {settings} as .ci/run writes it")
    with Libvirtd(system=True) as system:
        system.tiny("systems")
        done = vm("resize", "systems", "128M", "--no-wait", "-J", "-c", system.connect("systems"))
        assert (done.returncode, result(done)["devices"][0]["requested-size"]) == (0, 128 * MiB)
