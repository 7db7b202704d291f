"""The architecture of a map: as its input says, or by a guess that is said."""

from virtiomem.architecture import DEFAULT, Architecture
from virtiomem.listing.guess import guess_architecture
from virtiomem.live.capture import Capture
from virtiomem.live.views import architecture_of
from virtiomem.resource.tree import ResourceTree
from virtiomem.stdio import warn


def architecture_taken(capture: Capture, tree: ResourceTree) -> Architecture:
    """Return the architecture that a capture names, or guess it from the map and say so on stderr."""
    if (said := architecture_of(capture)) is not None:
        return said
    guess = guess_architecture(tree)
    if guess is not DEFAULT:
        by = f"taken for {guess.family} by the names in its map"
        warn(f"{capture.source}: its architecture is not said: {by} (--arch)")
    return guess
