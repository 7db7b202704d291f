"""What a reader sees in the README has been run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_ten_lines_do_what_they_say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (code,) = blocks("python")
    assert len(code.splitlines()) <= 15
    exec(code, {})  # noqa: S102 - the README's own
    assert (
        "140000000-33fffffff : virtio0\n"
        "  140000000-14fffffff : System RAM (virtio_mem)\n"
        "  158000000-1bfffffff : System RAM (virtio_mem)\n"
    ) in capsys.readouterr().out


def test_linked_pages_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_shown_listing_is_the_demo_s() -> None:
    (shown,) = blocks("console")
    demo = (ROOT / "examples/worked-example/side-by-side.out").read_text()
    lines = [line for line in shown.splitlines()[1:] if line.strip() not in ("", "…")]
    assert [line for line in lines if line not in demo.splitlines()] == []
