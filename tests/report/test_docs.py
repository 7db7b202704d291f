import importlib.util
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parents[2] / "docs"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_in_the_docs_are_what_the_commands_make_today(tmp_path: Path) -> None:
    """When this fails on purpose: `make docs`."""
    pictures = script()
    pictures.make_maps(tmp_path)
    for name in pictures.MAPS:
        assert (DOCS / "pictures" / f"{name}.svg").read_text() == (tmp_path / f"{name}.svg").read_text(), name


def test_pictures_stay_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    assert all(size < 25_000 for name, size in sizes.items() if name.endswith(".svg"))
    assert sizes["report.png"] < 250_000


def test_every_picture_shown_is_there() -> None:
    import re

    for page in DOCS.glob("*.md"):
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (DOCS / target).is_file(), f"{page.name}: {target}"
