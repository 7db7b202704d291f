"""SVG to PNG, through a renderer that is installed."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from virtiomem.errors import BackendError, BackendTimeout

TIMEOUT = 60
"""Seconds; a browser takes about one."""


def render(svg: str) -> bytes:
    """A picture as PNG, twice as many pixels a side so that it stays legible.

    Raises BackendError when no renderer is installed, or the one that is fails.
    """
    for program, command in RENDERERS.items():
        if found := shutil.which(program):
            with tempfile.TemporaryDirectory(prefix="virtiomem-") as folder:
                source, target = Path(folder, "map.svg"), Path(folder, "map.png")
                source.write_text(svg, encoding="utf-8")
                _run([found, *command(source, target)])
                # A browser may exit with 0 and have written nothing.
                if target.is_file():
                    return target.read_bytes()
                raise BackendError(f"{found}: made no picture")
    raise BackendError(
        f"no renderer for PNG: install one of {', '.join(RENDERERS)} (Debian: librsvg2-bin, python3-cairosvg or chromium)"
    )


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise BackendTimeout(f"{command[0]}: no picture after {TIMEOUT} s") from None
    except OSError as error:
        raise BackendError(f"{command[0]}: {error.strerror}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackendError(f"{command[0]}: exit {done.returncode}{': ' + said[-1] if said else ''}")


def _rsvg(source: Path, target: Path) -> list[str]:
    return ["--zoom=2", f"--output={target}", str(source)]


def _cairosvg(source: Path, target: Path) -> list[str]:
    return ["--scale", "2", "--output", str(target), str(source)]


def _chromium(source: Path, target: Path) -> list[str]:
    """Options that give a browser the size, and keep it isolated."""
    box = re.search(r'viewBox="0 0 (\d+) (\d+)', source.read_text(encoding="utf-8"))
    width, height = (int(n) for n in box.groups()) if box else (800, 600)
    return [
        # --no-sandbox: as root, and in most containers, a browser does not start with one; the picture was made here.
        *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
        *("--disable-component-update", "--disable-sync", "--disable-quic", "--hide-scrollbars"),
        # Its own profile: a browser that is open already would take the job, and write nothing.
        f"--user-data-dir={source.parent / 'profile'}",
        "--force-device-scale-factor=2",
        f"--window-size={width},{height + 1}",
        f"--screenshot={target}",
        source.as_uri(),
    ]


RENDERERS: dict[str, Callable[[Path, Path], list[str]]] = {
    "rsvg-convert": _rsvg,
    "cairosvg": _cairosvg,
    "chromium": _chromium,
    "chromium-browser": _chromium,
    "google-chrome": _chromium,
}
"""Programs, smallest first, and their arguments."""
