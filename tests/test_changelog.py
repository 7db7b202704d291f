"""A release has one version, and the changelog knows it."""

import re
from pathlib import Path

from virtiomem import __version__

CHANGELOG = (Path(__file__).parents[1] / "CHANGELOG.md").read_text()


def test_newest_release_of_the_changelog_is_this_one() -> None:
    assert re.findall(r"(?m)^## \[([\d.]+)\]", CHANGELOG)[0] == __version__
