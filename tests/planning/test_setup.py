import json
import shlex
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from virtiomem.cli.main import main
from virtiomem.guest.embedded import EmbeddedGuest
from virtiomem.planning import output
from virtiomem.planning.proof import DisprovedError, prove
from virtiomem.planning.setup import ImpossibleWishError, SetUp, plan
from virtiomem.planning.wishes import Wishes
from virtiomem.recording.values import Resize, Snapshot
from virtiomem.scenario import embedded_guest, loads
from virtiomem.units import GiB, MiB


def wished(memory: int, maximum: int, **others: Any) -> SetUp:
    return plan(Wishes(memory=memory * GiB, maximum=maximum * GiB, **others))


def test_nothing_to_give_back_goes_to_the_kernels_zone() -> None:
    setup = wished(1, 64)
    assert setup.guest.default_state == "online_kernel"
    assert (setup.counts_on, setup.largest_step) == (0, 63 * GiB)


def test_all_is_movable_as_long_as_that_is_sensible() -> None:
    setup = wished(4, 16, shrink=12 * GiB)
    assert (setup.guest.default_state, setup.counts_on) == ("online_movable", 12 * GiB)


def test_more_is_left_to_linux_which_keeps_its_ratio() -> None:
    setup = wished(1, 32, shrink=20 * GiB)
    assert (setup.guest.online_policy, setup.guest.auto_movable_ratio) == ("auto-movable", 301)
    assert 20 * GiB <= setup.counts_on <= 24 * GiB


def test_higher_ratio_is_taken_only_where_it_must_be_and_said() -> None:
    setup = wished(1, 32, shrink=int(24.5 * GiB))
    assert setup.guest.auto_movable_ratio == 401
    assert any("401" in warning for warning in setup.warnings)


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"maximum": 2048 * GiB, "memory": 2 * GiB}, "42 address bits, and the CPU has 40: at most 977G"),
        ({"maximum": 64 * GiB, "memory": GiB // 2, "shrink": 63 * GiB}, "at most 52352M of 64G"),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "shrink": 3 * GiB}, "more than is added, 2G"),
        ({"maximum": 2 * GiB, "memory": 2 * GiB}, "nothing to grow"),
        ({"maximum": 4 * GiB + MiB, "memory": 2 * GiB}, "not a multiple of a block of 128M"),
        ({"maximum": 5 * GiB, "memory": 2 * GiB, "nodes": 2, "hugepage": GiB}, "not a multiple of 2G"),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "nodes": 31}, "not in 1..30"),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "hugepage": 3 * MiB}, "not a power of two"),
        (
            {"memory": 4, "maximum": 64 * GiB},
            "--memory 4 is less than any guest boots with (a bare number is bytes: write 4G)",
        ),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "hugepage": 1}, "no host has hugepages of less than 64K"),
        ({"maximum": 4608 * MiB, "memory": 2560 * MiB, "hugepage": GiB}, "--memory 2560M is not a multiple"),
        (
            {"maximum": 6 * GiB, "memory": 2 * GiB, "nodes": 4, "hugepage": GiB},
            "512M of it on a node is not a multiple",
        ),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "step": 0}, "--step 0 is less than a block of 2M"),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "step": MiB}, "--step 1M is less than a block of 2M"),
        ({"maximum": 64 * GiB, "memory": 2 * GiB, "step": 2 * MiB}, "at least 64M"),
        ({"maximum": 4 * GiB, "memory": 2 * GiB, "address_bits": 99}, "--address-bits 99 is not in 36..52"),
    ],
)
def test_impossible_wish_is_refused_with_the_number_that_makes_it_so(wishes: dict[str, Any], words: str) -> None:
    with pytest.raises(ImpossibleWishError) as refused:
        plan(Wishes(**wishes))
    assert words in str(refused.value)


def test_step_between_two_blocks_is_said_to_go_on_to_the_next() -> None:
    setup = wished(4, 16, machine="virt", page_size="16K", step=130 * MiB)
    assert any(warning.startswith("--step 130M is not a multiple of a block of 32M") for warning in setup.warnings)
    assert not wished(4, 16, machine="virt", page_size="16K", step=128 * MiB).warnings


def test_hugepages_are_the_blocks_and_what_that_costs_is_said() -> None:
    setup = wished(8, 40, nodes=2, hugepage=GiB, shrink=16 * GiB)
    assert [(device.block_size, device.node) for device in setup.devices] == [(GiB, 0), (GiB, 1)]
    assert any("1G at a time" in warning for warning in setup.warnings)
    words = output.qemu(setup)
    assert sum("hugetlbsize=1073741824" in word for word in words) == 4


def test_hugepages_that_are_wished_for_back_all_memory() -> None:
    words = " ".join(output.qemu(wished(2, 4, hugepage=2 * MiB)))
    assert words.count("memory-backend-memfd,hugetlb=on,hugetlbsize=2097152") == 2
    assert words.count("prealloc=on") == words.count("virtio-mem-pci") == 1, "a host without hugepages refuses to plug"
    assert "prealloc" not in " ".join(output.qemu(wished(2, 4)))
    domain = output.libvirt(wished(2, 4, hugepage=2 * MiB))
    assert "<pagesize unit='KiB'>2048</pagesize>" in domain
    assert "<hugepages><page size='2048' unit='KiB'/></hugepages>" in domain
    assert "hugetlb" not in " ".join(output.qemu(wished(2, 4)))


def test_processor_with_more_address_bits_is_in_the_scenario() -> None:
    setup = wished(64, 2048, address_bits=52)
    assert "\naddress-bits = 52\n" in output.scenario(setup)
    assert prove(setup, embedded_guest)[-1].endswith("1984G plugged")


@pytest.mark.parametrize(("bits", "written"), [(40, 41), (46, 46)])
def test_processor_that_is_no_amd_reaches_what_qemus_own_does_not(bits: int, written: int) -> None:
    setup = wished(64, 978, address_bits=bits, vendor="intel")
    assert (setup.address_bits, setup.guest.address_bits) == (40, written)
    assert prove(setup, embedded_guest)[-1].endswith("914G plugged")


@pytest.mark.parametrize(("machine", "slots"), [("q35", 32764), ("virt", 32767)])
def test_slots_are_those_of_kvm_on_the_machines_architecture(machine: Any, slots: int) -> None:
    assert f" of {slots}; with dynamic-memslots" in output.table(wished(2, 10, machine=machine))


def test_steps_on_the_way_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[EmbeddedGuest] = []
    snapshot = EmbeddedGuest.snapshot

    def counted(guest: EmbeddedGuest) -> Snapshot:
        taken.append(guest)
        return snapshot(guest)

    monkeypatch.setattr(EmbeddedGuest, "snapshot", counted)
    wished(1, 5, step=GiB // 4)
    assert len(taken) == 4, "one when a guest begins and one when it has grown, in steps and at once"


def test_nodes_share_boot_memory() -> None:
    setup = wished(5, 7, nodes=2)
    sizes = [sum(span.size for span in node.spans) for node in setup.guest.nodes]
    assert sizes == [2 * GiB, 3 * GiB]


def test_nodes_of_boot_memory_that_cannot_be_divided_have_whole_pages() -> None:
    assert prove(wished(1, 4, nodes=3), embedded_guest)[-1].endswith("3G plugged")


def test_scenario_is_played_as_planned_and_says_the_same() -> None:
    setup = wished(1, 5, step=GiB, shrink=2 * GiB, crashkernel=256 * MiB)
    played = loads(output.scenario(setup))
    assert played.guest.max_memory == setup.guest.max_memory
    assert [step.requested_size // GiB for step in played.steps if isinstance(step, Resize)] == [1, 2, 3, 4, 2]
    assert prove(setup, embedded_guest)[-1].endswith("2G plugged")


def test_guest_that_does_otherwise_disproves_the_plan() -> None:
    setup = wished(1, 5)
    impossible = [*setup.steps, Resize(device="vm0", requested_size=type(setup.devices[0].max_size)(9 * GiB))]
    with pytest.raises(DisprovedError, match="resize vm0 to 9G"):
        prove(
            type(setup)(**{name: getattr(setup, name) for name in setup.__slots__} | {"steps": impossible}),
            embedded_guest,
        )


def test_libvirts_elements_have_the_same_sizes() -> None:
    setup = wished(4, 20, nodes=2)
    domain = ET.fromstring(f"<domain>{output.libvirt(setup)}</domain>")  # noqa: S314
    assert domain.findtext("maxMemory") == str((setup.guest.max_memory or 0) // 1024)
    assert [cell.get("memory") for cell in domain.iter("cell")] == ["2097152", "2097152"]
    assert [size.text for size in domain.iter("size")] == ["8388608", "8388608"]


def test_command_prints_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    wishes = ["plan", "--memory", "4G", "--max", "16G", "--shrink", "8G"]
    for form, start in (
        ("qemu", "-machine q35"),
        ("libvirt", "<maxMemory"),
        ("cmdline", "memhp"),
        ("scenario", "[guest]"),
    ):
        assert main([*wishes, "--format", form]) == 0
        assert capsys.readouterr().out.startswith(start)
    assert main([*wishes, "--json", "--prove"]) == 0
    said = capsys.readouterr()
    values = json.loads(said.out)
    assert values["shrink-counts-on"] == 12 * GiB
    assert shlex.join(values["qemu"]).count("virtio-mem-pci") == 1
    assert "proved: resize vm0 to 4G: 4G plugged" in said.err
    assert main(["plan", "--memory", "2G", "--max", "2T"]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kernel", "6.12"], "--kernel is for --prove linux"),
        (["--json", "--format", "qemu"], "--format is for text; --json prints all of it"),
    ],
)
def test_option_that_nothing_reads_is_refused(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--memory", "4G", "--max", "16G", *options]) == 2
    assert words in capsys.readouterr().err
