"""Results of tests against golden recordings as JSON, JUnit XML and a badge."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from virtiomem import badge, junit
from virtiomem.recording.describe import describe_guest
from virtiomem.scenario.golden import GoldenOutcome, GoldenResult


def counts(results: Sequence[GoldenResult]) -> dict[str, int]:
    """Count the tests of each outcome, without outcomes that no test had."""
    each = {outcome: sum(result.outcome is outcome for result in results) for outcome in GoldenOutcome}
    return {outcome.value: count for outcome, count in each.items() if count}


def to_dict(results: Sequence[GoldenResult]) -> dict[str, Any]:
    """The results as JSON has them."""
    return {
        "passed": all(result.outcome.passed for result in results),
        "counts": counts(results),
        "tests": [
            {
                "scenario": result.name,
                "golden": str(result.golden),
                "outcome": result.outcome.value,
                "what": result.what,
                "difference": asdict(result.difference) if result.difference else None,
                "notes": list(result.notes),
                "complaints": list(result.complaints),
                "guests": dict(zip(("golden", "played"), result.guests, strict=True)),
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def to_junit(results: Sequence[GoldenResult], name: str) -> bytes:
    """The results as JUnit XML: what was not played is an error, all else that is wrong a failure."""
    return junit.to_junit(name, [_case(result) for result in results])


def to_badge(results: Sequence[GoldenResult], name: str) -> bytes:
    """The counts as a badge (SVG)."""
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts(results).items())
    return badge.to_svg(name, counted, good=all(result.outcome.passed for result in results))


def players(results: Sequence[GoldenResult]) -> str:
    """Name the guests that played: ``Linux 6.1.0-56-cloud-amd64 on QEMU 7.2.22 (tcg)``; empty when none did."""
    return ", ".join(dict.fromkeys(describe_guest(played) for result in results if (played := result.guests[1])))


def _case(result: GoldenResult) -> junit.JunitCase:
    fault = None
    if not result.outcome.passed:
        tag = "error" if result.outcome is GoldenOutcome.NOT_PLAYED else "failure"
        beside = result.difference
        lines = [f"golden: {beside.a}", f"played: {beside.b}"] if beside else []
        fault = junit.Fault(tag, result.what, result.outcome.value, "\n".join(lines))
    path = Path(result.name)
    # `.` would be no name for what CI tools show as a package.
    package = str(path.parent) if path.parent != Path() else Path.cwd().name
    output = "\n".join([*([] if fault else [result.what]), *_notes(result)])
    return junit.JunitCase(package, path.stem, fault, output, result.seconds, "\n".join(result.said))


def _notes(result: GoldenResult) -> list[str]:
    """Name the guests of a result, then its notes."""
    who = [
        f"{whose}: {describe_guest(guest)}"
        for whose, guest in zip(("golden", "played"), result.guests, strict=True)
        if guest
    ]
    return [*who, *result.notes, *result.complaints]
