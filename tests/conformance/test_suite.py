"""The suite against our device, and against devices that are each wrong in one way: every check can fail."""

import pytest

from tests.conformance.mutants import MUTANTS, Break, Mutant, dies_of_unplugging_all, instead, scribbles, swap
from virtiomem.conformance.checks import CHECKS
from virtiomem.conformance.rules import BY_ID, GROUPS, RULES, group_of, selected
from virtiomem.conformance.suite import GIVE_UP, RuleOutcome, SuiteReport, judge, run
from virtiomem.conformance.targets import EmbeddedTarget
from virtiomem.device.mem import MemDevice
from virtiomem.device.virtio import VirtioDevice
from virtiomem.errors import BackendError, DeviceError, UsageError
from virtiomem.transport.embedded import EmbeddedTransport
from virtiomem.wire.mem import Request, RequestType, Response, ResponseType, State
from virtiomem.wire.virtio import Status

PLUG, UNPLUG, UNPLUG_ALL, STATE = RequestType
ACK, NACK, BUSY, ERROR = ResponseType

AS_QEMU = {"CFG-4", "PLUG-4", "VIRTIO-2", "VIRTIO-9"}
"""What QEMU 7.2 breaks, and so does its model."""


CANNOT_FAIL = {"OPS-5"} | {rule.id for rule in RULES if rule.level == "MAY"} - {"CFG-1", "PLUG-5", "UNPLUG-5", "ALL-3"}
"""Licences, and reads that any answer satisfies."""


@pytest.mark.parametrize(("rule", "how", "break_"), MUTANTS, ids=[f"{rule}: {how}" for rule, how, _ in MUTANTS])
def test_a_broken_device_is_found_out(rule: str, how: str, break_: Break) -> None:
    verdict = judge(Mutant(break_, has_contents=break_ is scribbles), BY_ID[rule])
    assert verdict.outcome is RuleOutcome.FAIL, how
    assert verdict.reproducer[0].startswith("device size=1G")


def test_every_rule_that_can_be_broken_is_broken_by_a_device_here() -> None:
    broken = {rule for rule, _, _ in MUTANTS} | AS_QEMU
    assert broken == {rule.id for rule in RULES if rule.unseen is None} - CANNOT_FAIL


@pytest.fixture(scope="module")
def report() -> SuiteReport:
    return run(EmbeddedTarget(), [rule for rule in RULES if rule.id != "SOUND-17"])  # 65536 requests: tests/real


def test_our_device_breaks_what_qemu_breaks_and_nothing_else(report: SuiteReport) -> None:
    assert {verdict.rule.id for verdict in report.failures} == AS_QEMU
    assert not report.conforms


@pytest.mark.parametrize(
    ("delay", "disorder"),
    [(0.0, True), *(pytest.param(0.0002, disorder, marks=pytest.mark.long) for disorder in (False, True))],
)
def test_a_device_that_answers_when_it_likes_fares_as_a_prompt_one(
    report: SuiteReport, delay: float, disorder: bool
) -> None:
    late = run(EmbeddedTarget(delay, disorder=disorder), [verdict.rule for verdict in report.verdicts])
    outcomes = {verdict.rule.id: verdict.outcome for verdict in late.verdicts}
    assert outcomes == {verdict.rule.id: verdict.outcome for verdict in report.verdicts}


def test_our_device_has_no_contents_to_look_at(report: SuiteReport) -> None:
    unseen = {verdict.rule.id for verdict in report.verdicts if verdict.outcome is RuleOutcome.NOT_APPLICABLE}
    assert unseen == {"INI-3", "OPS-3", "OPS-4", "OPS-5"}


def test_a_failure_can_be_seen_again_step_by_step(report: SuiteReport) -> None:
    failure = next(verdict for verdict in report.failures if verdict.rule.id == "PLUG-4")
    assert failure.reproducer == (
        "device size=1G,block-size=2M,requested-size=512M",
        "initialise, features 0x110000001",
        "PLUG blocks 0..255 → ACK",
        "PLUG blocks 0..0 → NACK",
    )


def errors_first(mem: MemDevice, request: Request) -> Response | None:
    """PLUG as the specification has it: plugged blocks are an error, however much is requested."""
    first = (request.addr - mem.addr) // mem.block_size
    if request.type is PLUG and mem._blocks.state(first, first + request.nb_blocks) is not State.UNPLUGGED:
        return Response(ERROR)
    return None


def waits_for_driver_ok(transport: EmbeddedTransport) -> None:
    def notify() -> None:
        if transport.device.status & Status.DRIVER_OK:
            VirtioDevice.notify(transport.device)

    swap(transport.device, "notify", notify)


@pytest.mark.parametrize(
    ("rule", "mend"),
    [("PLUG-4", instead(errors_first)), ("VIRTIO-2", waits_for_driver_ok)],
    ids=["PLUG-4", "VIRTIO-2"],
)
def test_a_device_by_the_letter_keeps_what_qemu_breaks(rule: str, mend: Break) -> None:
    assert judge(Mutant(mend), BY_ID[rule]).outcome is RuleOutcome.PASS


def test_a_vmm_that_refuses_a_device_has_nothing_to_show() -> None:
    def refuse(_: EmbeddedTransport) -> None:
        raise DeviceError("too much requested")

    verdict = judge(Mutant(refuse), BY_ID["CFG-5"])
    assert (verdict.outcome, verdict.seen) == (RuleOutcome.NOT_APPLICABLE, "no such device: too much requested")


# --- the table of rules ---


def test_every_rule_has_a_check_or_says_why_not() -> None:
    assert set(CHECKS) == {rule.id for rule in RULES if rule.unseen is None}


def test_rules_are_numbered_once_and_in_known_groups() -> None:
    assert len(BY_ID) == len(RULES)
    assert list(dict.fromkeys(group_of(rule) for rule in RULES)) == list(GROUPS)


def test_rules_are_selected_by_number_and_group() -> None:
    assert selected([]) == RULES
    assert [rule.id for rule in selected(["plug-4", "INI-1"])] == ["INI-1", "PLUG-4"]
    assert {group_of(rule) for rule in selected(["UAPI"])} == {"UAPI"}
    with pytest.raises(UsageError, match="no rule or group 'X'"):
        selected(["X"])


def test_a_check_that_a_device_does_not_survive_fails_its_rule_and_the_others_are_looked_at() -> None:
    report = run(Mutant(dies_of_unplugging_all), selected(["PLUG-1", "ALL-5", "STATE-1"]))
    assert [(verdict.outcome, verdict.lost) for verdict in report.verdicts] == [
        (RuleOutcome.PASS, False),
        (RuleOutcome.FAIL, True),
        (RuleOutcome.PASS, False),
    ]
    assert report.verdicts[1].seen == "the device was lost: QEMU was killed by SIGSEGV"
    assert report.verdicts[1].reproducer[-1] == "UNPLUG_ALL → the device was lost"
    assert not report.conforms


def test_a_device_that_survives_nothing_is_not_tried_forever() -> None:
    def dies_of_anything(transport: EmbeddedTransport) -> None:
        def notify() -> None:
            raise BackendError("QEMU did not answer qtest within 30 s")

        swap(transport.device, "notify", notify)

    report = run(Mutant(dies_of_anything), selected(["PLUG"]))
    assert [verdict.lost for verdict in report.verdicts] == [True] * GIVE_UP + [False] * (
        len(report.verdicts) - GIVE_UP
    )
    assert report.verdicts[-1].seen == "not tried: the device was lost in 3 rules one after the other"


def test_without_any_device_there_is_no_report() -> None:
    def is_missing(_: EmbeddedTransport) -> None:
        raise BackendError("qemu-system-x86_64: not found")

    with pytest.raises(BackendError, match="not found"):
        run(Mutant(is_missing), selected(["PLUG"]))
