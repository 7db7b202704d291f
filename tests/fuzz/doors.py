"""Answers of libvirt, Firecracker and Cloud Hypervisor: whatever they say, each verb ends in time with one clear line."""

import copy
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from tests.fuzz.monitor import VERBS, check, complaints
from tests.fuzz.promise import ODD_NUMBERS, ODD_TEXTS, odd_value, run, spoil_values, spoiled
from tests.vm.doors.fake_libvirt import URI, Daemon, FakeDomain, FakeError, modules
from tests.vm.doors.machine import Played
from tests.vm.doors.servers import CloudHypervisorServer, FirecrackerServer, HttpServer, Reply
from virtiomem.vm import resize, watch
from virtiomem.vm.doors import agent_files, http, libvirt_host

MAX_SECONDS = 60.0
"""Far more than a verb takes with the limits below, on a machine that is busy with other things as well."""
LIMITS = (
    *((http, "ANSWER_SECONDS", 0.5), (http, "POLL_SECONDS", 0.02), (watch, "FIRST_RETRY_SECONDS", 0.05)),
    *((libvirt_host, "ANSWER_SECONDS", 0.5), (libvirt_host, "VERSION_SECONDS", 0.2)),
    *((libvirt_host, "OPEN_SECONDS", 2.0), (libvirt_host, "CLOSE_SECONDS", 0.3), (agent_files, "ANSWER_SECONDS", 0.5)),
    *((resize, "LAST_LOOK_SECONDS", 0.3), (resize, "ROLLBACK_SECONDS", 0.3)),
)
ATTACHING = (["attach", "MACHINE", "128M", "--dimm"], ["attach", "MACHINE", "1G"], ["detach", "MACHINE/vm0"])
MANNERS = ("is sound", "lies", "lies", "lies", "stammers", "stammers", "refuses", "is slow", "hangs up")


class HostileApi(HttpServer):
    """A VMM whose API answers in some manner."""

    manner = "is sound"
    random: Random

    def said(self, status: int, answer: Any) -> Reply:
        """What it says in place of an answer."""
        if self.random.random() < 0.5:
            return status, answer
        if self.manner == "refuses":
            status = self.random.choice((400, 404, 429, 500, 503, 302, 199, 204, 600, 999))
            words = self.random.choice(ODD_TEXTS) * self.random.choice((1, 99))
            return status, self.random.choice(
                ({"fault_message": words}, [words, words, words], [words, 1], words, None)
            )
        if self.manner == "lies":
            box = [copy.deepcopy(answer)]
            spoil_values(self.random, box)
            return status, self.random.choice((box[0] if box else None, odd_value(self.random)))
        return status, answer

    def written(self, status: int, text: bytes) -> bytes:
        data = super().written(status, text)
        match self.manner:
            case "stammers" if self.random.random() < 0.5:
                return spoiled(self.random, data)
            case "hangs up" if self.random.random() < 0.3:
                return data[: self.random.randrange(len(data))] + b"\0" * self.random.choice((0, 70_000))
            case "is slow":
                time.sleep(self.random.choice((0.0, 0.0, 0.05, 0.7)))
        return data


class HostileFirecracker(HostileApi, FirecrackerServer):
    """A Firecracker of some manner."""

    def answer(self, request: str, body: dict[str, Any]) -> Reply:
        return self.said(*FirecrackerServer.answer(self, request, body))


class HostileCloudHypervisor(HostileApi, CloudHypervisorServer):
    """A Cloud Hypervisor of some manner."""

    def answer(self, request: str, body: dict[str, Any]) -> Reply:
        return self.said(*CloudHypervisorServer.answer(self, request, body))


@contextmanager
def _api(kind: type[HostileApi], scheme: str, folder: Path, random: Random, manner: str) -> Iterator[list[str]]:
    names = ("vm0", "vm1")[: random.choice((1, 2)) if kind is HostileCloudHypervisor else 1]
    played = Played(folder, *names)
    server = kind(folder / "api.sock", played)
    server.random, server.manner = random, manner
    try:
        yield ["-c", f"{scheme}:{server.path}"]
    finally:
        server.close()
        played.close()


class HostileDomain(FakeDomain):
    """A domain of which libvirt reports impossible values."""

    random: Random
    manner = "is sound"

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        text = super().XMLDesc(flags)
        self._act()
        if self.manner == "stammers":
            return spoiled(self.random, text.encode()).decode(errors="replace")
        return self._lied(text) if self.manner == "lies" else text

    def state(self) -> list[int]:
        self._act()
        return [self.random.choice((0, 1, 3, 5, 7, 99, -1)), 0] if self.manner == "lies" else super().state()

    def jobStats(self) -> dict[str, int]:  # noqa: N802
        self._act()
        odd = self.random.choice(({}, {"type": 1, "operation": 99}, {"type": 2, "operation": 5}, {"operation": 2}))
        return odd if self.manner == "lies" else super().jobStats()

    def updateDeviceFlags(self, xml: str, flags: int) -> int:  # noqa: N802
        self._act()
        return super().updateDeviceFlags(xml, flags)

    def _act(self) -> None:
        """Refuse, or take a while, as this libvirt does."""
        if self.manner in {"refuses", "hangs up"} and self.random.random() < 0.3:
            words = self.random.choice(ODD_TEXTS) * self.random.choice((1, 99))
            code = self.random.choice((0, 1, 3, 38, 39, 42, 68, 84, 9999))
            raise FakeError(code, words, 7 if self.manner == "hangs up" else 10)
        if self.manner == "is slow":
            time.sleep(self.random.choice((0.0, 0.0, 0.05, 0.7)))

    def _lied(self, text: str) -> str:
        """Some of its quoted or enclosed words are others."""
        for _ in range(self.random.choice((1, 1, 2, 5))):
            start = self.random.randrange(len(text))
            opened = max(text.rfind("'", 0, start), text.rfind(">", 0, start)) + 1
            ends = [at for mark in "'<" if (at := text.find(mark, opened)) >= 0]
            odd = self.random.choice((*ODD_NUMBERS, *ODD_TEXTS))
            text = text[:opened] + odd + text[min(ends, default=len(text)) :]
        return text


@contextmanager
def _libvirt(folder: Path, random: Random, manner: str) -> Iterator[list[str]]:
    machines = {"one": Played(folder, "vm0"), "two": Played(folder, "vm0", "vm1")}
    hostile = type("_Domain", (HostileDomain,), {"random": random, "manner": manner})
    try:
        with (
            mock.patch("tests.vm.doors.fake_libvirt.FakeDomain", hostile),
            mock.patch.dict(sys.modules, modules(Daemon(**machines))),
        ):
            agent = ["--agent", "libvirt"] if random.random() < 0.3 else []
            yield random.choice((["-c", f"libvirt:{URI}/"], ["-c", f"libvirt:{URI}/one", *agent]))
    finally:
        for machine in machines.values():
            machine.close()


def trial(random: Random) -> None:
    """Ask a machine behind some door, of some manner, with some verb."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for module, name, seconds in LIMITS:
            stack.enter_context(mock.patch.object(module, name, seconds))
        door, manner = random.choice(("libvirt", "libvirt", "firecracker", "cloud-hypervisor")), random.choice(MANNERS)
        if door == "libvirt":
            where, device, machine = stack.enter_context(_libvirt(folder, random, manner)), "ua-vm0", "one"
            verb = random.choice((*VERBS, *ATTACHING))
        else:
            kind = HostileFirecracker if door == "firecracker" else HostileCloudHypervisor
            where = stack.enter_context(_api(kind, door, folder, random, manner))
            device, machine, verb = random.choice(("mem", "mem0")), "api", random.choice(VERBS)
        words = [word.replace("vm0", device).replace("MACHINE", machine) for word in verb if word != "-A"]
        limits = ["--timeout", "0.3", "--stall", "0.2"] if verb[0] == "resize" else []
        limits = ["--timeout", "0.3"] if verb[0] == "detach" else limits
        found = stack.enter_context(complaints())
        began = time.monotonic()
        ran = run("vm", *words, *limits, *where)
        seconds = time.monotonic() - began
    said = f"{door} that {manner}: vm {' '.join(words)} {' '.join(where)}"
    assert seconds < MAX_SECONDS, f"{said}: {seconds:.1f} s"
    assert not found, f"{said}: {found[:2]}"
    check(ran, said, verb)
    if verb[0] == "list" and ran.code == 1 and not where[1].endswith("/"):
        # Above it may stand the warning that libvirt's agent taints the domain, and no other.
        failures = [line for line in ran.err.splitlines() if "marks the domain as tainted" not in line]
        assert "\n".join(failures).count("virtiomem: ") == 1, f"{said}: {ran.err!r}"
