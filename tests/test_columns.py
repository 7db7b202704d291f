import pytest

from virtiomem.columns import Column, Columns, align, chosen_columns, flowing, table, table_lines
from virtiomem.errors import UsageError

KNOWN = ("RANGE", "SIZE", "NODE")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert align([("a", "1", "x"), ("bcd", "234", "")], "<>") == "a      1  x\nbcd  234\n"
    assert align([], "<>") == ""


def test_an_option_left_out_means_the_default_columns() -> None:
    assert chosen_columns(None, KNOWN, ["SIZE"]) == ["SIZE"]


def test_a_plus_adds_to_the_default_columns() -> None:
    assert chosen_columns("+node", KNOWN, ["SIZE"]) == ["SIZE", "NODE"]


def test_columns_are_named_in_any_case_and_with_blanks_between() -> None:
    assert chosen_columns("Node, size", KNOWN, []) == ["NODE", "SIZE"]


@pytest.mark.parametrize("text", ["Foo", "+Foo", "range,,size", ""])
def test_a_column_that_does_not_exist_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--split: no column '(Foo)?' \(there are range, size, node\)$"):
        chosen_columns(text, KNOWN, [], option="--split")


FRUIT: Columns[Column[str]] = Columns(
    Column("name", str.title, default=("short", "long")),
    Column("length", lambda word: str(len(word)), right=True, default=("long",), needs="ruler"),
)


def test_a_registry_says_what_tables_show_and_what_columns_need() -> None:
    assert (FRUIT.default("short"), FRUIT.default("long")) == (["name"], ["name", "length"])
    assert (FRUIT.needs(["name"]), FRUIT.needs(["name", "length"])) == (set(), {"ruler"})
    assert FRUIT.help == "columns: name, length; +LIST adds"


def test_a_table_comes_many_lines_at_a_time_and_a_cell_far_down_sets_the_width() -> None:
    words = ["fig\t"] * 3000 + ["clementine"]
    parts = list(table_lines(words, list(FRUIT.values())))
    assert len(parts) > 1
    lines = "".join(parts).splitlines()
    assert lines[:2] == ["NAME        LENGTH", "Fig\\x09          4"]
    assert lines[3001:] == ["Clementine      10"]


def test_a_table_is_made_of_its_columns() -> None:
    assert (
        table(["fig", "clementine"], list(FRUIT.values()))
        == "NAME        LENGTH\nFig              3\nClementine      10\n"
    )
    assert table(["fig"], [FRUIT["name"]], headings=False) == "Fig\n"


def test_columns_go_in_the_order_of_their_rank() -> None:
    columns: list[Column[int]] = [
        Column("a", str),
        Column("b", str, rank=2),
        Column("c", str, rank=1),
        Column("d", str, rank=2),
    ]
    heads = [table([12345], columns, width=width).splitlines()[0].split() for width in (26, 25, 18, 5)]
    assert heads == [["A", "B", "C", "D"], ["A", "B", "D"], ["A"], ["A"]]
    assert "left" not in table([12345], columns, width=5, headings=False), "a program gets all"


def test_words_go_on_below_their_beginning_or_on_a_line_of_their_own() -> None:
    assert flowing("head  ", "some words that go on", 27) == ["head  some words that go on"]
    assert flowing("head  ", "some words that go on", 26) == ["head  some words that go", "      on"]
    assert flowing("a long head  ", "some words that go on", 30) == ["a long head", "    some words that go on"]
