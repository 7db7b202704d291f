"""Listings of /proc/iomem: whatever the text, each reader gives a sound tree or one line that says why not."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz.promise import ROOT, check_line, run, spoiled
from virtiomem.errors import ListingError
from virtiomem.listing import repair
from virtiomem.listing.damage import Damage
from virtiomem.resource import iomem

SOUND = [path.read_bytes() for path in sorted(ROOT.glob("*/**/*.iomem")) if path.parts[-3] != ".venv"]
COMMANDS: tuple[list[str], ...] = (
    *(["iomem", "F"], ["iomem", "--lenient", "F"], ["iomem", "--lenient", "--merge", "--json", "F"]),
    *(["iomem", "--ram", "--lenient", "F"], ["iomem", "--raw", "F"], ["iomem", "--flat", "F"]),
    *(["iomem", "check", "F"], ["iomem", "check", "--lenient", "F"], ["iomem", "diff", "--lenient", "F", "G"]),
    *(["kdump", "--lenient", "F"], ["map", "--lenient", "F"], ["kdump", "F"], ["map", "--json", "F"]),
)

KEPT = (Damage.NAME, Damage.NO_NAME)
"""Kinds of damage that cannot be repaired: such a line is kept as it is, and reported whenever it is read."""


def trial(random: Random) -> None:
    """Read a spoiled listing with the library, and with a command."""
    sound = _nest(random) if random.random() < 0.1 else random.choice(SOUND)
    raw = spoiled(random, sound, random.choice(SOUND))
    strictly(raw)
    leniently(raw)
    with TemporaryDirectory() as folder:
        names = {"F": Path(folder, "f"), "G": Path(folder, "g")}
        names["F"].write_bytes(raw)
        names["G"].write_bytes(random.choice(SOUND))
        run(*(names.get(word, word) for word in random.choice(COMMANDS)))


def _nest(random: Random) -> bytes:
    """Resources one inside the other, the outermost up to the end of all addresses."""
    depth = int(2 ** random.uniform(0, 11))
    lines = (
        f"{'  ' * min(at, 5)}{at:08x}-{(1 << random.choice((32, 64))) - 1 - at:08x} : level\n" for at in range(depth)
    )
    return "".join(lines).encode()


def strictly(raw: bytes) -> None:
    """Hold the strict reader to its promises: the same bytes again, or one line that says why not."""
    try:
        tree = iomem.loads(raw)
    except ListingError as error:
        refused = error
    else:
        tree.check()
        whole = raw if not raw or raw.endswith(b"\n") else raw + b"\n"
        assert iomem.dumps(tree).encode("utf-8", "surrogateescape") == whole, "a listing comes back byte for byte"
        return
    assert 1 <= refused.line <= raw.count(b"\n") + 1, "a refusal names a line that is there"
    check_line(str(refused))


def leniently(raw: bytes) -> None:
    """Hold the lenient reader to its promises: a sound tree, whose text it reads as it is."""
    reading = repair.loads(raw)
    text = iomem.dumps(reading.tree)
    if reading.masked:
        assert iomem.dumps(iomem.loads(text, allow_masked=True)) == text, "an outline comes back"
        return
    reading.tree.check()
    again = repair.loads(text)
    left = [each.damage for each in again.repairs if each.damage not in KEPT]
    assert again.masked or not left, f"what was put right needs no repair, but {left}"
    assert iomem.dumps(again.tree) == text, "what was put right stays as it is"
