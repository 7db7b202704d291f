"""Firecracker's and Cloud Hypervisor's doors against the real programs, wherever they and KVM are.

What they are asked is little, for neither has a guest here that acts: that what is configured is read as it is, and that a
requested size is set. The contract of all doors is played in tests/vm/doors.
"""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE, wait_until
from virtiomem.cli.main import main
from virtiomem.errors import BackendError
from virtiomem.guest.linux import initramfs, kernels
from virtiomem.units import GiB, MiB

pytestmark = pytest.mark.real

KVM = "/dev/kvm"


def program(name: str, variable: str) -> str:
    """The program, from PATH or from an environment variable; CI does not have it either."""
    import shutil

    found = os.environ.get(variable) or shutil.which(name)
    if found is None:
        pytest.skip(f"NOT HERE: {name} (nor named by {variable})")
    if not os.access(KVM, os.W_OK):
        pytest.skip(f"NOT HERE: {KVM}, which {name} needs")
    return found


@contextmanager
def running(command: list[str], path: Path) -> Iterator[None]:
    """A VMM, until its API socket is there."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: path.exists() or process.poll() is not None, "no API socket")
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            yield
        finally:
            process.kill()


def put(path: Path, where: str, body: dict[str, Any]) -> None:
    """A request of our own, to configure what no door configures."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("PUT", where, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status // 100 == 2, answer.read()
    connection.close()


def kernel() -> tuple[Path, bytes]:
    try:
        image = kernels.find("")
        return image.image, initramfs.build(initramfs.gather(image))
    except BackendError as error:
        pytest.skip(f"NOT HERE: {error}")


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert main(["vm", *argv, "-J"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def check(capsys: pytest.CaptureFixture[str], connect: str, device: str) -> None:
    """The device is read as it was configured, and takes a size."""
    (vm,) = shown(capsys, "list", "-c", connect)["vms"]
    (found,) = vm["devices"]
    assert (vm["boot-memory"], vm["status"]) == (512 * MiB, "running")
    assert (found["id"], found["requested-size"], found["max-size"], found["block-size"]) == (
        device,
        0,
        2 * GiB,
        2 * MiB,
    )
    (result,) = shown(capsys, "resize", device, "256M", "--no-wait", "-c", connect)["results"]
    assert result["devices"][0]["requested-size"] == 256 * MiB


def test_cloud_hypervisor_is_read_and_takes_a_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = program("cloud-hypervisor", "VIRTIOMEM_CLOUD_HYPERVISOR")
    image, root = kernel()
    path = tmp_path / "api.sock"
    (tmp_path / "root").write_bytes(root)
    memory = f"size=512M,hotplug_method=virtio-mem,hotplug_size={2 * GiB}"
    boot = ["--kernel", str(image), "--initramfs", f"{tmp_path}/root", "--memory", memory, "--console", "off"]
    with running([binary, "--api-socket", str(path), *boot, "--serial", "null"], path):
        check(capsys, f"cloud-hypervisor:{path}", "mem0")


def test_firecracker_is_read_and_takes_a_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    binary = program("firecracker", "VIRTIOMEM_FIRECRACKER")
    image = os.environ.get("VIRTIOMEM_VMLINUX")
    if image is None:
        pytest.skip("NOT HERE: an uncompressed kernel with virtio-mem built in, named by VIRTIOMEM_VMLINUX")
    path = tmp_path / "api.sock"
    with running([binary, "--api-sock", str(path)], path):
        put(path, "/boot-source", {"kernel_image_path": image, "boot_args": "console=ttyS0 panic=-1"})
        put(path, "/machine-config", {"vcpu_count": 1, "mem_size_mib": 512})
        put(path, "/hotplug/memory", {"total_size_mib": 2048, "block_size_mib": 2, "slot_size_mib": 128})
        put(path, "/actions", {"action_type": "InstanceStart"})
        check(capsys, f"firecracker:{path}", "mem")
