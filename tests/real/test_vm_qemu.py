"""`virtiomem vm` against real QEMUs without guests, and against a real qemu-ga."""

import asyncio
import json
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.real.needs import require
from tests.waiting import PATIENCE, wait_until
from virtiomem.errors import DeviceError
from virtiomem.live.sysfs import read_memory_sysfs
from virtiomem.qemu import QemuProcess
from virtiomem.qemu.qmp import QmpSession
from virtiomem.qemu.validation import ANYTHING
from virtiomem.units import GiB, MiB
from virtiomem.vm.connect import open_vm, parse_connection
from virtiomem.vm.doors.guest_agent import GuestAgent
from virtiomem.vm.doors.sent import COMMANDS, VIRTIO_STATUS
from virtiomem.vm.inside import GuestMemoryInfo

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.proves("vm suite on paused machines")]

MACHINE = ["-accel", "tcg", "-S", "-display", "none", "-nodefaults", "-no-user-config", "-machine", "q35"]
FLEET = 50

Start = Callable[..., Path]


def backend(name: str, size: str) -> list[str]:
    return ["-object", f"memory-backend-ram,id={name},size={size},reserve=off"]


def virtio_mem(name: str, size: str, options: str = "", *, named: bool = True) -> list[str]:
    identity = f"id={name}," if named else ""
    return [
        *backend(f"mem-{name}", size),
        "-device",
        f"virtio-mem-pci,{identity}memdev=mem-{name},block-size=2M{options}",
    ]


@pytest.fixture
def start(qemu: str, tmp_path: Path) -> Iterator[Start]:
    """Start a QEMU with a monitor on a socket, which is there when this returns."""
    with ExitStack() as stack:

        def starting(name: str, *arguments: str, memory: str = "256M,slots=2,maxmem=8G", wait: bool = True) -> Path:
            path = tmp_path / f"{name}.sock"
            monitor = ["-qmp", f"unix:{path},server=on,wait=off"]
            process = stack.enter_context(QemuProcess([*MACHINE, "-m", memory, *arguments, *monitor], binary=qemu))
            if wait:
                wait_for(path, process)
            return path

        yield starting


def wait_for(path: Path, process: QemuProcess | None = None) -> None:
    """Wait until a server listens at a socket; that it is there is not enough."""

    def there() -> bool:
        assert process is None or process.returncode is None, process.output.messages()
        return listening(path)

    wait_until(there, f"no server listens at {path}")


def listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def run(*argv: str) -> tuple[int, Any, str]:
    """`virtiomem vm …` as its user runs it: the exit code, the JSON, standard error."""
    command = [sys.executable, "-m", "virtiomem", "vm", *argv, "-J"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def qmp(path: Path, command: str, arguments: dict[str, Any] | None = None) -> Any:
    """One command of QMP, whatever it is."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        with closing(QmpSession(connection)) as monitor:
            return monitor.ask(command, arguments, shape=ANYTHING)


def test_every_kind_of_memory_device_is_listed(start: Start) -> None:
    path = start(
        "vm",
        *virtio_mem("vm0", "1G"),
        *virtio_mem("unnamed", "512M", named=False),
        *backend("dimm", "256M"),
        *["-device", "pc-dimm,id=d0,memdev=dimm"],
    )
    code, shown, _ = run("list", "-c", f"qmp:{path}")
    (vm,) = shown["vms"]
    devices = [(device["id"], device["kind"], device["max-size"]) for device in vm["devices"]]
    assert (code, vm["boot-memory"], vm["status"]) == (0, 256 * MiB, "prelaunch")
    assert devices == [
        ("vm0", "virtio-mem", GiB),
        ("device[0]", "virtio-mem", 512 * MiB),
        ("d0", "dimm", 256 * MiB),
    ]


VERBS = {
    "list": 0,
    "list -b -n -o +address,driver,status": 0,
    "status": 0,
    "status --unstable-monitor-commands": 0,
    "explain": 0,
    "explain --unstable-monitor-commands": 0,
    "explain vm0": 0,
    "watch --for 1 --interval 0.1": 0,
    "resize vm 2G --total --dry-run": 0,
    "resize vm 1G --plugged --spread weighted --dry-run": 0,
    "resize vm 1G --plugged --spread pack --dry-run": 0,
    "resize vm 1G --plugged --spread node=0 --dry-run": 0,
    "resize vm0 256M --no-wait": 0,
    "resize vm0 3M --round --stall 0.1 --no-redispatch": 124,
    "resize vm0 512M --stall 0.1 --on-timeout rollback": 124,
    "resize vm 1G --plugged --timeout 0.1 --unstable-monitor-commands": 124,
    "resize vm0 9G": 1,
    "resize vm0 0": 0,
}


def test_every_verb_leaves_the_machine_alive_and_says_the_same_on_every_qemu(start: Start) -> None:
    path = start("vm", *virtio_mem("vm0", "1G"), *virtio_mem("unnamed", "1G", named=False))
    assert {verb: ended_with(verb, path) for verb in VERBS} == VERBS
    code, shown, _ = run("status", "-c", f"qmp:{path}")
    (vm,) = shown["vms"]
    assert (code, vm["drivers"]) == (0, {"vm0": "unknown", "device[0]": "unknown"})
    assert [(device["id"], device["requested-size"], device["memaddr"]) for device in vm["devices"]] == [
        ("vm0", 0, 4 * GiB),
        ("device[0]", 512 * MiB, 5 * GiB),
    ]


def ended_with(verb: str, path: Path) -> int:
    """A verb's exit code, once the machine has told its state afterwards."""
    command = [sys.executable, "-m", "virtiomem", "vm", *verb.split(), "-c", f"qmp:{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "Traceback" not in done.stderr
    assert qmp(path, "query-status")["status"] == "prelaunch", verb
    return done.returncode


def test_driver_is_asked_for_only_where_that_is_known_to_do_no_harm(start: Start) -> None:
    path = start("vm", *virtio_mem("vm0", "1G"))
    _, shown, _ = run("status", "-c", f"qmp:{path}", "--unstable-monitor-commands")
    (vm,) = shown["vms"]
    release = vm["hypervisor"].removeprefix("QEMU ").rpartition(".")[0]
    survives = release in COMMANDS[VIRTIO_STATUS].survived
    assert (vm["drivers"]["vm0"], vm["held-back"] is None) == ("absent" if survives else "unknown", survives)


def test_device_without_an_id_is_resized_by_its_place(start: Start) -> None:
    path = start("vm", *virtio_mem("unnamed", "512M", named=False))
    code, shown, _ = run("resize", "device[0]", "128M", "-c", f"qmp:{path}", "--no-wait")
    assert (code, shown["results"][0]["devices"][0]["requested-size"]) == (0, 128 * MiB)


def test_monitor_on_tcp_is_the_same(start: Start) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start("vm", *virtio_mem("vm0", "1G"), "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off")
    code, shown, _ = run("status", "-c", f"tcp=qmp:127.0.0.1:{port}")
    assert (code, shown["vms"][0]["drivers"]) == (0, {"vm0": "unknown"})
    assert shown["vms"][0]["hypervisor"].startswith("QEMU ")


def test_refusal_is_in_qemus_own_words(start: Start) -> None:
    path = start("vm", *virtio_mem("vm0", "1G"))

    async def request() -> None:
        vm = await open_vm(parse_connection(f"vm=qmp:{path}"))
        try:
            await vm.backend.set_requested_size("vm0", 2 * GiB)
        finally:
            await vm.backend.close()

    with pytest.raises(DeviceError, match=r"vm0: QEMU refuses: 'requested-size' cannot exceed the memory backend size"):
        asyncio.run(request())


def test_running_migration_is_warned_of_and_explained(start: Start, tmp_path: Path) -> None:
    path = start("vm", *virtio_mem("vm0", "1G"))
    with socket.socket(socket.AF_UNIX) as nobody:  # reads, so that it does not end
        nobody.bind(f"{tmp_path}/nobody")
        nobody.listen()
        qmp(path, "migrate", {"uri": f"unix:{tmp_path}/nobody"})
        code, shown, err = run("resize", "vm0", "512M", "-c", f"qmp:{path}", "--stall", "1")
    assert code == 124
    assert "the machine is migrating: " in err
    assert any("answers every request with BUSY" in finding["text"] for finding in shown["results"][0]["findings"])


def test_old_qemu_or_another_program_is_named_so(tmp_path: Path) -> None:
    program = require("qemu-storage-daemon", "qemu-system-common")
    path = tmp_path / "storage.sock"
    monitor = ["--chardev", f"socket,id=m,path={path},server=on,wait=off", "--monitor", "chardev=m"]
    with subprocess.Popen([program, *monitor]) as daemon:
        try:
            wait_for(path)
            code, _, err = run("list", "-c", f"qmp:{path}")
        finally:
            daemon.terminate()
    assert (code, err) == (1, f"virtiomem: qmp:{path}: it speaks QMP, but is no QEMU machine\n")


def test_fifty_machines_are_watched_and_resized_in_one_command(start: Start, tmp_path: Path) -> None:
    paths = [start(f"vm{i:02}", *virtio_mem("vm0", "256M"), memory="64M,maxmem=2G", wait=False) for i in range(FLEET)]
    for path in paths:
        wait_for(path)
    (tmp_path / "all").write_text("".join(f"{path}\n" for path in paths))
    fleet = ["-c", f"@{tmp_path / 'all'}"]

    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    code, shown, err = run("resize", "vm*/vm0", "128M", "--no-wait", *fleet)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert (code, len(shown["results"])) == (0, FLEET)
    assert "vm05 and 44 more: the machine is prelaunch: its CPUs do not run, so the driver cannot act" in err
    assert used < 20, "seconds of processor time for fifty machines"
    assert watched(fleet) == {f"vm{i:02}": 128 * MiB for i in range(FLEET)}


def watched(fleet: list[str]) -> dict[str, int]:
    """What is requested of every machine, as one watcher sees it; it must stay small."""
    command = [
        sys.executable,
        "-m",
        "virtiomem",
        "vm",
        "watch",
        "-J",
        "--for",
        str(PATIENCE),
        "--interval",
        "0.5",
        *fleet,
    ]
    found: dict[str, int] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while len(found) < FLEET:
            sample = json.loads(process.stdout.readline())
            found[sample["vm"]] = sample["devices"][0]["requested-size"]
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.terminate()
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    assert peak < 2 * GiB, "our own memory for fifty machines"
    return found


def test_agent_reads_this_very_linux(tmp_path: Path) -> None:
    """A real qemu-ga on the host: what it says about the memory blocks is what sysfs says."""
    agent = require("qemu-ga", "qemu-guest-agent")
    path = tmp_path / "ga.sock"
    command = [agent, "-m", "unix-listen", "-p", str(path), "-t", str(tmp_path), "-f", str(tmp_path / "pid")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(path)
            inside = asyncio.run(ask_twice(str(path)))
        finally:
            process.terminate()
    meminfo = Path("/proc/meminfo").read_text().split()
    assert inside.mem_total == int(meminfo[meminfo.index("MemTotal:") + 1]) << 10
    if Path("/sys/devices/system/memory").is_dir():
        sysfs = read_memory_sysfs()
        assert inside.block_size == sysfs.block_size
        assert [block.block for block in inside.blocks] == [block.block for block in sysfs.blocks]
        assert [block.online for block in inside.blocks] == [block.state == "online" for block in sysfs.blocks]
        assert inside.auto_online_blocks == sysfs.auto_online_blocks


async def ask_twice(path: str) -> GuestMemoryInfo:
    """Two conversations, and a client between them that goes in the middle of a command."""
    await GuestAgent(path).look()
    _, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"execute": "guest-file-open", "arguments": {"path": "/pro')
    await writer.drain()
    writer.close()
    return await GuestAgent(path).look()
