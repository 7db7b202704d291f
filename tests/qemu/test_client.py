"""The bounded client: what its library leaves behind, and what is not the library's."""

import asyncio

import pytest

from virtiomem.qemu.client import _handle


@pytest.mark.parametrize(
    ("message", "shown"),
    [("_GatheringFuture exception was never retrieved", False), ("Task exception was never retrieved", True)],
)
def test_what_the_library_gathered_is_left_out_and_nothing_else(
    message: str, shown: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def complain() -> None:
        asyncio.get_running_loop().set_exception_handler(_handle)
        asyncio.get_running_loop().call_exception_handler({"message": message})

    asyncio.run(complain())
    assert (message in caplog.text) is shown
