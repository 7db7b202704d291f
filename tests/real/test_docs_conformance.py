"""The tables in docs/conformance are what the suite prints."""

from pathlib import Path

import pytest

from virtiomem.cli.main import main

TABLES = Path(__file__).parents[2] / "docs" / "conformance"


def test_the_embedded_devices_table_is_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check"]) == 1
    assert capsys.readouterr().out == (TABLES / "embedded.txt").read_text()


def test_qemus_table_is_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["device", "check", "--qemu"])
    shown, kept = capsys.readouterr().out, (TABLES / "qemu-7.2.txt").read_text()
    if shown.splitlines()[0] != kept.splitlines()[0]:
        pytest.skip(f"the table is of {kept.splitlines()[0]}, this is {shown.splitlines()[0]}")
    assert shown == kept
