"""Plain words: habits that make a sentence hard to read are found in prose, and in prose only.

Prose is every string and comment of the sources, the docstrings, messages, comments and test names of the tests, and the
pages outside their code blocks.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(chain((ROOT / "src").rglob("*.py"), (ROOT / "playground").glob("*.py"), (ROOT / "docs").glob("*.py")))
TESTS = sorted(path for path in chain((ROOT / "tests").rglob("*.py"), (ROOT / "benchmarks").rglob("*.py")))
PAGES = sorted(chain(*((ROOT / folder).rglob("*.md") for folder in ("docs", "examples")), ROOT.glob("*.md")))


class Habit(NamedTuple):
    """A habit, and what to write instead."""

    pattern: str
    instead: str


HABITS = {
    "is no X": Habit(
        r"(?<!there )\b(?:is|are|was|than is|it) no (?:[a-z-]+ )?"
        r"(?:power|multiple|number|machine|name|id|size|block|file|log|terminal|directory|error|request|listing|text|byte|whole"
        r"|change|time|use|node|device|such|RAM)\b",
        "is not a X; `there is no X` is plain",
    ),
    "none without a noun": Habit(
        r"\b(?:what is none|is none\b(?! of)|are none\b|when it is none)|None when (?:there|it) (?:is|are|has) none",
        "None when no timer is armed",
    ),
    "an actor without a name": Habit(
        r"\b(?:[Nn]obody|[Ss]omebody|[Ww]hoever|[Ww]hose (?:are|is)|who (?:reads|became|is it))\b",
        "name it: the driver, another client, the caller, user space; or a passive, or `unused`",
    ),
    "old adverbs": Habit(
        r"\b(?:for ever|hence|thereby|besides|beside|foretell|afresh|anew|as it likes|as they like|to the letter|mended?"
        r"|for want of|in so many)\b",
        "forever, again, next to, in addition to, predict, exactly, repair, for lack of",
    ),
    "that cannot be": Habit(
        r"\b(?:that|when it|where that) can(?:not)? be(?=[.,;:)\"]|$)|\bcannot be[.;,]",
        "an impossible X, or what is wrong with it",
    ),
    "of it, of which": Habit(
        r"\b(?:nothing|more|what) of (?:it|them|that)\b|, of which\b",
        "two sentences, or `whose`, or the part by its name",
    ),
    "told, says of": Habit(
        r"\b(?:is|are|was|be|not|never) told\b|\bsa(?:id|y|ys) of\b|\btells? (?:of|nothing|nowhere)\b|\bto be said\b",
        "is notified, reports, says about",
    ),
    "so many, as far as, but for": Habit(
        r"\b(?:so many|so much|as far as|but for|nothing but|all but)\b(?! [^.;:]*\bthat\b)",
        "the parameter by its name, where, except, only; `so many that` is plain",
    ),
    "a line a device": Habit(
        r"\b(?:a|one) (?!that\b|than\b|in\b|of\b|for\b|to\b|with\b|or\b|without\b)[a-z]+ (?:a|one) "
        r"(?:line|device|node|check|block|resource|step|command|CPU|moment|row|unit|machine|byte|cell)\b",
        "a line per device",
    ),
}
"""Each as a reviewer counted it; narrower where plain English has the same words."""

OPENING = re.compile(r'(?:\A|^[^\n#]*:\n)\s*r?"""((?:What|Where|Which|Whether|Who|How) [a-z][^\n]*)', re.MULTILINE)
"""A function's docstring begins with a verb, that of a class or module with its noun; a constant may be `What X is`."""

EXCEPTIONS = {
    "the test of these words": (Path(__file__), r".*"),
    "the test of the reasons' words": (ROOT / "tests/test_reasons.py", r"nobody\|somebody"),
    "the user `nobody`": (ROOT / "tests/real/libvirtd.py", r"runs as nobody"),
    "an id, and a socket, that nothing answers": (ROOT / "tests", r"\"nobody\"|/nobody\b"),
    "an f-string's code, one token before Python 3.12": (ROOT / "src", r"\{beside[.}]"),
}


def said(text: str) -> Iterator[tuple[int, str]]:
    """The prose of a file of Python: number and text of each line in a string or a comment, and names of tests."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.STRING, tokenize.COMMENT} or tokenize.tok_name[token.type] == "FSTRING_MIDDLE":
            yield from enumerate(token.string.splitlines(), token.start[0])
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def written(text: str) -> Iterator[tuple[int, str]]:
    """The prose of a page: its lines outside code blocks."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        inside ^= line.lstrip().startswith("```")
        if not inside:
            yield number, line


def is_excepted(path: Path, line: str) -> bool:
    return any(path.is_relative_to(where) and re.search(words, line) for where, words in EXCEPTIONS.values())


@pytest.mark.parametrize("paths", [SOURCES, TESTS, PAGES], ids=["sources", "tests", "pages"])
def test_sentences_are_plain(paths: list[Path]) -> None:
    found = []
    for path in paths:
        text = path.read_text()
        # Most files have none of them, wherever: only the others are taken apart.
        habits = [habit for habit in HABITS.values() if re.search(habit.pattern, text.replace("_", " "), re.MULTILINE)]
        for number, line in ((written if path.suffix == ".md" else said)(text)) if habits else ():
            found += [
                f"{path.relative_to(ROOT)}:{number}: {line.strip()}\n    instead: {habit.instead}"
                for habit in habits
                if re.search(habit.pattern, line) and not is_excepted(path, line)
            ]
    assert not found, "\n".join(["", *found])


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[1]}" for path in SOURCES for match in OPENING.finditer(path.read_text())
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    ("line", "habit"),
    [
        ("4M is no multiple of 128M", "is no X"),
        ("None when there is none", "none without a noun"),
        ("nobody reads it", "an actor without a name"),
        ("it waits for ever", "old adverbs"),
        ("raises UsageError for a size that cannot be.", "that cannot be"),
        ("blocks, of which two are online", "of it, of which"),
        ("the driver is told", "told, says of"),
        ("all but the last", "so many, as far as, but for"),
        ("a line a device", "a line a device"),
    ],
)
def test_each_habit_is_seen(line: str, habit: str) -> None:
    assert [name for name, one in HABITS.items() if re.search(one.pattern, line)] == [habit]


@pytest.mark.parametrize(
    "line",
    [
        "there is no device",
        "so many blocks that two do not fit",
        "one for a node",
        "is no longer",
        "that cannot be read",
    ],
)
def test_plain_english_is_left_alone(line: str) -> None:
    assert not [name for name, habit in HABITS.items() if re.search(habit.pattern, line)]
