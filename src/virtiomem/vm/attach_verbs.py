"""`vm attach` and `vm detach`: the commands that add a memory device to one machine, or take one away."""

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from virtiomem import stdio
from virtiomem.errors import Exit, UsageError
from virtiomem.status_line import StatusLine
from virtiomem.vm.attach import add, free_name, remove
from virtiomem.vm.commands import (
    UNTOUCHED,
    cancelled_by_interrupt,
    complain,
    connections,
    finish_json,
    leaving,
    opened_machines,
)
from virtiomem.vm.connect import Unreachable
from virtiomem.vm.model import NewDevice, Vm
from virtiomem.vm.tables import View
from virtiomem.vm.target import device_pattern, select


async def attach(args: Namespace) -> int:
    """Add a memory device to one machine."""
    async with _one(args, "attach") as vm:
        machine = await vm.backend.look()
        new = NewDevice(
            kind="dimm" if args.dimm else "virtio-mem",
            name=args.id or free_name(machine, "dimm" if args.dimm else "vm"),
            size=args.size,
            node=args.node,
            block_size=args.block_size,
            requested_size=args.requested_size,
        )
        # From here on an interrupt may come after the hypervisor has acted and before it has answered.
        with leaving(f"{vm.name}/{new.name}: it may have been added: `virtiomem vm list` says"):
            machine, device = await add(vm, new)
    return _finish_change(args, View(vm=vm.name, machine=machine), f"{vm.name}/{device}: attached")


async def detach(args: Namespace) -> int:
    """Take a memory device away from one machine, and wait until it is gone."""
    async with _one(args, "detach") as vm:
        pattern = device_pattern(args.target, vm.name)
        name = f"{vm.name}/{pattern}"
        asked = "the guest may have been asked to give it back, and may still do so"
        words = f"waiting for the guest to give {name} back, for {args.timeout:g} s at most"
        with leaving(f"{name}: {asked}: `virtiomem vm list` says"), StatusLine() as line:
            line.say(words)
            machine, gone = await remove(vm, pattern, args.timeout)
    said = (
        f"{name}: detached"
        if gone
        else f"{name}: the guest has not given it back in {args.timeout:g} s; it may still do so"
    )
    code = _finish_change(args, View(vm=vm.name, machine=machine), said)
    return code if gone else Exit.TIMED_OUT


@asynccontextmanager
async def _one(args: Namespace, verb: str) -> AsyncIterator[Vm]:
    """Open the one machine that a target means, for a change; raises UsageError for more, or why it cannot be opened."""
    async with AsyncExitStack() as stack:
        # First in and last out, so that an interrupt while connections are closed is an answer as well, not a
        # traceback.
        stack.enter_context(cancelled_by_interrupt())
        # It ends before the yield: once a verb works on the machine, "untouched" would be a guess.
        with leaving(UNTOUCHED):
            chosen = select(args.target, await connections(args, verb))
            if len(chosen) > 1:
                raise UsageError(f"{verb} is for one machine, but {len(chosen)} are meant")
            (vm,) = await stack.enter_async_context(opened_machines(chosen))
        if isinstance(vm, Unreachable):
            raise vm.error
        yield vm


def _finish_change(args: Namespace, view: View, said: str) -> int:
    if args.json:
        return finish_json([view])
    stdio.show(f"{said}\n")
    return complain([view])
