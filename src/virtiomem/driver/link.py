"""The driver's end of the wire: requests out, errnos back, the configuration space.

Models: virtio_mem_send_request() (drivers/virtio/virtio_mem.c, v6.1).
"""

from virtiomem.driver.outcome import errno_of
from virtiomem.errors import Errno
from virtiomem.transport.channel import RequestChannel
from virtiomem.units import U64_MAX
from virtiomem.wire.mem import CONFIG_SIZE, RESPONSE_SIZE, Config, RequestType, pack_request


class DeviceHungError(Exception):
    """The device never answered; Linux would wait forever. Never leaves the driver."""


class Link:
    """One device as bytes. Sizes and addresses are bytes."""

    def __init__(self, channel: RequestChannel) -> None:
        self.channel = channel
        self._response = bytes(RESPONSE_SIZE)

    def config(self) -> Config:
        """The configuration space; what the device leaves out reads as zeros."""
        return Config.unpack(self.channel.config()[:CONFIG_SIZE].ljust(CONFIG_SIZE, b"\0"))

    def send(self, kind: RequestType, addr: int, size: int, block_size: int) -> Errno:
        """Send one request and wait for the answer.

        The number of blocks is cut to 16 bits, as in Linux, which does not check it. A device that writes less than a
        response leaves the rest of the last one in the buffer. Raises DeviceHungError when nothing comes back.
        """
        # A device chooses its own region and block size: what they lead to is cut to the wire's fields, as in C.
        answer = self.channel.send(pack_request(kind, addr & U64_MAX, size // block_size & 0xFFFF))
        if not answer:
            raise DeviceHungError
        self._response = answer[:RESPONSE_SIZE] + self._response[len(answer) :]
        # Two bytes by hand: an unknown type has an errno here, where `Response.unpack` would refuse it.
        return errno_of(kind, self._response[0] | self._response[1] << 8)
