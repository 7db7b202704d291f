"""What holds a device up, in the words that a user reads."""

from typing import Any

import pytest

from virtiomem import scenario
from virtiomem.guest.embedded import EmbeddedGuest

HEAD = """
[guest]
memory = "4G"
default-state = "{state}"
[driver]
{driver}
[[device]]
id = "vm0"
max-size = "{size}"
block-size = "{block}"
[[step]]
do = "load"
"""


def resize(size: str) -> str:
    return f'[[step]]\ndo = "resize"\ndevice = "vm0"\nrequested-size = "{size}"\n'


def step(do: str, **keys: Any) -> str:
    return f'[[step]]\ndo = "{do}"\n' + "".join(f"{key} = {value}\n" for key, value in keys.items())


def held_up(steps: str, state: str = "online_movable", driver: str = "", size: str = "4G", block: str = "2M") -> Any:
    loaded = scenario.loads(HEAD.format(state=state, driver=driver, size=size, block=block) + steps)
    guest = EmbeddedGuest(loaded.guest, loaded.driver, loaded.devices, loaded.boot_iomem)
    return [guest.play(each) for each in loaded.steps][-1].held_up


def inject(error: str, times: int = 1) -> str:
    return step("inject", at='"request"', error=f'"{error}"', times=times)


@pytest.mark.parametrize(
    ("steps", "keys", "reason"),
    [
        (step("unload") + resize("1G"), {}, "vm0: no driver in the guest is bound to the device"),
        (
            resize("2G"),
            {"state": "offline"},
            "vm0: 1G of the added memory is offline; the driver adds more once this drops to 512M",
        ),
        (
            resize("2G") + step("set-state", blocks="[48, 49]", state='"online"'),
            {"state": "offline"},
            "vm0: 768M of the added memory is offline; the driver adds more once this drops to 512M",
        ),
        (
            resize("200M"),
            {"size": "200M"},
            "vm0: no whole 128M of the usable region is left for another block",
        ),
        (resize("3M"), {"block": "1M"}, "vm0: the missing 1M is less than the 2M that the driver moves at a time"),
        (
            resize("1G") + resize("0"),
            {"driver": "unplug-online = false"},
            "vm0: unplug_online is off: the driver unplugs offline memory only",
        ),
        (inject("BUSY") + resize("1G"), {}, "vm0: the device answered BUSY"),
        (
            inject("silence") + resize("1G"),
            {},
            "vm0: the device does not answer; the driver waits for the answer without a limit",
        ),
        (
            inject("ERROR") + resize("1G"),
            {},
            "vm0: the driver met an unknown error and has given up on the device until it is reloaded",
        ),
        (
            inject("garbage") + resize("1G"),
            {},
            "vm0: the last attempt ended with ENOMEM: the guest lacked memory, or the device's answer was unknown",
        ),
        (
            resize("128M") + step("use", id='"cache"', size='"3950M"') + resize("0"),
            {},
            "vm0: memory48 (Movable): 32768 movable pages of 'cache', and no room to move them to: 64.6M free, 2M taken by struct pages of added memory",
        ),
        (
            resize("128M") + step("inject", at='"remove"', error='"ENOMEM"') + resize("0") + resize("2M") + resize("0"),
            {},
            None,
        ),
    ],
)
def test_reason_is_named(steps: str, keys: dict[str, str], reason: str | None) -> None:
    found = held_up(steps, **keys)
    assert (found or None) == ([reason] if reason else None)
