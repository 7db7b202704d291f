"""Guess properties of a machine from its map alone."""

from virtiomem.architecture import ARCHITECTURES, DEFAULT, Architecture
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.resource.node import Resource


def guess_architecture(root: Resource) -> Architecture:
    """The architecture by the names in a map; the usual one where nothing speaks for another."""
    nested = any(node.name == "reserved" and node.parent and node.parent.name == SYSTEM_RAM for _, node in root.walk())
    return next((row for row in ARCHITECTURES if nested and row.reserves_inside_ram), DEFAULT)
