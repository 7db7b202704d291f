"""The tables in docs/conformance are what the suite prints."""

from pathlib import Path

import pytest

from virtiomem.cli.main import main

TABLES = Path(__file__).parents[2] / "docs" / "conformance"


def test_the_embedded_devices_table_is_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "check"]) == 1
    assert capsys.readouterr().out == (TABLES / "embedded.txt").read_text()


@pytest.mark.on(qemu="every")
@pytest.mark.proves("conformance tables")
@pytest.mark.usefixtures("qemu")
def test_qemus_table_is_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["device", "check", "--qemu"])
    shown = capsys.readouterr().out
    target = shown.partition("\n")[0]
    tables = {text.partition("\n")[0]: text for text in (path.read_text() for path in TABLES.glob("qemu-*.txt"))}
    if target not in tables:
        pytest.skip(f"the tables are of {', '.join(sorted(tables))}; this is {target}")
    assert shown == tables[target]
