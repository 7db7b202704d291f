from pathlib import Path

import pytest

from virtiomem.errors import BackendError
from virtiomem.report import png


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_without_a_renderer_the_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="librsvg2-bin, python3-cairosvg or chromium"):
        png.render("<svg/>")


def test_failing_renderer_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "rsvg-convert", "echo first >&2; echo out of ink >&2; exit 3")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match=r"rsvg-convert: exit 3: out of ink"):
        png.render("<svg/>")


def test_renderer_that_draws_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "cairosvg", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="made no picture"):
        png.render("<svg/>")


def test_the_file_that_the_renderer_wrote_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "rsvg-convert", 'for a; do case $a in --output=*) echo "ink" > "${a#--output=}";; esac; done')
    monkeypatch.setenv("PATH", str(tmp_path))
    assert png.render("<svg/>") == b"ink\n"
