"""Errors, split by whose fault they are.

::

    VirtiomemError            one clear line; never shown as a traceback by the command
    ├── UsageError            the input is wrong: a file, a key, an option             exit 2
    │   ├── ListingError      a /proc/iomem listing, with its line number
    │   │   └── MaskedListingError    one without addresses
    │   ├── ScenarioError     a scenario file, with table and key
    │   ├── ImpossibleWishError   what no set-up can do, with the number                   (planning.setup)
    │   └── ArgumentError     an argument of a library call
    │       ├── ArgumentKeyError      of the right kind, where nothing is; a KeyError, too
    │       ├── ArgumentTypeError     of the wrong kind; a TypeError, too
    │       └── ArgumentValueError    of the right kind, out of range; a ValueError, too
    ├── KernelError           the modelled kernel refused, with its errno              exit 1
    │   └── ResourceConflict  by another resource, which it names                      (resource.node)
    ├── DeviceError           QEMU's device refused a property or a placement          exit 1
    ├── DisprovedError        a guest did not do what was planned                      exit 1 (planning.proof)
    ├── PlanError             a wished size that a machine's devices cannot hold       exit 1 (vm.plan)
    ├── ProtocolError         a peer broke the wire protocol                           exit 1
    └── BackendError          the environment failed: QEMU, a socket, a real kernel    exit 1
        ├── BackendTimeout    it did not answer in time                                exit 124
        └── KernelPanic       a guest's kernel gave up                                 exit 1

A BackendError of a program has its last lines on standard error in `said`.

Errnos and device answers that the *caller decides on* are values (`Errno`, `wire.mem.ResponseType`), not exceptions.
"""

import re
from collections.abc import Sequence
from enum import IntEnum

from virtiomem.text import one_line


class Errno(IntEnum):
    """Linux error numbers, positive (include/uapi/asm-generic/errno-base.h, errno.h); `OK` is 0 and falsy."""

    OK = 0
    EPERM = 1
    ENOENT = 2
    EINTR = 4
    EIO = 5
    ENXIO = 6
    E2BIG = 7
    EAGAIN = 11
    ENOMEM = 12
    EBUSY = 16
    EEXIST = 17
    ENODEV = 19
    EINVAL = 22
    ETXTBSY = 26
    ENOSPC = 28
    EADDRNOTAVAIL = 99
    EHWPOISON = 133


OK = Errno.OK
"""What nearly every call of the heart returns: a name of a module is found ten times as fast as a member of an enum."""


class Exit(IntEnum):
    """Exit codes of the command."""

    DONE = 0
    FAILED = 1
    """Failed, or what was compared differs."""
    USAGE = 2
    PARTLY = 64
    """Some of it was done."""
    TIMED_OUT = 124
    UNTRIED = 125
    """What was to be tried could not be: `git bisect run` passes over it."""
    INTERRUPTED = 130
    NOBODY_READS = 141
    """The last two: what a shell reports of a program that SIGINT or SIGPIPE ended."""


class VirtiomemError(Exception):
    """The base of all errors raised on purpose; `str()` is one line fit for a person, whatever text is quoted in it.

    `connection` is the machine or peer that failed, where there is one: the line then begins with it. `message` is the rest.
    """

    exit_code = Exit.FAILED

    def __init__(self, message: str = "", *, connection: str | None = None) -> None:
        self.connection = connection
        # Kept apart from the connection: callers raise an error again in the name of another connection, or of none.
        self.message = message
        super().__init__(one_line(message if connection is None else f"{connection}: {message}"))


class UsageError(VirtiomemError):
    """The input is wrong."""

    exit_code = Exit.USAGE


class ListingError(UsageError):
    """A /proc/iomem listing cannot be read.

    `line` counts from 1; `reason` stands alone; `source` names the file when it is known.
    """

    def __init__(self, reason: str, *, line: int, source: str | None = None) -> None:
        self.reason = reason
        self.line = line
        self.source = source
        super().__init__(f"{source or 'iomem'}:{line}: {reason}")


class MaskedListingError(ListingError):
    """All addresses are hidden: the listing was read without CAP_SYS_ADMIN."""

    def __init__(self, *, source: str | None = None) -> None:
        super().__init__(
            "all addresses are zero, as an unprivileged reader sees them: read it as root", line=1, source=source
        )


class ScenarioError(UsageError):
    """A scenario file is wrong; `where` is the table and key, such as ``step[0].device``, said as ``step 1: device``."""

    def __init__(self, reason: str, *, where: str, source: str | None = None, line: int | None = None) -> None:
        self.reason = reason
        self.where = where
        self.source = source
        file = f"{source or 'scenario'}{'' if line is None else f':{line}'}"
        # `where` counts from 0, as `of` passes it on; people count from 1.
        counted = re.sub(
            r"^([\w.-]+)\[(\d+)\]\.?", lambda match: f"{match[1]} {int(match[2]) + 1}: ", where
        ).removesuffix(": ")
        counted = re.sub(r"\[(\d+)\]", lambda match: f", number {int(match[1]) + 1}", counted)
        super().__init__(": ".join(filter(None, (file, counted, reason))))

    def of(self, source: str, line: int | None = None) -> "ScenarioError":
        """The same complaint, naming the scenario file and the line."""
        return ScenarioError(self.reason, where=self.where, source=source, line=line)


class ArgumentError(UsageError):
    """An argument of a library call is invalid; nothing has changed."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of the wrong kind."""


class ArgumentValueError(ArgumentError, ValueError):
    """An argument is of the right kind, and no such value can be."""


class ArgumentKeyError(ArgumentError, KeyError):
    """An argument is of the right kind, and nothing is there."""

    __str__ = Exception.__str__  # KeyError's would put the line in quotes


class KernelError(VirtiomemError):
    """The modelled kernel refused; `errno` says how."""

    def __init__(self, errno: Errno, reason: str) -> None:
        self.errno = errno
        self.reason = reason
        super().__init__(f"{reason}: {errno.name}")


class DeviceError(VirtiomemError):
    """The device refused what its owner (QEMU's user) asked for."""


class ProtocolError(VirtiomemError):
    """A peer sent bytes that break the protocol."""


class BackendError(VirtiomemError):
    """Something outside this process is missing, died or misbehaved; `said`: its last lines, where it is a program that
    said any.
    """

    def __init__(self, message: str = "", *, connection: str | None = None, said: Sequence[str] = ()) -> None:
        self.said = tuple(said)
        super().__init__(message, connection=connection)


class BackendTimeout(BackendError):  # noqa: N818 - named for what happened, as TimeoutError is
    """Something outside this process did not answer in time."""

    exit_code = Exit.TIMED_OUT


class KernelPanic(BackendError):  # noqa: N818 - named for what happened
    """A guest's kernel gave up."""
