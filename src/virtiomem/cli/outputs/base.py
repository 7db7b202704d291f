"""Parts that the outputs have in common."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from virtiomem.reasons import Certainty

Natural = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Hex = Annotated[str, Meta(pattern="^[0-9a-f]+$")]


class Printed(Struct, rename="kebab"):
    """A JSON object; a key that may be left out is UNSET by default."""


class FromMap(Printed, kw_only=True):
    """The reading of a map; `at-least` is there, and true, when something of the map may be missing."""

    at_least: Literal[True] | UnsetType = UNSET


class ReasonOutput(Printed, kw_only=True):
    """Why memory is not there, or does not go: `reason` is the kind, `values` its facts (docs/reasons.md)."""

    certainty: Certainty
    text: str
    device: str | None
    reason: str
    values: dict[str, Any]


class Findings(Printed, kw_only=True):
    """Reasons in a capture why memory is not there, or does not go."""

    source: str
    findings: list[ReasonOutput]
