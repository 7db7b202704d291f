"""A running Linux: what it says about its memory, collected and read back.

capture           the file that holds it
capture_json      its JSON form, read
sources           what is collected, and why
collect           collecting it, from a running system or from a copy of its files
script            capture.sh, which collects where there is no Python
sysfs             a million memory blocks read fast
block_lines       memory blocks as lines of a capture, in and out
kcore             the crash header where it lies in memory
kernel_tree       the resource tree as the kernel has it, out of a vmcore
crash_header      what the header of its crash kernel holds, if anything shows it
views             a capture's sections as values
captured_devices  its virtio-mem devices: where each is and what is plugged
reading           whatever describes a Linux: recognised, and read as a capture
linux             the memory of a running Linux as objects: virtiomem.LiveLinux
metrics           the same for Prometheus
kinds             the kinds of it: listings, lsmem, logs, dumps, …
load              a recording as a capture, a capture as a snapshot
start             a guest that starts from a capture
export            a guest as files that lsmem and others read
lsmem             memory blocks as lsmem shows them
shrink            what the driver would take away to shrink a device
device_text       virtio-mem's part of the memory blocks, as text and JSON
"""
