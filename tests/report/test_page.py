import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

from tests.report.hostile import hostile
from virtiomem.recording import Recording
from virtiomem.report.moments import Source
from virtiomem.report.page import in_script, page, page_json

Recorded = Callable[[str], Recording]


class Elements(HTMLParser):
    """Collects start tags, and the content of scripts by their type."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self.text: list[str] = []
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("type") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self._script = None if tag == "script" else self._script

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text.append(data)


def test_page_for_8_gib_and_12_steps_stays_below_400_kb(recorded: Recorded) -> None:
    told = recorded("b-uneven-movable")
    assert len(told.steps) >= 12
    html = page([Source("x", told)])
    assert len(html.encode()) < 400_000
    assert len(html.encode()) < 120_000, "as small as it was when this was written"


def test_page_refers_to_nothing_outside_itself(recorded: Recorded) -> None:
    html = page([Source("x", recorded("a-movable")), Source("y", recorded("a-offline"))])
    for tag, attributes in Elements(html).tags:
        for name in ("src", "href", "action", "data", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert "@import" not in html
    assert re.findall(r"\b(?:https?:)?//[\w.-]+\.\w+", html.replace("http://www.w3.org/2000/svg", "")) == []
    assert "default-src 'none'" in html


def test_page_carries_the_data_that_the_command_prints(recorded: Recorded) -> None:
    sources = [Source("x", recorded("d-two-devices"))]
    assert json.loads(Elements(page(sources)).scripts["application/json"]) == json.loads(page_json(sources))


def test_hostile_names_stay_text(recorded: Recorded) -> None:
    told = hostile(recorded("a-movable"))
    name = told.guest["kernel"]
    found = Elements(page([Source("<i>", told)]))
    assert {tag for tag, _ in found.tags} & {"img", "b", "i"} == {"i", "b"} & {
        tag for tag, _ in Elements(page([Source("x", recorded("a-movable"))])).tags
    }
    assert len([tag for tag, _ in found.tags if tag == "script"]) == 2
    assert json.loads(found.scripts["application/json"])["recordings"][0]["title"] == name
    assert any(name in text for text in found.text)


def test_nothing_in_script_data_ends_the_script() -> None:
    text = in_script(["</script>", "<!--", "\u2028", "&lt;"])
    assert not re.search(r"[<>&\u2028\u2029]", text)
    assert json.loads(text) == ["</script>", "<!--", "\u2028", "&lt;"]


def test_all_steps_are_reported_without_a_script(recorded: Recorded) -> None:
    text = Elements(page([Source("x", recorded("b-uneven-movable"))])).text
    assert "resize vm0 to 5122M" in text
    assert text.count("settled") >= 13
