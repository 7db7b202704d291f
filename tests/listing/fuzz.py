"""Coverage-guided fuzzing of both readers of /proc/iomem: python -m tests.listing.fuzz [libFuzzer options] [CORPUS]

The promises are those of `tests.fuzz.listings`, whatever the bytes.
"""

import sys

import atheris

with atheris.instrument_imports(include=["virtiomem"]):
    from tests.fuzz.listings import leniently, strictly


def one(raw: bytes) -> None:
    strictly(raw)
    leniently(raw)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
