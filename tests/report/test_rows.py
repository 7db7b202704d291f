from virtiomem.recording import Recording
from virtiomem.report.rows import Row, rows, singles
from virtiomem.resource import iomem


def text(found: list[Row]) -> str:
    return "".join(
        f"{'  ' * min(row.depth, 5)}{row.start:08x}-{row.stop - 1:08x} : {row.name}\n" for row in singles(found)
    )


def test_rows_are_the_lines_of_the_listing(each_recorded: Recording) -> None:
    for snapshot in (each_recorded.boot, *(record.snapshot for record in each_recorded.steps)):
        assert text(rows(iomem.loads(snapshot.iomem))) == snapshot.iomem


def test_equal_neighbours_are_counted() -> None:
    tree = iomem.loads(
        "00000000-0000ffff : virtio0\n"
        "  00000000-00000fff : System RAM (virtio_mem)\n"
        "  00001000-00001fff : System RAM (virtio_mem)\n"
        "  00002000-00002fff : System RAM (virtio_mem)\n"
        "  00004000-00004fff : System RAM (virtio_mem)\n"
        "  00005000-00006fff : System RAM (virtio_mem)\n"
        "00010000-0001ffff : virtio0\n"
    )
    name = "System RAM (virtio_mem)"
    assert rows(tree) == [
        Row(0, 0, 0x10000, 1, "virtio0"),
        Row(1, 0, 0x1000, 3, name),
        Row(1, 0x4000, 0x1000, 1, name),
        Row(1, 0x5000, 0x2000, 1, name),
        Row(0, 0x10000, 0x10000, 1, "virtio0"),
    ]


def test_parents_are_never_counted_together() -> None:
    tree = iomem.loads("00000000-00000fff : A\n  00000000-000000ff : B\n00001000-00001fff : A\n00002000-00002fff : A\n")
    assert [row.times for row in rows(tree)] == [1, 1, 2]
