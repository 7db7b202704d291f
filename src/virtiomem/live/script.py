"""A shell program that captures where there is no Python: capture.sh, and a call for every source there is."""

from importlib.resources import files
from shlex import quote

from virtiomem.live.capture import END, FORMAT
from virtiomem.live.sources import MEMORY_FILES, SOURCES, SectionSource

_JOINED = ("lines", "words", "log")
"""Kinds whose words go into one argument."""


def text(version: str) -> str:
    """The whole program; `version` is what its captures say about their maker."""
    body = (files("virtiomem.live") / "capture.sh").read_text(encoding="utf-8")
    body = body.replace("@FORMAT@", FORMAT).replace("@VERSION@", version).replace("@END@", END)
    calls = "".join(f"{_call(source)}\n" for source in SOURCES)
    return f"#!/bin/sh\n{body}{calls}finish\n"


def _call(source: SectionSource) -> str:
    """The line that takes one source."""
    what = MEMORY_FILES if source.kind == "blocks" else source.what
    words = ["|".join(what)] if source.kind in _JOINED else list(what)
    condition = f"asked {source.heading} && " if source.on_request else ""
    return condition + " ".join((f"take_{source.kind}", *map(quote, (source.heading, *words))))
