"""Which real test runs on which kernel in which QEMU, and the table of what came of it."""

from docs.matrix import Difference
from tests.real.cells import EVERY, NO_GUEST, SLICE, Cell, Found, Outcomes

QEMUS = {"/old/qemu": "7.2.22", "/new/qemu": "10.0.13"}
FOUND = Found({"6.1": "6.1.9", "6.9": "6.9.1", "6.12": "6.12.3"}, QEMUS)


def test_every_kernel_meets_every_qemu() -> None:
    cells = FOUND.cells(EVERY, EVERY)
    assert cells == [Cell(linux, qemu) for qemu in QEMUS for linux in ("6.1", "6.9", "6.12")]


def test_some_kernels_meet_only_the_installed_qemu() -> None:
    cells = Found(FOUND.kernels, QEMUS, some=True).cells(EVERY, EVERY)
    assert [linux for linux, qemu in cells if qemu == "/new/qemu"] == ["6.12"]
    assert [linux for linux, qemu in cells if qemu == "/old/qemu"] == ["6.1", "6.9", "6.12"]


def test_a_slice_is_enough_off_the_newest_required_kernel_in_the_installed_qemu_and_there_alone() -> None:
    some = Found(FOUND.kernels, QEMUS, some=True)
    cells = some.cells(EVERY, EVERY)
    assert [cell for cell in cells if some.slice_of(cell) is None] == [Cell("6.12", "/old/qemu")]
    assert [some.slice_of(cell) for cell in some.cells(NO_GUEST, EVERY)] == [None, SLICE]
    assert {FOUND.slice_of(cell) for cell in cells} == {None}


def test_a_shared_guest_is_booted_on_the_required_kernels_alone() -> None:
    some = Found(FOUND.kernels, QEMUS, some=True)
    assert some.cells(EVERY, None, shared=True) == [Cell("6.1", "/old/qemu"), Cell("6.12", "/old/qemu")]
    assert FOUND.cells(EVERY, None, shared=True) == FOUND.cells(EVERY, None)


def test_a_test_that_asks_for_nothing_runs_once_on_what_is_required() -> None:
    assert FOUND.cells(None, None) == [Cell("6.12", "/old/qemu")]
    assert FOUND.cells(NO_GUEST, EVERY) == [Cell(NO_GUEST, qemu) for qemu in QEMUS]


def test_what_is_asked_for_and_not_here_is_reported_not_left_out() -> None:
    assert Found({}, {"qemu": "qemu"}).cells(EVERY, None) == [Cell("6.1", "qemu"), Cell("6.12", "qemu")]
    assert FOUND.cells("6.1", "11.1") == [Cell("6.1", "11.1")]


def test_table_says_what_was_run_with_what_outcome_and_why_not() -> None:
    outcomes = Outcomes()
    for outcome, reason in (("passed", ""), ("passed", ""), ("failed", "no"), ("skipped", "NOT HERE: kexec")):
        outcomes.add(("6.1.9", "7.2.22"), "examples", outcome, "test_x", reason)
    assert outcomes.table(["6.1.9"], ["7.2.22", "10.0.13"]) == [
        "Linux 6.1.9",
        "  QEMU 7.2.22    examples: 2 ok, 1 failed, 1 skipped; 1 skipped: NOT HERE: kexec",
        "  QEMU 10.0.13   not run",
    ]


def test_what_is_kept_counts_no_skipped_test() -> None:
    outcomes = Outcomes()
    for outcome in ("passed", "failed", "skipped"):
        outcomes.add(("6.1.9", "7.2.22"), "examples", outcome, "test_x", "no")
    outcomes.add(("6.9.1", "7.2.22"), "layouts", "skipped", "test_y", "modelled as another")
    (run,) = outcomes.runs("make real")
    assert (run.tried, run.equal, run.differences) == (2, 1, [Difference(where="test_x", what="no")])
