"""The device that `device check`, `fuzz` and `replay` are about, as their options name it: QEMU's, a program's, an
object's, a guest's.
"""

import argparse
import shlex
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from virtiomem.cli.arguments import file, positive, refuse_unused, seconds
from virtiomem.qemu.process import BINARY
from virtiomem.text import quoted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from virtiomem.conformance.testbench import Target
    from virtiomem.status_line import StatusLine

BOOT_SECONDS = 120
"""What the boot of a guest may take."""


def add_qemu(add_argument: Callable[..., object], **default: str) -> None:
    """`--qemu`, with or without a program."""
    add_argument(
        "--qemu",
        nargs="?",
        const=BINARY,
        type=file,
        metavar="PATH",
        help="QEMU's device; PATH is the program, from $PATH by default",
        **default,
    )


def add_others(parser: argparse.ArgumentParser, add_argument: Callable[..., object]) -> None:
    """Devices of other programs and packages, one of them by `add_argument`, and what they need as well."""
    add_argument(
        "--command",
        dest="program",
        type=_command,
        metavar="PROG",
        help="the device of a program, with its arguments, that speaks JSON lines (docs/device-protocol.md)",
    )
    add_argument(
        "--boot",
        metavar="COMMAND",
        help="the device that a VMM gives its guests: COMMAND boots {kernel} with {initrd} and {append}, and its input and output "
        "are the guest's first serial port (docs/hands.md)",
    )
    add_argument(
        "--subject",
        type=_subject,
        metavar="MODULE:FACTORY",
        help="the devices of a Python object: what FACTORY() returns is a conformance.testbench.Target",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="what the program of --command has for each answer (default 10)",
    )
    booting = parser.add_argument_group("with --boot")
    booting.add_argument(
        "--kernel", metavar="FILE|RELEASE", help="the kernel for the guest; the newest in /boot by default"
    )
    booting.add_argument("--append", metavar="WORDS", help="more for the kernel's command line")
    booting.add_argument(
        "--console",
        metavar="unix:PATH|pty:PATH",
        help="where the guest's first serial port is, if not the command's own",
    )
    booting.add_argument(
        "--hands", metavar="FILE", type=file, help="the program for the guest (make hands), else compiled now"
    )
    booting.add_argument(
        "--boot-timeout",
        type=positive,
        default=BOOT_SECONDS,
        metavar="SECONDS",
        help=f"what a boot may take (default {BOOT_SECONDS})",
    )
    hook = booting.add_mutually_exclusive_group()
    hook.add_argument("--resize-command", metavar="COMMAND", help="sets the device's requested size to {size} bytes")
    hook.add_argument(
        "-c", "--connect", metavar="MACHINE", help="the same through a door of `vm`, such as qmp:/run/vm.sock"
    )


def _command(text: str) -> list[str]:
    """Read a program and its arguments, quoted as in a shell."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{quoted(text)}: {error}") from None
    if not words:
        raise argparse.ArgumentTypeError("an empty command")
    return words


def _subject(text: str) -> tuple[str, str]:
    """Read the name of a module and of what makes the target in it."""
    module, _, factory = text.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), factory)):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not MODULE:FACTORY")
    return module, factory


def maker(args: argparse.Namespace) -> "Callable[[], Target] | None":
    """Return a callable that opens the device named by an option; None when no option names one."""
    from virtiomem.conformance.messages import command_target
    from virtiomem.conformance.subject import load_target

    if args.boot is not None:
        refuse_unused({"--timeout": args.timeout}, "is for --command; --boot has --boot-timeout")
        return partial(_boot_target, args)
    booting = ("kernel", "append", "console", "hands", "resize_command", "connect")
    given = {f"--{name.replace('_', '-')}": getattr(args, name) for name in booting}
    refuse_unused(given | {"--boot-timeout": args.boot_timeout != BOOT_SECONDS}, "is for --boot")
    if args.program is not None:
        return partial(command_target, args.program, seconds=args.timeout)
    refuse_unused({"--timeout": args.timeout}, "is for --command")
    return partial(load_target, *args.subject) if args.subject is not None else None


def _boot_target(args: argparse.Namespace) -> "Target":
    """Boot the target of --boot. Raises UsageError for impossible options, BackendError if no device is reached."""
    from virtiomem.conformance.booted import BootTarget, CommandHook, Hook, expected_release
    from virtiomem.conformance.consoles import read_console
    from virtiomem.conformance.vmm import Vmm, read_command
    from virtiomem.files import read_bytes
    from virtiomem.guest import hands
    from virtiomem.guest.linux.kernels import choose_image

    command = read_command(args.boot)
    kernel = choose_image(args.kernel)
    architecture = hands.architecture_of(kernel)
    vmm = Vmm(
        command,
        kernel,
        read_bytes(args.hands) if args.hands else hands.build(architecture),
        architecture,
        args.append or "",
        read_console(args.console) if args.console is not None else None,
        float(args.boot_timeout),
    )
    hook: Hook | None = None
    if args.resize_command is not None:
        hook = CommandHook(args.resize_command)
    elif args.connect is not None:
        from virtiomem.vm.hook import DoorHook

        hook = DoorHook(args.connect)
    return BootTarget(vmm, hook, expected_release(command))


def opened(args: argparse.Namespace, progress: "StatusLine") -> "AbstractContextManager[Target]":
    """Open the target that the options name; `progress` shows what it waits for."""
    from virtiomem.conformance.targets import open_target

    progress.say("starting the device" if args.boot is None else "booting the guest that has the device")
    return open_target(args.qemu, maker(args))
