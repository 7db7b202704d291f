"""What a map shows as reserved for a crash kernel."""

import pytest

from virtiomem.kdump.reservation import no_dump
from virtiomem.resource import iomem

LOW = "00000000-0009ffff : System RAM\n"
RAM = "00100000-7fffffff : System RAM\n  01000000-01ffffff : Kernel code\n"
DEVICE = "100000000-1ffffffff : virtio0\n  100000000-13fffffff : System RAM (virtio_mem)\n"


def said(text: str, *, loaded: bool | None = None) -> list[str]:
    return no_dump(iomem.loads(text), loaded=loaded)


def test_sound_reservation_is_enough_once_a_crash_kernel_is_loaded() -> None:
    text = f"{RAM}  70000000-7effffff : Crash kernel\n"
    assert said(text) == []
    (sentence,) = said(text, loaded=False)
    assert sentence.startswith("no crash kernel is loaded (kexec -p)")


def test_loaded_crash_kernel_that_the_map_lacks_is_not_called_absent() -> None:
    (sentence,) = said(RAM, loaded=True)
    assert sentence.startswith("a crash kernel is loaded, and its memory is not in the map")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"{LOW}  00000000-00000000 : Crash kernel\n{RAM}", "00000000-00000000: one byte, which is how Linux prints"),
        (f"{RAM}  70000000-70000000 : Crash kernel\n", "70000000-70000000: one byte, which is how Linux prints"),
        (f"{RAM}  70000000-70ffffff : Crash kernel\n", "70000000-70ffffff: 16M is too little for a kernel and its"),
        (
            f"{RAM}{DEVICE}    110000000-11fffffff : Crash kernel\n",
            "110000000-11fffffff: inside System RAM (virtio_mem), which a driver added",
        ),
        (f"{RAM}90000000-9fffffff : Crash kernel\n", "90000000-9fffffff: in no System RAM, though Linux"),
    ],
)
def test_a_reservation_that_cannot_be_is_said(text: str, wrong: str) -> None:
    assert said(text)[0].startswith(f"Crash kernel {wrong}")
    assert len(said(text)) == 1 + ("one byte" in wrong), "one byte reserves nothing"


def test_low_reservation_may_be_small_where_there_is_a_high_one() -> None:
    text = RAM + "  02000000-02ffffff : Crash kernel\n  70000000-7effffff : Crash kernel\n"
    assert said(text) == []


def test_lines_that_are_wrong_alike_are_one_sentence() -> None:
    text = RAM + "".join(f"{at:x}0000000-{at:x}fffffff : Crash kernel\n" for at in range(8, 12))
    (sentence,) = said(text)
    assert sentence.startswith("Crash kernel 80000000-8fffffff and 3 more: in no System RAM")
