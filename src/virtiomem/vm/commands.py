"""The verbs of `virtiomem vm`, from parsed arguments to an exit code."""

import asyncio
import os
import signal
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    aclosing,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import replace
from typing import Any

import msgspec

from virtiomem import stdio
from virtiomem.errors import UsageError, VirtiomemError
from virtiomem.notation import json_bytes, printable_json
from virtiomem.reasons import Reason, ReasonKind
from virtiomem.text import shown
from virtiomem.vm import tables
from virtiomem.vm.connect import Unreachable, config_paths, expand, load_config, open_all, resolve
from virtiomem.vm.doors.base import Access, Connection
from virtiomem.vm.doors.registry import refuse_unread_model, refuse_what_cannot_be
from virtiomem.vm.drivers import placed, regions, with_inside
from virtiomem.vm.explain import explain as find_reasons
from virtiomem.vm.facts import MachineFacts
from virtiomem.vm.fleet import PARTLY
from virtiomem.vm.inside import GuestMemoryInfo
from virtiomem.vm.model import GuestView, Machine, Vm
from virtiomem.vm.plan import PlanError
from virtiomem.vm.tables import COLUMNS, View
from virtiomem.vm.target import device_pattern, named_devices, select
from virtiomem.vm.watch import Sample
from virtiomem.vm.watch import watch as watch_all

MAX_NAMES = 6
"""Machines named on a line; fifty without a driver are one remark."""

UNTOUCHED = "no machine was touched"
BURST_SECONDS = 1.0
"""`timeout` of coreutils signals its program, and at once the whole process group, so that the program hears it twice."""

__all__ = ["COLUMNS", "explain", "list_devices", "status", "watch"]


async def list_devices(args: Namespace) -> int:
    """Print a table of every memory device of every machine."""
    # Before any machine is reached: a mistyped column must not cost the time that fifty connections take.
    columns = tables.COLUMNS.chosen(args.output, tables.LIST_COLUMNS)
    async with opened_machines(await connections(args)) as opened:
        views = await asyncio.gather(*(_view(vm) for vm in opened))
    if args.json:
        return finish_json(views)
    rows, headings = tables.rows_of(views), not args.noheadings
    stdio.show(tables.table(rows, columns, in_bytes=args.bytes, headings=headings, width=_room(args)))
    for view in views:
        if view.machine is not None and not view.machine.devices:
            stdio.say(f"{view.vm}: it has no memory device")
    return complain(views)


async def status(args: Namespace) -> int:
    """Print the full status of each machine."""
    columns = tables.COLUMNS.chosen(args.output, tables.STATUS_COLUMNS)
    async with opened_machines(await connections(args)) as opened:
        views = await asyncio.gather(*(_view(vm, thorough=True) for vm in opened))
    if args.json:
        return finish_json(views)
    headings, width = not args.noheadings, _room(args)
    texts = [tables.status_text(v, columns, in_bytes=args.bytes, headings=headings, width=width) for v in views]
    stdio.show("\n".join(texts))
    return complain(views)


def _room(args: Namespace) -> int | None:
    """Return the width of a table: columns that the user chose are shown in full."""
    return None if args.output else stdio.terminal_width()


async def watch(args: Namespace) -> int:
    """Show the machines as they change, until interrupted or for `args.duration` seconds; 0 if every one was seen."""
    chosen = await connections(args)
    seen = dict.fromkeys((connection.name for connection in chosen), False)
    heard: set[str] = set()
    with cancelled_by_interrupt(), suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(args.duration):
            await _watch(args, chosen, seen, heard)
    unseen = [name for name, once in seen.items() if not once]
    if unseen:
        why = (
            ""
            if all(name in heard for name in unseen)
            else "; no answer so far: `virtiomem vm list` waits for one, or says why"
        )
        stdio.say(f"virtiomem: never seen: {some(unseen)}{why}")
    return 0 if not unseen else 1 if len(unseen) == len(seen) else PARTLY


async def _watch(args: Namespace, chosen: Sequence[Connection], seen: dict[str, bool], heard: set[str]) -> None:
    """Show samples as they come; note which machines were `seen`, and which were `heard` of: seen or lost."""
    from virtiomem.vm.metrics import Metrics, serve

    metrics = Metrics(seen)
    server = await serve(args.metrics, metrics) if args.metrics else None
    try:
        async with aclosing(watch_all(chosen, args.interval, yields=args.yields)) as samples:
            with _samples_to(args) as show_sample:
                async for sample in samples:
                    metrics.take(sample)
                    seen[sample.vm] |= sample.machine is not None
                    heard.add(sample.vm)
                    show_sample(sample)
    finally:
        if server is not None:
            # Not wait_closed(), which from Python 3.12 on waits for clients that are still connected.
            server.close()


async def explain(args: Namespace) -> int:
    """Explain why devices are not at their requested size, by machines or by a capture alone."""
    # A capture alone is explained by itself. With a machine, named or configured, it stands for a look by the agent.
    if args.capture and not args.connect and args.target == "all" and not load_config(config_paths(os.environ)):
        return _explain_alone(args)
    chosen = select(args.target, await connections(args))
    inside = _captured(args.capture, chosen) if args.capture else None
    async with opened_machines(chosen) as opened:
        views = await asyncio.gather(*(_view(vm, thorough=True, pages_for=args.pages_for) for vm in opened))
    if inside is not None:
        views = [msgspec.structs.replace(view, inside=inside) for view in views]
    found = [_reasons(view, device_pattern(args.target, view.vm)) for view in views]
    if args.json:
        write_json({"vms": [tables.findings_json(view, findings) for view, findings in found]})
    else:
        for view, findings in found:
            lines = (view.vm, *(f"  {text}" for text in tables.finding_lines(findings))) if findings else ()
            stdio.show("".join(f"{line}\n" for line in lines))
    return complain([view for view, _ in found])


def _explain_alone(args: Namespace) -> int:
    """Explain from a capture, with no machine to ask."""
    from virtiomem.live.capture import load
    from virtiomem.vm.captured import explain_capture

    findings = explain_capture(load(args.capture))
    if args.json:
        write_json({"source": args.capture, "findings": [finding.to_json() for finding in findings]})
    else:
        stdio.show("".join(f"{text}\n" for text in tables.finding_lines(findings)))
    return 0


def _captured(path: str, chosen: Sequence[Connection]) -> GuestMemoryInfo:
    """Read from a capture what the guest of the only machine reports."""
    from virtiomem.vm.doors.guest_files import read_capture

    if len(chosen) > 1:
        raise UsageError(f"--capture {shown(path)} is of one machine, but {len(chosen)} are meant")
    return read_capture(path)


async def connections(args: Namespace, verb: str = "") -> list[Connection]:
    """Return the machines that the options and the configuration name; `verb` is given if it changes them."""
    given = vars(args)
    named = [*args.connect, *given.get("machines", ())]
    found = resolve(named, load_config(config_paths(os.environ)), agent=args.agent)
    refuse_what_cannot_be(found, verb)
    model = given.get("model")
    refuse_unread_model(found, model)
    writes = bool(verb) and not given.get("dry_run")
    persist = given.get("persist", False)
    access = Access(unstable=given.get("unstable", False), writes=writes, persist=persist, model=model)
    return await expand([replace(connection, access=access) for connection in found])


@asynccontextmanager
async def opened_machines(chosen: Sequence[Connection]) -> AsyncIterator[list[Vm | Unreachable]]:
    """Open the machines, and print the remarks that their doors make about them."""
    async with open_all(chosen) as opened:
        remarks: dict[str, list[str]] = {}
        for vm in opened:
            for remark in vm.remarks if isinstance(vm, Vm) else ():
                remarks.setdefault(remark, []).append(vm.name)
        for remark, names in remarks.items():
            stdio.warn(f"{some(names)}: {remark}")
        yield opened


async def _view(vm: Vm | Unreachable, *, thorough: bool = False, pages_for: float = 0.0) -> View:
    """Look at a machine once; when `thorough`, with drivers and what the guest reports.

    With `pages_for` also with zones and as many pages as there is time for, and then a second look at the machine.
    """
    if isinstance(vm, Unreachable):
        return View(vm=vm.name, error=vm.error)
    try:
        machine = await vm.backend.look()
        if not thorough:
            return View(vm=vm.name, machine=machine)
        hypervisor_info = await vm.backend.hypervisor_info(machine)
    except VirtiomemError as error:
        return View(vm=vm.name, error=error)
    inside: GuestMemoryInfo | None = None
    later: Machine | None = None
    error_inside: VirtiomemError | None = None
    try:
        if vm.agent is not None:
            # An agent that fails takes nothing from what the hypervisor has said: the error is shown with it.
            machine, inside = await _look_inside(vm.agent, machine, pages_for)
            # Reading pages takes seconds, in which a shrink goes on; a second look tells whether the sizes still moved.
            if pages_for:
                later = await vm.backend.look()
    except VirtiomemError as error:
        error_inside = error
    hypervisor_info = with_inside(hypervisor_info, machine, inside)
    return View(
        vm=vm.name,
        machine=machine,
        error=error_inside,
        hypervisor_info=hypervisor_info,
        inside=inside,
        later=later,
    )


async def _look_inside(agent: GuestView, machine: Machine, pages_for: float) -> tuple[Machine, GuestMemoryInfo]:
    """Return the guest's view, and the machine with the places of its devices."""
    # Where the hypervisor gives no addresses, the first answer has to tell them: the guest's claims place the devices,
    # and a second answer has the zones of the blocks there.
    spans = regions(machine.virtio_mem)
    inside = await agent.look(spans if pages_for else (), claims=True)
    machine = placed(machine, inside)
    if pages_for and regions(machine.virtio_mem) != spans:
        inside = await agent.look(regions(machine.virtio_mem), claims=True)
    # Of devices that should shrink only: on the way up no page has to go anywhere.
    held = regions(device for device in machine.virtio_mem if device.assumed_size > device.requested_size)
    return machine, await agent.count_pages(inside, held, pages_for) if pages_for and held else inside


def _reasons(view: View, pattern: str | None) -> tuple[View, tuple[Reason, ...]]:
    """Return the findings about the devices that a pattern matches; a pattern without a match is the view's error."""
    if view.machine is None or view.hypervisor_info is None:
        return view, ()
    try:
        devices = view.machine.virtio_mem if pattern is None else named_devices(view.machine, pattern)
    except PlanError as error:
        return msgspec.structs.replace(view, error=PlanError(str(error), connection=view.vm)), ()
    if not devices:
        return view, (Reason(ReasonKind.NO_DEVICE),)
    retry_in = view.hypervisor_info.retry_in
    facts = MachineFacts(
        machine=view.machine,
        hypervisor_info=view.hypervisor_info,
        inside=view.inside,
        later=view.later,
        asked=view.error is not None,
        retry_in=retry_in,
        exact=retry_in is not None,
    )
    return view, find_reasons(facts, devices)


def some(names: Sequence[str]) -> str:
    """Join the first MAX_NAMES names, and say how many more there are."""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"


@contextmanager
def leaving(state: str) -> Iterator[None]:
    """Turn a cancellation into a KeyboardInterrupt whose text says what is left behind; `cli.main` prints it."""
    try:
        yield
    except asyncio.CancelledError:
        raise KeyboardInterrupt(state) from None


@contextmanager
def cancelled_by_interrupt() -> Iterator[None]:
    """Make SIGINT and SIGTERM cancel the current task, which then says in which condition it leaves things.

    Signals within BURST_SECONDS count as one interrupt; a later one cancels once more.
    """
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    # So that the first signal counts, even while the clock is near 0.
    heard = -BURST_SECONDS

    def interrupt() -> None:
        nonlocal heard
        if loop.time() >= heard + BURST_SECONDS:
            heard = loop.time()
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            # From here on Ctrl-C is Python's KeyboardInterrupt again, for what runs after this without a task to
            # cancel.
            loop.remove_signal_handler(number)


@contextmanager
def _samples_to(args: Namespace) -> Iterator[Any]:
    """A live view on a terminal, else a line for each change."""
    if not args.json and sys.stdout.isatty():
        from virtiomem.vm.terminal import WatchScreen

        with WatchScreen() as screen:
            yield screen
    else:
        yield _print_json if args.json else _print_line


def _print_json(sample: Sample) -> None:
    if sample.changed:
        sys.stdout.write(printable_json(json_bytes(tables.sample_json(sample))) + "\n")
        # Into a pipe Python writes by the block: the reader of a quiet machine would hear of a change hours later.
        sys.stdout.flush()


def _print_line(sample: Sample) -> None:
    if sample.changed:
        stdio.show("".join(f"{line}\n" for line in tables.sample_lines(sample)))
        sys.stdout.flush()


def complain(views: Sequence[View]) -> int:
    """Print each machine's error; return 0 without any, 64 if some machines have one, else the first one's exit code."""
    errors = [view.error for view in views if view.error is not None]
    for error in errors:
        stdio.say(f"virtiomem: {error}")
    if not errors:
        return 0
    return errors[0].exit_code if len(errors) == len(views) else PARTLY


def finish_json(views: Sequence[View]) -> int:
    write_json({"vms": [tables.view_json(view) for view in views]})
    return complain(views)


def write_json(value: Any) -> None:
    sys.stdout.write(printable_json(json_bytes(value, indent=1)) + "\n")
