import pytest

from virtiomem import scenario
from virtiomem.guest.base import NodeConfig, parse_range
from virtiomem.guest.linux.command import qemu_arguments
from virtiomem.units import GiB, Span


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0x0-0x7fffffff", Span(0, 2 * GiB)),
        (" 0X0 - 0X7FFFFFFF ", Span(0, 2 * GiB)),
        ("04294967296-6442450943", Span(4 * GiB, 6 * GiB)),
    ],
)
def test_a_range_is_inclusive_and_decimal_unless_it_says_hexadecimal(text: str, span: Span) -> None:
    assert parse_range(text) == span
    assert NodeConfig(id=0, memory=[text]).spans == [span]


@pytest.mark.parametrize("text", ["", "0", "0-x", "7fffffff-8fffffff", "0o0-0o7", "-1-0", "2-1", f"0-{'9' * 5000}"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range|ends before"):
        parse_range(text)


def test_every_guest_reads_a_nodes_ranges_as_the_scenario_does() -> None:
    played = scenario.loads(
        '[guest]\nmemory = "4G"\n'
        '[[guest.nodes]]\nid = 0\nmemory = ["00-02147483647"]\n'
        '[[guest.nodes]]\nid = 1\nmemory = ["04294967296-6442450943"]\n'
    )
    nodes = scenario.embedded_guest(played).kernel.memory.nodes
    assert [node.nid for node in nodes.values()] == [0, 1]
    arguments = qemu_arguments(played.guest, [], "tcg")
    assert [word for word in arguments if word.startswith("memory-backend")] == [
        f"memory-backend-ram,id=ram{node},size={2 * GiB},reserve=off" for node in (0, 1)
    ]
