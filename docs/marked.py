"""Parts of a page that scripts make: the text between two marks."""


def page_with(text: str, begin: str, end: str, made: str) -> str:
    """The page with what stands between the marks replaced."""
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{made}\n{end}{rest.partition(end)[2]}"
