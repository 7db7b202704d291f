"""The conformance suite on QEMU's device: the verdicts that its model gets, and what only real memory can show."""

import pytest

from virtiomem.conformance.suite import RuleOutcome, SuiteReport, run
from virtiomem.conformance.targets import EmbeddedTarget, QemuTarget

pytestmark = [pytest.mark.real, pytest.mark.on(qemu="every"), pytest.mark.proves("verdicts of the conformance suite")]


@pytest.fixture(scope="module")
def report(qemu: str) -> SuiteReport:
    target = QemuTarget(qemu)
    try:
        return run(target)
    finally:
        target.close()


def test_qemu_is_distinguished_from_its_model_by_memory_contents_alone(report: SuiteReport) -> None:
    ours = {verdict.rule.id: verdict.outcome for verdict in run(EmbeddedTarget()).verdicts}
    theirs = {verdict.rule.id: verdict.outcome for verdict in report.verdicts}
    assert {rule for rule in ours if ours[rule] != theirs[rule]} == {"INI-3", "OPS-3", "OPS-4", "OPS-5"}


def test_nothing_is_left_unseen_that_can_be_seen(report: SuiteReport) -> None:
    assert report.count(RuleOutcome.NOT_APPLICABLE) == 0


def test_what_every_qemu_breaks(report: SuiteReport) -> None:
    assert [verdict.rule.id for verdict in report.failures] == ["CFG-4", "PLUG-4", "VIRTIO-2", "VIRTIO-9"]
