"""A recording whose names try to break out of every place where a page or a picture shows them."""

import msgspec

from virtiomem.recording import Recording, Request, VirtioMemInfo
from virtiomem.recording.values import Resize
from virtiomem.units import MiB, Size

NAME = """</script><script>window.owned=1</script><img src=x onerror="window.owned=1">'"&amp;{{ 7*7 }}"""
DEVICE = "<b onclick=window.owned=1>vm0</b>"


def hostile(told: Recording) -> Recording:
    """`told` with a resource, a device, a refusal, a title and a kernel called by such names."""
    boot = msgspec.structs.replace(told.boot, iomem=told.boot.iomem + f"fff000000000-fff000000fff : {NAME}\n")
    first = told.steps[0].snapshot
    devices = [
        msgspec.structs.replace(device, id=DEVICE) for device in first.devices if isinstance(device, VirtioMemInfo)
    ]
    record = msgspec.structs.replace(
        told.steps[0],
        step=Resize(device=DEVICE, requested_size=Size(MiB)),
        error=NAME,
        requests=[
            Request(device=DEVICE, type=NAME, response=NAME, addr=0x180000000, nb_blocks=1),
            Request(device="__proto__", type="constructor", response="constructor"),
        ],
        held_up=[NAME],
        snapshot=msgspec.structs.replace(first, iomem=boot.iomem, devices=[*devices]),
    )
    return msgspec.structs.replace(
        told, boot=boot, steps=[record], guest={**told.guest, "kernel": NAME}, scenario={"title": NAME}
    )
