"""docs/memory-cost.md holds what real guests did against what the model does now, and the model is as near as it promises."""

from tests.real import memory_cost


def test_the_model_is_as_near_to_every_real_guest_as_the_page_says() -> None:
    rows = list(memory_cost.rows())
    assert len(rows) >= 24
    assert {row.real.key[0] for row in rows} == {"6.1", "6.12"}
    assert sum(row.off(row.given) <= 0.03 for row in rows) >= len(rows) * 19 / 20
    assert all(row.off(row.default) <= 0.1 for row in rows)
    assert not any(row.settled and row.real.short for row in rows)
    assert f"\n{memory_cost.text(rows)}\n" in memory_cost.PAGE.read_text()
