"""The page: one HTML file with everything in it."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from virtiomem import __version__
from virtiomem.notation import json_bytes, printable_json
from virtiomem.report.data import page_data
from virtiomem.report.moments import Source
from virtiomem.text import sound
from virtiomem.units import format_short, format_size

SCRIPTS = (
    "dom.js",
    "model.js",
    "axis.js",
    "map.js",
    "changes.js",
    "chart.js",
    "requests.js",
    "listing.js",
    "tables.js",
    "step.js",
    "view.js",
    "page.js",
)
"""In this order they are one module: each may use what stands before it."""


def page(sources: Sequence[Source]) -> str:
    """A self-contained page about one recording, or about two side by side.

    Raises ListingError when a snapshot's iomem text cannot be read.
    """
    import jinja2  # every command that draws on a terminal loads this package; the page alone needs templates

    data = page_data(sources)
    style, script = asset("page.css"), "\n".join(asset(name) for name in SCRIPTS)
    # StrictUndefined: a name that is misspelt in the template raises instead of leaving a gap in the page.
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(
        asset("page.html")
    )
    made = template.render(
        version=__version__,
        title=" / ".join(dict.fromkeys(recording["title"] for recording in data["recordings"])),
        sources=[_shown(recording, label) for recording, label in zip(data["recordings"], "AB", strict=False)],
        last_step=max(len(recording["steps"]) for recording in data["recordings"]) - 1,
        data=in_script(data),
        style=style,
        style_hash=csp_hash(style),
        script=script,
        script_hash=csp_hash(script),
    )
    # A name out of a damaged listing may hold half a character, which no file in UTF-8 can.
    return sound(made)


def page_json(sources: Sequence[Source]) -> str:
    """What `page` shows, as JSON: the same text that stands in the page."""
    return printable_json(json_bytes(page_data(sources)))


def asset(name: str) -> str:
    """One of the files that make the page."""
    return files("virtiomem.report").joinpath("assets", name).read_text(encoding="utf-8")


def csp_hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows an inline style or script; no other one runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def in_script(value: Any) -> str:
    """JSON that can stand in a script element whatever text is in it: nothing in it ends the element or begins a comment."""
    text = json_bytes(value).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _shown(recording: dict[str, Any], label: str) -> dict[str, Any]:
    """Return what the page shows of a recording without its script: its origin, and a table of all steps."""
    return {
        "label": label,
        "title": recording["title"],
        "provenance": list(_provenance(recording).items()),
        "steps": [_step(step) for step in recording["steps"]],
    }


def _provenance(recording: dict[str, Any]) -> dict[str, str]:
    known = {"linux": "a real Linux in QEMU", "embedded": "embedded (virtiomem's own model)"}
    guest = {
        key.replace("-", " ").capitalize(): str(value) for key, value in recording["guest"].items() if key != "kind"
    }
    kind = str(recording["guest"].get("kind", "unknown"))
    return {
        "Guest": known.get(kind, kind),
        **{("QEMU" if key == "Qemu" else key): value for key, value in guest.items()},
        **({"Recorded": recording["recorded"]} if recording["recorded"] else {}),
        "Memory block size": format_size(recording["block-size"]),
        "File": recording["source"],
    }


def _step(step: dict[str, Any]) -> dict[str, Any]:
    devices = [device for device in step["devices"] if device["type"] == "virtio-mem"]
    outcome = {True: "settled", False: "stopped short", None: ""}[step["settled"]]
    return {
        "title": step["title"],
        "outcome": f"refused: {step['error']}" if step["error"] else outcome,
        "requested": " + ".join(format_short(device["requested-size"]) for device in devices),
        "plugged": " + ".join(format_short(device["size"]) for device in devices),
        "requests": sum(run[-1] for run in step["requests"]),
        "facts": step["facts"],
    }
