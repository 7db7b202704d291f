"""What `--json` prints, verb by verb: the types that the JSON Schemas are made from.

The test suite holds every output that any test makes against its schema. Sizes and addresses are bytes, times are seconds.
A version may get more keys; a key that goes, or comes to mean something else, makes the next one.

base        what the outputs have in common
maps        iomem, map, kdump, read
recordings  report, compare, test, sweep
machines    vm, plan, capture, blocks
devices     device
"""

from dataclasses import dataclass
from inspect import cleandoc
from typing import Any

from msgspec import json

from virtiomem.cli.outputs import devices, machines, maps, recordings
from virtiomem.cli.outputs.base import Findings
from virtiomem.recording.values import Recording
from virtiomem.sweep.calibrate import Calibration
from virtiomem.units import U64_MAX, Size

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True)
class OutputForm:
    """Output of a verb: one of `types`, as its options say."""

    types: tuple[Any, ...]
    version: int = 1


def _prints(*types: Any) -> OutputForm:
    return OutputForm(types)


OUTPUTS: dict[str, OutputForm] = {
    "run": _prints(Recording),
    "compare": _prints(recordings.ComparisonOutput),
    "test": _prints(recordings.TestsOutput),
    "read": _prints(maps.FileOutput),
    "iomem": _prints(maps.MapTree, maps.FlatMap, maps.RamMap),
    "iomem check": _prints(maps.MapCheck),
    "iomem diff": _prints(maps.MapDiff),
    "iomem watch": _prints(maps.MapWatch),
    "map": _prints(list[maps.DrawnResource]),
    "report": _prints(recordings.PageOutput),
    "kdump": _prints(maps.CrashOutput, maps.CrashComparison, maps.CrashAgainst, maps.CrashStanding),
    "capture": _prints(machines.CaptureOutput, list[machines.SourceOutput]),
    "blocks": _prints(machines.BlocksOutput, machines.DevicesOutput, machines.ShrinkOutput, Findings),
    "explain": _prints(Findings),
    "plan": _prints(machines.SetUpOutput),
    "sweep": _prints(recordings.SweepOutput),
    "calibrate": _prints(Calibration),
    "device check": _prints(devices.SuiteOutput),
    "device fuzz": _prints(devices.FuzzOutput),
    "device replay": _prints(list[devices.ReplayOutput]),
    "vm list": _prints(machines.MachinesOutput),
    "vm status": _prints(machines.MachinesOutput),
    "vm resize": _prints(machines.ResizeOutput, machines.ResizePlan),
    "vm attach": _prints(machines.MachinesOutput),
    "vm detach": _prints(machines.MachinesOutput),
    "vm watch": _prints(machines.WatchOutput),
    "vm explain": _prints(machines.StuckMachines, Findings),
    "schema": _prints(dict[str, dict[str, Any]]),
}
"""Every output by the words of its verb."""


def schema(verb: str) -> dict[str, Any]:
    """Return the JSON Schema of a verb's `--json` output, or of each line if the verb prints one object per line."""
    form = OUTPUTS[verb]
    found, components = json.schema_components(form.types, schema_hook=_custom, ref_template="#/$defs/{name}")
    head = {
        "$schema": DIALECT,
        "$id": f"urn:virtiomem:{verb.replace(' ', '-')}:{form.version}",
        "title": f"virtiomem {verb} --json",
    }
    one = found[0] if len(found) == 1 else {"anyOf": list(found)}
    made: dict[str, Any] = _clean(head | one | ({"$defs": components} if components else {}))
    return made


def _clean(value: Any) -> Any:
    """A schema whose descriptions are not indented as the docstrings that they are taken from, which Python does from
    3.13 on.
    """
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: cleandoc(one) if key == "description" and isinstance(one, str) else _clean(one)
        for key, one in value.items()
    }


def _custom(kind: type) -> dict[str, Any]:
    """The one type that msgspec does not know."""
    if kind is Size:
        return {"type": "integer", "minimum": 0, "maximum": U64_MAX}
    raise NotImplementedError(f"no schema for {kind}")
