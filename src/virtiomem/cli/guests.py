"""Choose the guest that a command plays on, and add the options of the real one."""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from virtiomem.cli.arguments import file, refuse_unused, seconds
from virtiomem.errors import BackendError, ScenarioError, UsageError
from virtiomem.files import StrPath, within
from virtiomem.guest.base import Guest
from virtiomem.scenario import Scenario, embedded_guest
from virtiomem.text import shown

if TYPE_CHECKING:
    from pathlib import Path

    from virtiomem.guest.linux import Setup

Say = Callable[[str], None]

_ACCELS = ("auto", "kvm", "tcg")
_RELEASE = r"\d+\.\d[\w.+~-]*"


def add_guest_arguments(parser: argparse.ArgumentParser) -> None:
    """`--guest` and `--device`."""
    parser.add_argument(
        "--guest",
        choices=("embedded", "linux"),
        default="embedded",
        help="who plays: the guest in this process (default), or a stock Linux in QEMU",
    )
    parser.add_argument(
        "--device",
        choices=("embedded", "qemu"),
        default="embedded",
        help="whose virtio-mem devices the embedded guest drives: ours, or those of a real QEMU",
    )


def add_linux_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a real Linux; all of them default to what this machine has."""
    group = parser.add_argument_group("a real Linux", "in QEMU; each default is what this machine has")
    group.add_argument(
        "--kernel",
        type=_kernel,
        action=_OneKernel,
        metavar="FILE|RELEASE",
        help="an image, the tree that it was built in, or a release such as 6.1 to find in /boot (default: the newest there)",
    )
    group.add_argument(
        "--modules",
        type=_path,
        metavar="DIR",
        help="modules of --kernel (default: its build tree, else /lib/modules/RELEASE)",
    )
    group.add_argument(
        "--qemu", type=file, metavar="PROGRAM", help="QEMU (default: qemu-system-x86_64, or -aarch64 for a virt)"
    )
    group.add_argument("--busybox", type=_path, metavar="FILE", help="a static busybox (default: the one in PATH)")
    group.add_argument(
        "--accel", choices=_ACCELS, help="auto: kvm if a kernel really runs with it, else tcg (emulation)"
    )
    group.add_argument("--append", metavar="WORDS", help="more kernel parameters")
    group.add_argument("--console", type=file, metavar="FILE", help="keep the guest's console in FILE")
    group.add_argument("--timeout", type=seconds, metavar="TIME", help="for a boot, and for a step (default: 5m)")


class _OneKernel(argparse.Action):
    """Takes a kernel, and refuses a second: which of them was tested would not be seen."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, _: str | None = None
    ) -> None:
        if (first := getattr(namespace, self.dest)) is not None:
            parser.error(f"argument --kernel: given twice, {shown(first)} and {shown(values)}: one kernel plays")
        setattr(namespace, self.dest, values)


def _kernel(text: str) -> "Path | str":
    """A release when it reads as one (6.1, 6.12.117+deb12-cloud-amd64), else a file; ./6.1 is a file."""
    return text if re.fullmatch(_RELEASE, text) else _path(text)


def check_linux_arguments(args: argparse.Namespace, asked_by: str = "--guest linux") -> None:
    """Refuse options of the real Linux when another guest plays; `asked_by` is what asks for it."""
    device = getattr(args, "device", "embedded")
    # With --device qemu, --qemu names the QEMU whose devices the embedded guest drives.
    given = sorted(set(_linux_options(args)) - ({"qemu"} if device == "qemu" else set()))
    if args.guest != "linux" and given:
        raise UsageError(f"--{given[0]} is for {asked_by}")
    if args.guest == "linux" and device != "embedded":
        raise UsageError(f"--device {args.device} is for the embedded guest; a real Linux has QEMU's devices anyway")
    if args.guest == "linux":
        refuse_unused(
            {"--model": getattr(args, "model", None)}, "is for the embedded guest; a real Linux has its own release"
        )


def open_guest(played: Scenario, args: argparse.Namespace, say: Say) -> Guest:
    """Start the guest that `args` name; `say` receives what goes on."""
    if args.guest == "linux":
        return open_linux(played, args, say)
    if args.device == "qemu":
        from virtiomem.guest.embedded.qemu_devices import guest_on_qemu

        with _in_the_name_of(played):
            return guest_on_qemu(played.guest, played.driver, played.devices, played.boot_iomem, binary=args.qemu)
    return embedded_guest(played)


def open_linux(played: Scenario, args: argparse.Namespace, say: Say, *, pages: bool = False) -> Guest:
    """A real Linux for this scenario; see `LinuxGuest`."""
    from virtiomem.guest.linux import LinuxGuest, check_steps, needs_kexec

    setup = linux_setup(args)
    kexec = needs_kexec(played.steps)
    with _in_the_name_of(played):
        check_steps(played.steps)
        return LinuxGuest(
            played.guest, played.devices, played.driver, setup=setup, kexec=kexec, pages=pages, progress=say
        )


def check_kernels(args: argparse.Namespace, scenarios: Iterable[Scenario]) -> None:
    """Refuse a `--kernel` that none of these scenarios could boot. Raises UsageError."""
    from virtiomem.guest.linux import kernels

    for architecture in {played.guest.architecture for played in scenarios}:
        try:
            kernels.choose(args.kernel, args.modules, architecture)
        except BackendError as error:
            # Elsewhere a missing kernel is a fault of the machine; here the option is wrong.
            raise UsageError(error.message) from None


def linux_setup(args: argparse.Namespace) -> "Setup":
    """Return the kernel, QEMU and accelerator that the options name."""
    from virtiomem.guest.linux import Setup

    return Setup(**_linux_options(args))


def inputs_of(played: Scenario, args: argparse.Namespace) -> list[StrPath]:
    """The files that a scenario, and the guest that plays it, are read from."""
    named = [within(played.folder, each) for each in (played.guest.iomem, played.guest.capture) if each]
    kernel = None if isinstance(args.kernel, str) else args.kernel
    return [played.source, *named, *filter(None, (kernel, args.modules, args.busybox, args.qemu))]


def _path(text: str) -> "Path":
    from pathlib import Path  # not above: see files.StrPath

    return Path(file(text))


@contextmanager
def _in_the_name_of(played: Scenario) -> Iterator[None]:
    """Name the scenario's file in errors that a guest finds in a scenario."""
    try:
        yield
    except ScenarioError as error:
        raise error.of(played.source) from None


def _linux_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the given options of `guest.linux.Setup`."""
    names: Iterable[str] = ("kernel", "modules", "qemu", "busybox", "accel", "append", "console", "timeout")
    return {name: value for name in names if (value := getattr(args, name)) is not None}
