"""Record of a guest as values: the one stream that the command line, `compare` and the reports read.

A recording of an embedded guest and one of a real Linux have the same shape.

values     the shape
json_file  JSON, in and out
folded     the shape of the file: what has changed, alike neighbours counted
sharing    one object for what is the same in many snapshots
request_runs  requests, alike ones counted
compare    whether two are the same, and the first difference
apart      what two boots may differ in: the kernel's and the firmware's own lines
complaints  lines in which a kernel complains of itself
describe   steps, requests and numbers as a person would say them
zoneinfo   /proc/zoneinfo, in and out
pages      what the pages of a memory block are, a letter for 2 MiB
page_use   what its pages are used for, counted
page_blocks  what the pageblocks of a zone are for
palette    one word, symbol and colour for each thing that happens
"""

from virtiomem.recording.json_file import dump, dumps, load, loads
from virtiomem.recording.values import (
    CrashHeader,
    DeviceInfo,
    DimmInfo,
    MemoryBlock,
    Recording,
    Request,
    Snapshot,
    Step,
    StepRecord,
    VirtioMemInfo,
    ZonePages,
)

__all__ = [
    "CrashHeader",
    "DeviceInfo",
    "DimmInfo",
    "MemoryBlock",
    "Recording",
    "Request",
    "Snapshot",
    "Step",
    "StepRecord",
    "VirtioMemInfo",
    "ZonePages",
    "dump",
    "dumps",
    "load",
    "loads",
]
