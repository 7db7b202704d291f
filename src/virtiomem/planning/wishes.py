"""Wishes of the user of `plan`."""

from dataclasses import dataclass
from typing import Literal

from virtiomem.device.board import MachineKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """A guest that can grow and shrink; sizes in bytes."""

    memory: int
    """What it boots with."""
    maximum: int
    """What it can have at most, boot memory included."""
    step: int | None = None
    """How much it grows at a time; None: all at once."""
    shrink: int = 0
    """How much it must be able to give back once it has all."""
    kernel: str | None = None
    machine: MachineKind = "q35"
    page_size: Literal["4K", "16K", "64K"] | None = None
    nodes: int = 1
    hugepage: int | None = None
    """The size of the host's hugepages that back it; None: none."""
    crashkernel: int | None = None
    address_bits: int = 40
    """Of the guest's CPU; QEMU's own models have 40."""
    vendor: Literal["amd", "intel"] = "amd"
    """Of the guest's CPU; QEMU's own models are AMD's."""
