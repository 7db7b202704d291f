"""docs/vm.md has what the table of doors says."""

from docs import doors


def test_page_has_the_tables() -> None:
    """When this fails on purpose: `python -m docs.doors`."""
    text = doors.PAGE.read_text()
    assert doors.page(text) == text
