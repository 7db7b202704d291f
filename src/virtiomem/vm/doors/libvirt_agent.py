"""The guest agent of a libvirt domain behind `GuestView`: libvirt holds its socket, and passes questions on."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from virtiomem.errors import BackendError, BackendTimeout, ProtocolError
from virtiomem.qemu import validation
from virtiomem.qemu.validation import Shape, ValueKind
from virtiomem.text import one_line, shown
from virtiomem.vm.doors import agent_files
from virtiomem.vm.doors.agent_files import AgentPeer
from virtiomem.vm.doors.guest_agent import GuestAgent
from virtiomem.vm.doors.libvirt_host import MAX_WORDS, LibvirtHost, LibvirtRefused
from virtiomem.vm.doors.peer import LOOK_SECONDS, Refused
from virtiomem.vm.doors.sent import COMMANDS

THROUGH_LIBVIRT = "libvirt"
"""What stands in place of the agent's socket."""
TAINT = (
    "the guest agent is asked through libvirt, which marks the domain as tainted (custom guest agent control commands) "
    "until it stops"
)
INTERNAL_ERROR = 1
"""libvirt's code for what the guest agent itself has refused."""


class LibvirtAgent(GuestAgent):
    """The guest agent of a domain, asked through libvirt, which has synchronised with it."""

    def __init__(self, host: LibvirtHost, domain: Any, label: str) -> None:
        self._host, self._domain = host, domain
        self._label = f"{label}: agent"

    @asynccontextmanager
    async def _peer(self, seconds: float | None = None) -> AsyncIterator[AgentPeer]:
        seconds = LOOK_SECONDS if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                yield _AgentThroughLibvirt(self._host, self._domain, self._label)
        except TimeoutError:
            text = f"it has not answered everything in {seconds:g} s"
            raise BackendTimeout(text, connection=self._label) from None


class _AgentThroughLibvirt:
    """Questions to an agent as libvirt passes them on; `guest-sync-delimited` is libvirt's own and would break it."""

    def __init__(self, host: LibvirtHost, domain: Any, label: str) -> None:
        self._host, self._domain, self._label = host, domain, label

    async def ask(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        shape: type[Shape] | ValueKind[Shape],
        seconds: float | None = None,
    ) -> Shape:
        """Execute a command and return its answer as a `shape`; raises as `peer.Peer.ask` does."""
        import libvirt_qemu

        assert command in COMMANDS, command

        question = json.dumps({"execute": command} | ({"arguments": arguments} if arguments else {}))
        seconds = agent_files.ANSWER_SECONDS if seconds is None else seconds
        # libvirt counts whole seconds, and 0 would mean not to wait (VIR_DOMAIN_QEMU_AGENT_COMMAND_NOWAIT).
        asking = (libvirt_qemu.qemuAgentCommand, self._domain, question, max(int(seconds), 1), 0)
        try:
            # Ours ends later than libvirt's own limit, whose error says more.
            text = await self._host.call("virDomainQemuAgentCommand", *asking, seconds=seconds + 2)
        except LibvirtRefused as error:
            # By the code: texts are for people and may be translated.
            if error.code == INTERNAL_ERROR:  # the guest's own refusal
                raise Refused("GenericError", error.words) from None
            raise BackendError(error.words, connection=self._label) from None
        try:
            answer = json.loads(text)["return"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self.bad_answer(command, shown(text, 60)) from None
        try:
            return validation.read(answer, shape)
        except validation.Unsound as error:
            raise self.bad_answer(command, error) from None

    def bad_answer(self, command: str, why: object) -> ProtocolError:
        """The error for an impossible answer."""
        return ProtocolError(f"bad answer to {command}: {one_line(str(why), MAX_WORDS)}", connection=self._label)
