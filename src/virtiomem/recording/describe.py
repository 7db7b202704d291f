"""Steps, requests and numbers as a person would say them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

from msgspec import UNSET

from virtiomem.recording.values import (
    AddMemory,
    CrashHeader,
    Free,
    Inject,
    Kexec,
    Load,
    LoadCrashKernel,
    PlugDimm,
    Poison,
    Reboot,
    Refuse,
    Request,
    Resize,
    SetState,
    Step,
    StepRecord,
    Suspend,
    Unload,
    UnplugDimm,
    Use,
    Wait,
)
from virtiomem.releases.linux import known_release
from virtiomem.units import format_approx, format_size

_GUEST_KEYS = ("kernel", "qemu", "default-state", "page-size")
"""What two guests may differ in, as a recording's `guest` has it."""


def how_it_went(steps: Sequence[StepRecord]) -> str:
    """Count the steps, and those that did not go well: ``3 steps, 1 refused, 1 stopped short``."""
    refused = sum(record.error is not None for record in steps)
    short = sum(not record.settled for record in steps)
    words = [f"{len(steps)} {plural(len(steps), 'step')}"]
    words += [f"{refused} refused"] if refused else []
    words += [f"{short} stopped short"] if short else []
    return ", ".join(words)


def describe_guest(guest: Mapping[str, Any]) -> str:
    """Name the guest that a recording is of: ``Linux 6.1.0-56-cloud-amd64 on QEMU 7.2.22 (tcg)``."""
    if guest.get("kind") != "linux":
        return f"the {guest.get('kind')} guest as Linux {guest.get('kernel')}"
    return f"Linux {guest.get('kernel')} on QEMU {guest.get('qemu')} ({guest.get('accel')})"


def guests_apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Describe how two guests differ that both say it: ``kernel 6.1 / 6.12.117``, ``default-state offline / online``."""
    both = {key: (a[key], b[key]) for key in _GUEST_KEYS if key in a and key in b}
    if a.get("kind") != b.get("kind") and len(set(map(known_release, both.get("kernel", ())))) == 1:
        del both["kernel"]  # a model is named by its release alone
    return [f"{key} {one} / {other}" for key, (one, other) in both.items() if one != other]


def describe(step: Step) -> str:
    """A step in a few words: ``resize vm0 to 2G``."""
    match step:
        case Load():
            return "load the driver"
        case Unload():
            return "unload the driver"
        case Resize(device=device, requested_size=size):
            return f"resize {device} to {format_size(size)}"
        case SetState(blocks=blocks, state=state):
            return f"set {plural(len(blocks), 'block')} {ranges(range(block, block + 1) for block in blocks)} {state}"
        case Reboot():
            return "reboot"
        case Kexec():
            return "kexec into a new kernel"
        case Suspend(to=to):
            return f"suspend to {to}"
        case LoadCrashKernel(syscall=syscall):
            return f"load a crash kernel with {syscall}"
        case PlugDimm(id=name, size=size, node=node):
            return f"plug DIMM {name}, {format_size(size)} on node {node}"
        case UnplugDimm(id=name):
            return f"unplug DIMM {name}"
        case AddMemory(kind=kind, size=size, memaddr=memaddr):
            at = "" if memaddr is UNSET else f" at {memaddr:#x}"
            return f"add {format_size(size)} through {kind}{at}"
        case Use(id=name, size=size, kind=kind):
            return f"use {format_size(size)} {kind} as {name}"
        case Free(id=name):
            return f"free {name}"
        case Poison(memaddr=memaddr):
            return f"poison the page at {memaddr:#x}"
        case Refuse(event=event, error=error):
            return (
                f"let a notifier refuse {event} with {error}" if error != "OK" else f"let {event} be refused no longer"
            )
        case Wait(seconds=seconds):
            return f"wait {seconds:g} s"
        case Inject(at=at, error=error, times=times):
            return f"let {at} fail with {error}, {times} times" if times > 1 else f"let {at} fail with {error}"
        case _:
            assert_never(step)


def describe_header(header: CrashHeader) -> str:
    """Describe a crash header and its upkeep: ``4 ranges, 5.4G, kept up to date``."""
    size = format_approx(sum(end - start + 1 for start, end in header.ranges))
    kept = "kept up to date" if header.kept_up_to_date else "as it was made"
    return f"{len(header.ranges)} {plural(len(header.ranges), 'range')}, {size}, {kept} ({header.syscall})"


def describe_request(request: Request) -> str:
    """A request and its answer: ``PLUG 0x180000000, 64 blocks: ACK``."""
    if request.addr is UNSET or request.nb_blocks is UNSET:
        return f"{request.type}: {request.response}"
    count = f"{request.nb_blocks} {plural(request.nb_blocks, 'block')}"
    return f"{request.type} {request.addr:#x}, {count}: {request.response}"


def plural(count: int, noun: str) -> str:
    """The noun alone, in the number that `count` asks for."""
    return noun if count == 1 else f"{noun}s"


def numbers(found: Iterable[int]) -> str:
    """Numbers, ascending, as `ranges` has them."""
    return ranges(range(number, number + 1) for number in sorted(set(found)))


def numbers_in(text: str) -> Iterator[int]:
    """The numbers of a text that `numbers` made."""
    for part in text.split(", ") if text else ():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def ranges(runs: Iterable[range]) -> str:
    """Runs of numbers, those that touch drawn together: ``48-50, 53``; in the order given."""
    joined: list[range] = []
    for run in runs:
        if joined and run.start == joined[-1].stop:
            joined[-1] = range(joined[-1].start, run.stop)
        else:
            joined.append(run)
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in joined)
