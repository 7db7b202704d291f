"""`--model RELEASE`: which Linux is modelled, whatever a command's input says about it."""

import argparse

from virtiomem.releases.linux import LinuxRelease, known_release, stand_in
from virtiomem.releases.table import is_version
from virtiomem.stdio import warn
from virtiomem.text import quoted


def add_model(parser: argparse.ArgumentParser, otherwise: str) -> None:
    """`--model`; `otherwise` says where the release comes from without it."""
    parser.add_argument(
        "--model", metavar="RELEASE", type=_release, help=f"the Linux to model, such as 6.12 ({otherwise})"
    )


def release_for(asked: str | None, found: str | None) -> LinuxRelease | None:
    """The release that is asked for, else the one found; another that is modelled in its place is said."""
    version = asked or found
    if words := stand_in(version):
        warn(words)
    return known_release(version)


def _release(text: str) -> str:
    """A release of Linux by its version."""
    if not is_version(text):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not a release of Linux such as 6.12")
    return text
