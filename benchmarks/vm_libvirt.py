"""`vm list` of all domains of a libvirt next to a loop of virsh: python benchmarks/vm_libvirt.py --domains 20

A libvirtd of its own, domains without guests. What virsh prints of a device is what its XML says about it.
"""

import argparse
import re
import subprocess
import sys
import time

from tests.real.libvirtd import Libvirtd


def timed(command: list[str]) -> tuple[float, str]:
    began = time.monotonic()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return time.monotonic() - began, said


def virsh(daemon: Libvirtd) -> tuple[float, int]:
    """A table by virsh: a look at every domain's XML."""
    seconds, names = timed(["virsh", "-c", daemon.uri, "list", "--name"])
    found = 0
    for name in names.split():
        spent, xml = timed(["virsh", "-c", daemon.uri, "dumpxml", name])
        seconds += spent
        found += len(re.findall("<memory model='virtio-mem'>", xml))
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=20)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    with Libvirtd() as daemon:
        for number in range(options.domains):
            daemon.tiny(f"vm{number:02}")
        ours = [sys.executable, "-m", "virtiomem", "vm", "list", "-c", daemon.connect("")]
        looks = [(timed(ours), virsh(daemon)) for _ in range(options.times)]
        (_, table), (_, found) = looks[0]
        print(
            f"{options.domains} domains, {found} devices by virsh, {len(table.splitlines()) - 1} by virtiomem vm list"
        )
        print(f"virtiomem vm list libvirt:URI/   {min(spent for (spent, _), _ in looks):.2f} s")
        print(f"virsh list, virsh dumpxml each   {min(spent for _, (spent, _) in looks):.2f} s")
        print("\n".join(table.splitlines()[:3]))


if __name__ == "__main__":
    main()
