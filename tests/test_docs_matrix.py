"""docs/compatibility.md is what its data say."""

import msgspec
import pytest

from docs import matrix
from docs.matrix import ALONE, Difference, Ran


def ran(**values: object) -> Ran:
    row = {"what": "recordings", "linux": "6.12.1", "qemu": "10.0.2", "tried": 3, "equal": 2, "command": "make real"}
    return msgspec.convert({**row, "differences": [{"where": "h-reset", "what": "three events"}], **values}, Ran)


def test_page_is_made_of_its_data() -> None:
    page = matrix.PAGE.read_text()
    assert page == matrix.page(page)


def test_files_are_named_for_what_they_hold() -> None:
    names = {path.stem for path in matrix.RUNS.glob("*.json")}
    kept = [msgspec.json.decode(path.read_bytes(), type=Ran) for path in matrix.RUNS.glob("*.json")]
    assert names == {run.name for run in kept}
    assert [run.name for run in kept if not 0 <= run.equal <= run.tried] == []
    assert [run.name for run in kept if run.equal < run.tried and not run.differences] == []


def test_matrix_has_a_cell_for_every_pair_in_the_order_of_versions() -> None:
    other = ran(linux="6.9.1", qemu="9.2.0", equal=3, differences=[])
    head, _, *rows = matrix.body([ran(), other, ran(linux=ALONE)]).splitlines()[:5]
    assert head == "| | QEMU 9.2.0 | QEMU 10.0.2 |"
    assert rows[0].endswith("| not run | 3 recordings: 2 equal |")
    assert rows[1:] == [
        "| Linux 6.9.1 | 3 recordings: all equal | not run |",
        "| Linux 6.12.1 | not run | 3 recordings: 2 equal |",
    ]


def test_difference_stands_once_with_every_place() -> None:
    shown = matrix.body([ran(), ran(linux=ALONE), ran(differences=[Difference(where="x", what="y")])])
    assert "| h-reset | three events | 6.12.1 in QEMU 10.0.2, QEMU 10.0.2 |\n| x | y |" in shown


@pytest.mark.parametrize("wrong", [{"tried": "many"}, {"linx": "6.1"}])
def test_what_is_no_run_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        ran(**wrong)
