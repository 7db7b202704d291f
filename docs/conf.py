"""The site that `make site` builds: the pages of docs/ as they are, and the public calls by their docstrings."""

import re
from pathlib import Path
from typing import Any

from virtiomem import __version__ as release

project = "virtiomem"
html_title = f"virtiomem {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["compatibility/*", "conformance/*"]  # the runs that tables are made of; texts that pages link to
html_theme = "furo"
html_show_copyright = False
html_copy_source = False

# Pages link as the repository's readers do: to a heading by the name that a forge gives it, and to files next to docs/.
myst_heading_anchors = 4
BESIDE = {
    "../ARCHITECTURE.md": "architecture.md",
    "../CHANGELOG.md": "changelog.md",
    "../examples/README.md": "examples.md",
}
EXAMPLES = Path(__file__).parents[1] / "examples"

suppress_warnings = ["misc.highlighting_failure"]  # a command on several lines, `…` where lines are left out

default_role = "literal"  # docstrings write `names` as the pages do
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100


def link_inside(_app: object, page: str, source: list[str]) -> None:
    """Point links to files that are pages of the site at those pages; behind a link to an example add one to the playground."""
    if page == "examples":  # the repository's page on them, which links from where it lies
        source[0] = re.sub(r"\]\((?!\.\./)", "](../examples/", (EXAMPLES / "README.md").read_text()).replace(
            "](../docs/", "]("
        )
    for path, other in BESIDE.items():
        source[0] = source[0].replace(f"]({path}", f"]({other}")
    source[0] = re.sub(r"(\[[^]]*\]\((?:\.\./)+examples/([\w/-]+)\.toml\))", rf"\1 ({_playground(page)})", source[0])


def _playground(page: str) -> str:
    """A link to the playground, which stands next to the pages, from a page; the second group is the example."""
    return f'<a href="{"../" * page.count("/")}playground/index.html#example=\\2">open in the playground</a>'


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", link_inside)
