from pathlib import Path

import pytest

from virtiomem.errors import UsageError
from virtiomem.recording.values import Free, Resize, Use
from virtiomem.sweep import loads
from virtiomem.sweep.trace import TracePoint, load

HEAD = "seconds,wanted,movable,unmovable\n"


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("wanted,seconds,unmovable,movable\n1G,0,16M,512M\r\n0,60,0,0\n")
    assert load(path) == (TracePoint(0, 1 << 30, 512 << 20, 16 << 20), TracePoint(60, 0, 0, 0))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "t.csv:0: the first line must name the columns seconds,wanted,movable,unmovable"),
        ("time,wanted\n", "t.csv:1: the first line must name"),
        (HEAD, "t.csv:1: no row follows"),
        (f"{HEAD}0,1G,,0\n", "t.csv:2: movable is empty: every row says all four, 0 for none"),
        (f"{HEAD}0,1G,0\n", "t.csv:2: 3 cells, and there are 4 columns"),
        (f"{HEAD}10,1G,0,0\n5,1G,0,0\n", "t.csv:3: seconds: 5 is before the row above"),
        (f"{HEAD}nan,1G,0,0\n", "t.csv:2: seconds: 'nan' is not a time in seconds"),
        (f"{HEAD}-1,1G,0,0\n", "t.csv:2: seconds: '-1' is not a time in seconds"),
        (f"{HEAD}0,1gb,0,0\n", "t.csv:2: not a size: '1gb'"),
        (HEAD + "".join(f"{second},1G,0,0\n" for second in range(2001)), "t.csv:2002: more than 2000 rows"),
        (f'{HEAD}0,"1G,0,0\n', "t.csv:2: not CSV"),
    ],
)
def test_wrong_trace_is_refused_with_its_line(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load(path)
    assert complaint in str(refused.value)


def test_trace_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="it is not text"):
        load(tmp_path / "t.csv")


def test_guest_uses_what_the_trace_says(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEAD}0,1G,256M,32M\n60,1G,128M,64M\n120,0,0,0\n")
    text = '[guest]\nmemory = "1G"\n[[device]]\nid = "vm0"\nmax-size = "1G"\n[workload]\nseconds = 200\ntrace = "t.csv"'
    steps = loads(text, folder=tmp_path).scenario(0).steps
    held: dict[str, int] = {}
    levels: list[int] = []
    for step in steps:
        if isinstance(step, Use):
            held[step.id] = step.size
        elif isinstance(step, Free):
            del held[step.id]
        elif isinstance(step, Resize):
            levels.append(sum(held.values()) >> 20)
    assert [step.requested_size >> 20 for step in steps if isinstance(step, Resize)] == [1024, 0]
    assert not held
    uses = [(step.size >> 20, step.kind) for step in steps if isinstance(step, Use)]
    assert uses == [(256, "movable"), (32, "unmovable"), (128, "movable"), (32, "unmovable")]
    assert levels == [0, 0]
