"""What a wheel has in addition to the package: the man pages, where `make man` has made them."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):
    """Put the pages where pip and pipx install them so that man finds them: share/man/man1 of the environment."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the pages; an editable install has none, for they would be out of date tomorrow."""
        if version != "editable":
            pages = Path(self.root, "build/man").glob("*.1")
            build_data["shared_data"] |= {str(page): f"share/man/man1/{page.name}" for page in pages}
