"""A VMM for `--boot` whose guest is played: `python scripted_vmm.py FAULT KERNEL INITRD APPEND [SIZE [REQUESTED]]`.

Its device is ours behind memory-mapped registers. Faults: `none`; `refuse`, `die`, `hang`, `panic`, `blind` (no device), `unable` (no huge
page) while it boots; `late-die`, `late-garbage`, `late-hang` after that many lines; `liar` answers every request with ACK.
"""

import sys
import time

FAULT = sys.argv[1]
PATIENT = 60
"""Lines that are answered before a late fault."""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def boot() -> None:
    """What comes before the hands."""
    if FAULT == "refuse":
        sys.stderr.write("vmm: 'size' is not what I like\n")
        sys.exit(1)
    say("[    0.000000] Linux version 6.1.0")
    match FAULT:
        case "die":
            sys.stderr.write("vmm: out of ideas\n")
            sys.exit(3)
        case "hang":
            time.sleep(3600)  # killed long before
        case "panic":
            say("[    0.5] Kernel panic - not syncing: VFS: Unable to mount root fs")
            time.sleep(3600)
        case "blind":
            say("virtiomem-hands 1 ring=0x100000+0x100000")
        case "unable":
            say("virtiomem-hands 1 error=no huge page is free: the guest needs more memory")
        case "nonsense":
            say("virtiomem-hands 1 ring=here")


def serve() -> None:
    """Answer until standard input ends."""
    from tests.transport.register_file import GREETING, RegisterFile
    from virtiomem.conformance.targets import realize
    from virtiomem.transport.virtio_transport import DeviceSpec
    from virtiomem.wire.mem import Response, ResponseType

    numbers = [int(word) for word in sys.argv[5:]] or [1 << 30, 1 << 29]
    registers = RegisterFile(realize(DeviceSpec("vm0", numbers[0], 2 << 20, numbers[1])))
    if FAULT == "liar":
        registers.transport.device.mem.request = lambda *_: Response(ResponseType.ACK)  # type: ignore[method-assign]
    say(GREETING)
    for number, line in enumerate(sys.stdin):
        if number >= PATIENT and FAULT.startswith("late-"):
            if FAULT == "late-die":
                sys.exit(4)
            if FAULT == "late-hang":
                time.sleep(3600)
            say("\x1b[31mOops: 0002 [#1]")
        if line == "reboot\n":
            sys.exit(0)
        say(registers.answer(line.strip()))


boot()
serve()
