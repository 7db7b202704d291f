"""The architecture of a map: as its input says, or by a guess that is said."""

from virtiomem.architecture import DEFAULT, FAMILIES, Architecture
from virtiomem.listing.guess import guess_architecture, unlike_x86
from virtiomem.live.capture import Capture
from virtiomem.live.views import architecture_of
from virtiomem.resource.tree import ResourceTree
from virtiomem.stdio import warn
from virtiomem.text import shown


def architecture_taken(capture: Capture, tree: ResourceTree) -> Architecture:
    """Return the architecture that a capture names, else one guessed from the map; warn where the guess is in doubt."""
    if (said := architecture_of(capture)) is not None:
        return said
    named = capture.section("proc/sys/kernel").values.get("arch")
    # With a name that has no row, a guess by the map would contradict what the capture says.
    guess = DEFAULT if named else guess_architecture(tree)
    if guess is not DEFAULT:
        by = f"taken for {guess.family} by the names in its map"
        warn(f"{capture.source}: its architecture is not said: {by} (--arch)")
    elif why := f"its architecture is {shown(named)}" if named else unlike_x86(tree):
        known = " and ".join(FAMILIES)
        warn(
            f"{capture.source}: not a map of {guess.family}: {why}. Only {known} are known: it is taken for {guess.family} (--arch)"
        )
    return guess
