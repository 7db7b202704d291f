"""The driver in a crash kernel: it adds nothing, it only says which pages of the crashed kernel may be read.

Models: virtio_mem_init_kdump(), virtio_mem_vmcore_pfn_is_ram() (drivers/virtio/virtio_mem.c, v6.1).
"""

from virtiomem.driver.link import Link
from virtiomem.errors import ProtocolError
from virtiomem.transport.channel import RequestChannel
from virtiomem.units import align_down
from virtiomem.wire.mem import RESPONSE_SIZE, Request, RequestType, Response, ResponseType, State


class VmcoreDriver:
    """One device in a crash kernel; addresses in bytes."""

    def __init__(self, channel: RequestChannel) -> None:
        """Probe: plugged_size is read once, and never again."""
        channel.reset()
        config = Link(channel).config()
        self._channel = channel
        self._addr = config.addr
        self._region_size = config.region_size
        # A device may say 0, and addresses are divided by it.
        self._block_size = max(config.block_size, 1)
        self._plugged_size = config.plugged_size
        self._last_block = 0
        self._last_plugged = False

    def is_ram(self, address: int) -> bool:
        """Return whether the page at `address` may be read; pages outside the region are not ours to forbid.

        The device is asked only when the block differs from the last one. Whatever goes wrong: not RAM.
        """
        if not self._addr <= address < self._addr + self._region_size:
            return True
        if not self._plugged_size:
            return False
        block = align_down(address, self._block_size)
        if block != self._last_block:
            self._last_plugged = self._ask(block)
            self._last_block = block
        return self._last_plugged

    def _ask(self, block: int) -> bool:
        answer = self._channel.send(Request(RequestType.STATE, block, 1).pack())
        try:
            response = Response.unpack(answer[:RESPONSE_SIZE])
        except ProtocolError:
            return False
        return response == Response(ResponseType.ACK, State.PLUGGED)
