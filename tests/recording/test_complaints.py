import pytest

from virtiomem.recording.complaints import is_complaint


@pytest.mark.parametrize(
    "line",
    [
        "WARNING: CPU: 0 PID: 9 at drivers/virtio/virtio_mem.c:2388 virtio_mem_run_wq+0x1f/0x40 [virtio_mem]",
        "WARNING: possible recursive locking detected",
        "BUG: KASAN: slab-out-of-bounds in virtio_mem_sbm_plug+0x12/0x34 [virtio_mem]",
        "BUG: unable to handle page fault for address: ffffea0006000000",
        "kernel BUG at mm/memory_hotplug.c:42!",
        "UBSAN: array-index-out-of-bounds in drivers/virtio/virtio_mem.c:7:9",
        "Oops: 0002 [#1] PREEMPT SMP NOPTI",
        "general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] SMP",
    ],
)
def test_what_a_kernel_finds_wrong_in_itself_is_a_complaint(line: str) -> None:
    assert is_complaint(line)


@pytest.mark.parametrize(
    "line",
    [
        "virtio_mem virtio0: unknown error, marking device broken",
        "Spectre V2 : WARNING: Unprivileged eBPF is enabled",
        "watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:1]",
        "INFO: task sh:1 blocked for more than 120 seconds.",
        "Memory failure: 0x180000: recovery action for free buddy page: Recovered",
    ],
)
def test_what_the_driver_says_or_a_busy_host_brings_about_is_no_complaint(line: str) -> None:
    assert not is_complaint(line)
