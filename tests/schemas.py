"""Every JSON output that a test makes is held against its schema, closed: a key that the schema does not name is a fault."""

import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import jsonschema

from virtiomem.cli.outputs import OUTPUTS, schema

_ASKS_JSON = re.compile(r"--json|-[A-Za-z]*J")
LINES = ("iomem watch", "vm watch")
"""Verbs that print an object a line."""

Run = Callable[[list[str]], int]


def checking(run: Run) -> Run:
    """The command line, whose JSON is checked once it has ended."""

    def checked(argv: list[str]) -> int:
        if not any(map(_ASKS_JSON.fullmatch, argv)):
            return run(argv)
        stdout, sys.stdout = sys.stdout, (printed := _Copy(sys.stdout))
        try:
            return run(list(argv))  # which takes an action out of it
        finally:
            sys.stdout = stdout
            check(argv, printed.copy.getvalue())

    return checked


def check(argv: Sequence[str], printed: str) -> None:
    """Hold what a command printed against the schema of its verb; nothing, from one that failed, is no JSON."""
    verb = " ".join(argv[:2]) if " ".join(argv[:2]) in OUTPUTS else argv[0]
    for text in printed.splitlines() if verb in LINES else [printed]:
        if text.strip():
            fault = _fault(verb, json.loads(text))
            assert fault is None, f"{' '.join(argv)}: {fault.json_path}: {fault.message}"


def _fault(verb: str, value: Any) -> Any:
    """What is wrong with an output, if anything is."""
    try:
        return jsonschema.exceptions.best_match(_validator(verb).iter_errors(value))
    except RecursionError:  # a listing that is nested 200 levels deep, to see that it is printed
        return None


class _Copy:
    """A stream that is written to, and keeps a copy."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.copy = io.StringIO()

    def write(self, text: str) -> int:
        self.copy.write(text)
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@cache
def _validator(verb: str) -> Any:
    closed = schema(verb)
    for part in _objects(closed):
        part.setdefault("additionalProperties", False)
    kind = jsonschema.validators.validator_for(closed)
    kind.check_schema(closed)
    return kind(closed)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema that names an object's keys."""
    if isinstance(value, dict):
        if value.get("type") == "object" and "properties" in value:
            yield value
        for one in value.values():
            yield from _objects(one)
    elif isinstance(value, list):
        for one in value:
            yield from _objects(one)
