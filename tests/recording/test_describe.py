import pytest

from virtiomem.recording import Request
from virtiomem.recording.describe import describe, describe_request, ranges
from virtiomem.recording.values import (
    AddMemory,
    Free,
    Inject,
    Kexec,
    Load,
    PlugDimm,
    Reboot,
    Resize,
    SetState,
    Step,
    Unload,
    UnplugDimm,
    Use,
    Wait,
)
from virtiomem.units import GiB, MiB, Size


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Load(), "load the driver"),
        (Unload(), "unload the driver"),
        (Resize(device="vm0", requested_size=Size(1542 * MiB)), "resize vm0 to 1542M"),
        (SetState(blocks=[48], state="offline"), "set block 48 offline"),
        (SetState(blocks=[48, 49, 50, 53], state="online_movable"), "set blocks 48-50, 53 online_movable"),
        (Reboot(), "reboot"),
        (Kexec(), "kexec into a new kernel"),
        (PlugDimm(id="dimm0", size=Size(GiB), node=1), "plug DIMM dimm0, 1G on node 1"),
        (UnplugDimm(id="dimm0"), "unplug DIMM dimm0"),
        (AddMemory(kind="kmem", size=Size(GiB), memaddr=Size(0x400000000)), "add 1G through kmem at 0x400000000"),
        (AddMemory(kind="xen", size=Size(GiB)), "add 1G through xen"),
        (Use(id="cache", size=Size(400 * MiB)), "use 400M movable as cache"),
        (Free(id="cache"), "free cache"),
        (Wait(seconds=60), "wait 60 s"),
        (Inject(at="add_memory", error="ENOMEM"), "let add_memory fail with ENOMEM"),
        (Inject(at="request", error="BUSY", times=3), "let request fail with BUSY, 3 times"),
    ],
)
def test_step_is_reported_in_words(step: Step, words: str) -> None:
    assert describe(step) == words


def test_request_is_reported_with_address_blocks_and_answer() -> None:
    plug = Request(device="vm0", type="PLUG", addr=0x180000000, nb_blocks=1, response="BUSY")
    assert describe_request(plug) == "PLUG 0x180000000, 1 block: BUSY"
    assert describe_request(Request(device="vm0", type="UNPLUG_ALL", response="ACK")) == "UNPLUG_ALL: ACK"


def test_runs_of_numbers_are_drawn_together_in_their_order() -> None:
    assert ranges([range(1, 3), range(3, 4), range(7, 8), range(9, 11), range(5, 6)]) == "1-3, 7, 9-10, 5"
    assert ranges([]) == ""
