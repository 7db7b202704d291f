"""Sizes for a glance."""

from virtiomem.units import format_approx, format_size


def short_size(size: int) -> str:
    """Bytes, exactly where that is short, else with one decimal, which tells that it is rounded: ``2G``, ``2.0G``, ``635K``.

    The page's own `dom.js` says the same in the browser.
    """
    exact = format_size(size)
    if len(exact) <= 5:
        return exact
    rounded = format_approx(size)
    return rounded if "." in rounded or not rounded[-1].isalpha() else f"{rounded[:-1]}.0{rounded[-1]}"
