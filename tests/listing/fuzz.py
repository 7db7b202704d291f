"""Coverage-guided fuzzing of both readers of /proc/iomem: python tests/listing/fuzz.py [libFuzzer options] [CORPUS]

Whatever the bytes: the strict reader gives a sound tree whose text is the bytes, or refuses in one line; the lenient reader
gives a sound tree, and what that prints is a sound listing, which it reads again without a repair.
"""

import sys

import atheris

with atheris.instrument_imports(include=["virtiomem"]):
    from virtiomem.errors import ListingError
    from virtiomem.listing import repair
    from virtiomem.resource import iomem


def strictly(raw: bytes) -> None:
    try:
        tree = iomem.loads(raw)
    except ListingError as error:
        refused = error
    else:
        tree.check()
        whole = raw if not raw or raw.endswith(b"\n") else raw + b"\n"
        assert iomem.dumps(tree).encode("utf-8", "surrogateescape") == whole, "a listing comes back byte for byte"
        return
    assert "\n" not in str(refused), "a refusal is one line"
    assert 1 <= refused.line <= raw.count(b"\n") + 1, "a refusal names a line that is there"


def leniently(raw: bytes) -> None:
    reading = repair.loads(raw)
    text = iomem.dumps(reading.tree)
    if reading.masked:
        assert iomem.dumps(iomem.loads(text, allow_masked=True)) == text, "an outline comes back"
        return
    reading.tree.check()
    again = repair.loads(text)
    assert again.masked or not again.repairs, "what was put right needs no repair"
    assert iomem.dumps(again.tree) == text, "what was put right stays as it is"


def one(raw: bytes) -> None:
    strictly(raw)
    leniently(raw)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
