"""Sweeps that are played in milliseconds."""

import pytest

from virtiomem.sweep import Sweep, loads

TEXT = """
title = "small"
seeds = 4

[guest]
memory = "1G"
max-memory = "2G"
kernel = "6.12"

[[device]]
id = "vm0"
max-size = "1G"

[parameters]
policy = [
    { name = "kernel", guest.default-state = "online_kernel" },
    { name = "movable", guest.default-state = "online_movable" },
]
"workload.scatter" = [0.0, 1.0]

[workload]
seconds = 600
left-behind = 0.5
wanted = [{ at = 0, size = "512M" }, { at = 400, size = "0" }]

[[workload.processes]]
name = "slab"
kind = "unmovable"
size = "16M"
per-hour = 120
lifetime = 60
stop = 300
"""


@pytest.fixture
def small() -> Sweep:
    """Two policies, two scatters, four seeds: sixteen runs."""
    return loads(TEXT, source="small.toml")
