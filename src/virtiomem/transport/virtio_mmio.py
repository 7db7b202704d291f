"""A virtio-mem device of memory-mapped registers (virtio specification 4.2), as Firecracker and QEMU's microvm have them."""

from virtiomem.errors import ProtocolError
from virtiomem.qemu.qtest import QTest
from virtiomem.transport.register_transport import Register, RegisterTable, RegisterTransport
from virtiomem.transport.virtio_transport import Read
from virtiomem.wire.mem import DEVICE_ID
from virtiomem.wire.mmio import MAGIC, VERSION, Mmio


class VirtioMmioTransport(RegisterTransport):
    """A `transport.virtio_transport.VirtioTransport` to the registers at an address."""

    def __init__(self, qtest: QTest, base: int, memory: Read) -> None:
        """Look whether a device is there; raises ProtocolError when it is not a modern virtio-mem device."""

        def at(register: Mmio) -> Register:
            return Register(base + register)

        identity = (at(Mmio.MAGIC_VALUE), at(Mmio.VERSION), at(Mmio.DEVICE_ID))
        found = tuple(qtest.run([register.get() for register in identity]))
        # Version 1 has other registers in the same places, so that driving it would write anywhere.
        if found != (MAGIC, VERSION, DEVICE_ID):
            raise ProtocolError(
                f"virtio-mmio at {base:#x}: magic, version and device are {', '.join(f'{value:#x}' for value in found)}, "
                f"not {MAGIC:#x}, {VERSION:#x}, {DEVICE_ID:#x}"
            )
        registers = RegisterTable(
            device_feature_select=at(Mmio.DEVICE_FEATURES_SEL),
            device_feature=at(Mmio.DEVICE_FEATURES),
            driver_feature_select=at(Mmio.DRIVER_FEATURES_SEL),
            driver_feature=at(Mmio.DRIVER_FEATURES),
            status=at(Mmio.STATUS),
            generation=at(Mmio.CONFIG_GENERATION),
            queue_select=at(Mmio.QUEUE_SEL),
            queue_size_max=at(Mmio.QUEUE_NUM_MAX),
            queue_size=at(Mmio.QUEUE_NUM),
            queue_enable=at(Mmio.QUEUE_READY),
            desc=at(Mmio.QUEUE_DESC),
            driver=at(Mmio.QUEUE_DRIVER),
            device=at(Mmio.QUEUE_DEVICE),
            notify=at(Mmio.QUEUE_NOTIFY),
            isr=at(Mmio.INTERRUPT_STATUS),
            config=base + Mmio.CONFIG,
            acknowledge=at(Mmio.INTERRUPT_ACK),
        )
        super().__init__(qtest, registers, memory)
