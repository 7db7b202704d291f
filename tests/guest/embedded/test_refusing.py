"""Another notifier that refuses: the driver goes on as a real one does next to memory-notifier-error-inject."""

from virtiomem import scenario
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.recording.values import Load, Reboot, Refuse, Resize
from virtiomem.units import MiB, Size

GUEST = """
[guest]
kernel = "{kernel}"
default-state = "online_movable"
[driver]
force-bbm = {bbm}
[[device]]
id = "vm0"
max-size = "1G"
"""


def loaded(kernel: str = "6.12", *, bbm: bool = False) -> EmbeddedGuest:
    guest = scenario.embedded_guest(scenario.loads(GUEST.format(kernel=kernel, bbm=str(bbm).lower())))
    guest.play(Load())
    return guest


def resize(size: int) -> Resize:
    return Resize(device="vm0", requested_size=Size(size * MiB))


def states(guest: EmbeddedGuest) -> list[str]:
    return [block.state for block in guest.snapshot().memory_blocks if block.block >= 48]


def test_blocks_stay_offline_while_online_is_refused_and_no_longer() -> None:
    guest = loaded()
    guest.play(Refuse(event="online", error="ENOMEM"))
    assert guest.play(resize(256)).settled
    assert states(guest) == ["offline", "offline"]
    guest.play(Refuse(event="online", error="OK"))
    guest.play(resize(384))
    assert states(guest) == ["offline", "offline", "online"]
    guest.check()


def test_emptied_blocks_remain_while_offline_is_refused() -> None:
    guest = loaded()
    guest.play(resize(256))
    guest.play(Refuse(event="offline"))
    assert guest.play(resize(0)).settled
    assert states(guest) == ["online", "online"]
    guest.check()


def test_an_errno_that_the_old_driver_does_not_know_breaks_a_device_of_big_blocks() -> None:
    for kernel, retried in (("6.1", False), ("6.12", True)):
        guest = loaded(kernel, bbm=True)
        guest.play(resize(256))
        guest.play(Refuse(event="offline", error="EPERM"))
        assert isinstance(guest.play(resize(0)).retry_in, float) is retried


def test_a_fresh_kernel_refuses_nothing() -> None:
    guest = loaded()
    guest.play(Refuse(event="online"))
    guest.play(Reboot())
    guest.play(Load())
    guest.play(resize(128))
    assert states(guest) == ["online"]
