"""Write the comparison of the crash header with the map as text and as JSON's values."""

from collections.abc import Iterator
from typing import Any

from virtiomem.columns import align
from virtiomem.kdump.comparison import subtract
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.range_text import gone_text, range_text, range_values
from virtiomem.kdump.ranges import CrashRange, total
from virtiomem.kdump.standing import Standing
from virtiomem.units import format_approx, format_size, size_format

HEAD = ("RANGE", "SIZE", "RAM", "AT-LOADING", "NOW", "AFTER-NEXT")


def table(standing: Standing, *, in_bytes: bool = False, headings: bool = True) -> str:
    """A line for each piece of memory that is in the map or in the header: in which, and in which it was and will be."""
    size = size_format(in_bytes=in_bytes)
    lists = (standing.ram, standing.at_loading, standing.now, standing.after_next)
    pieces = standing.pieces()
    lacking = [set(pieces) if ranges is None else set(subtract(pieces, ranges)) for ranges in lists]
    sure = set(pieces) - set(subtract(pieces, standing.certain or []))
    rows: list[tuple[CrashRange, tuple[str, ...]]] = []
    for piece in pieces:
        words = [
            "?" if ranges is None else "-" if piece in lacks else "yes"
            for ranges, lacks in zip(lists, lacking, strict=True)
        ]
        # What is certain is known even where the rest of the header is not.
        words[2] = "yes" if piece in sure else words[2]
        # Pieces were cut wherever any list changes; where no word does, the line is one.
        joins = rows and rows[-1][1] == tuple(words) and rows[-1][0][1] + 1 == piece[0]
        start = rows.pop()[0][0] if joins else piece[0]
        rows.append(((start, piece[1]), tuple(words)))
    cells = [(range_text(piece), size(total([piece])), *words) for piece, words in rows]
    return align([*([HEAD] if headings else []), *cells], " >")


def said(standing: Standing, kernel: str) -> list[str]:
    """Return notes about the header, one sentence each; `kernel` names the kernel, as in `Linux 6.12`."""
    if standing.loaded is False:
        return []
    return [*_upkeep(standing, kernel), *_content(standing)]


def _upkeep(standing: Standing, kernel: str) -> Iterator[str]:
    """Yield sentences about who makes the header, and when."""
    if standing.loaded is None:
        yield "whether a crash kernel is loaded is not known; what follows is of a machine that has one"
    if standing.kept_up_to_date:
        yield (
            f"{kernel} makes the header again whenever a memory block is online or offline; a block that goes offline is"
            " still in it until the next one does"
        )
    elif standing.loader is Loader.KEXEC_TOOLS:
        yield "kexec-tools made the header at loading, and it stays as it is: memory that came since is lost in a crash"
    elif standing.kept_up_to_date is False:
        yield f"{kernel} leaves the header as it was made at loading: memory that came since is lost in a crash"
    else:
        yield f"whether {kernel} keeps the header up to date is not known: it depends on the system call that loaded it"


def _content(standing: Standing) -> Iterator[str]:
    """Yield sentences about what the header has and what it lacks."""
    missing, gone = standing.missing, standing.gone
    if missing is None or gone is None:
        yield "what the header holds now is not known: its memory could not be read"
        unsure = 0 if standing.certain is None else total(subtract(standing.ram, standing.certain))
        if unsure:
            yield f"{format_size(unsure)} of RAM, offline since it came, may not be in it; the rest is for certain"
        return
    if gone:
        yield f"{format_size(total(gone))} {gone_text('header')}"
    if not missing and not gone:
        yield "the header holds all RAM there is"


def summary(standing: Standing) -> str:
    """A header that is known, in a line: ``header of 4 ranges, 5.4G; 1G of RAM is not in it``."""
    now = standing.now or []
    words = [f"header of {len(now)} {'range' if len(now) == 1 else 'ranges'}, {format_approx(total(now))}"]
    words += [f"{format_size(total(gone))} of it is RAM no more"] if (gone := standing.gone) else []
    words += [f"{format_size(total(missing))} of RAM is not in it"] if (missing := standing.missing) else []
    return "; ".join(words)


def lacks(standing: Standing) -> str:
    """That a crash loses RAM, and the cure; empty where it does not, or that is unknown."""
    missing = total(standing.missing or [])
    if not missing:
        return ""
    # Any event of that kind makes the kernel write the header again, with all that is there.
    cure = "put a memory block online or offline, or load" if standing.kept_up_to_date else "load"
    return f"{format_size(missing)} of RAM is not in the header, a crash loses it: {cure} the crash kernel again (kexec -p)"


def values(standing: Standing, kernel: str, findings: list[str]) -> dict[str, Any]:
    """All of it as JSON's values; null is what is not known."""
    lists = {
        "ram": standing.ram,
        "at-loading": standing.at_loading,
        "now": standing.now,
        "certain": standing.certain,
        "after-next": standing.after_next,
        "missing": standing.missing,
        "gone": standing.gone,
    }
    return {
        "kernel": kernel,
        "loaded": standing.loaded,
        "syscall": standing.loader.syscall if standing.loader else None,
        "kept-up-to-date": standing.kept_up_to_date,
        **{name: None if ranges is None else range_values(ranges) for name, ranges in lists.items()},
        "said": said(standing, kernel),
        "findings": findings,
    }
