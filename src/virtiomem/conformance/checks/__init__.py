"""The checks, by what they look at; importing this package registers them all.

registry       which check sees which rule
configuration  configuration, initialization, contents, resets
requests       PLUG, UNPLUG, UNPLUG ALL, STATE, and what the uapi header says
queue          what every virtio device owes
hostile        drivers that are clumsy or mean harm
"""

from virtiomem.conformance.checks import configuration, hostile, queue, requests
from virtiomem.conformance.checks.registry import CHECKS, Check

__all__ = ["CHECKS", "Check", "configuration", "hostile", "queue", "requests"]
