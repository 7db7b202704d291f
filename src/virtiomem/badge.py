"""An outcome in two words, as a badge for a README: an SVG that needs nothing else."""

from xml.etree import ElementTree as ET

from virtiomem.text import printable

_LEFT = "#404040"
_RIGHT = {True: "#00694e", None: "#6b6b00", False: "#a84300"}
"""Backgrounds, on which white text has a contrast of 4.5 or more: the green and red of the pictures, darkened, olive
between."""
_LETTER, _MARGIN, _HEIGHT = 6.6, 7, 20
"""Pixels: a letter of an 11-pixel monospaced font, the space next to the text, the badge."""


def to_svg(name: str, outcome: str, *, good: bool | None) -> bytes:
    """Draw a badge, the subject on the left and the result on the right: green for `good`, red for not, olive for None."""
    sides = [(printable(name), _LEFT), (printable(outcome), _RIGHT[good])]
    widths = [round(len(words) * _LETTER) + 2 * _MARGIN for words, _ in sides]
    label = ": ".join(words for words, _ in sides)
    badge = ET.Element(
        "svg",
        # As an attribute: as ElementTree's own namespace it would put a prefix before every tag (ns0:svg).
        {"xmlns": "http://www.w3.org/2000/svg", "width": str(sum(widths)), "height": str(_HEIGHT)}
        | {"role": "img", "aria-label": label},
    )
    # Browsers show a title as a tooltip, and screen readers read the label: both have the whole badge in words.
    ET.SubElement(badge, "title").text = label
    for x, width, (words, color) in zip((0, widths[0]), widths, sides, strict=True):
        ET.SubElement(badge, "rect", x=str(x), width=str(width), height=str(_HEIGHT), fill=color)
        style = {"text-anchor": "middle", "font-family": "monospace", "font-size": "11", "fill": "#fff"}
        # 14 is the baseline at which letters of 11 pixels stand in the middle of 20.
        text = ET.SubElement(badge, "text", {"x": str(x + width / 2), "y": "14"} | style)
        text.text = words
    data: bytes = ET.tostring(badge, encoding="utf-8", xml_declaration=True)
    return data + b"\n"
