import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtiomem.errors import UsageError
from virtiomem.live import capture
from virtiomem.live.capture import ABSENT, Capture, Section, dumps, loads

TEXT = (
    "virtiomem-capture/1\ncollected 2026-11-23T03:12:45Z\nby virtiomem 0.1.0\n\n"
    "[proc/iomem]\n 00000000-00000fff : Reserved\n   00000000-000000ff : a child\n"
    "[proc/cmdline] 1 of 9 parameters\n crashkernel=256M\n"
    "[proc/kpageflags] not collected\n# end\n"
)

lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))
headings = st.text(st.characters(exclude_characters="\n]", exclude_categories=["Cs"]), min_size=1)
remarks = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).filter(lambda text: text != "whole")
captures = st.tuples(
    st.dictionaries(headings, st.builds(Section.of, st.lists(lines), remarks), max_size=5),
    st.sampled_from(["", "2026-11-23T03:12:45Z"]),
    st.sampled_from(["", "virtiomem 0.1.0"]),
    st.sampled_from([None, 4096, 65536]),
).map(lambda told: Capture(*told))


def test_text_reads_and_writes_the_same() -> None:
    read = loads(TEXT)
    assert read.iomem == "00000000-00000fff : Reserved\n  00000000-000000ff : a child\n"
    assert (read.collected, read.by) == ("2026-11-23T03:12:45Z", "virtiomem 0.1.0")
    assert read.section("proc/cmdline") == Section("crashkernel=256M\n", "1 of 9 parameters")
    assert read.section("proc/nothing") == Section(remark=ABSENT)
    assert dumps(read) == TEXT


def test_capture_that_says_no_page_size_is_of_pages_of_4096_bytes() -> None:
    assert loads(TEXT).page_size == 4096
    said = TEXT.replace("\n\n", "\npage-size 65536\n\n", 1)
    assert loads(said).page_size == 65536
    assert dumps(loads(said)) == said


@pytest.mark.parametrize("value", ["", "0", "4095", "131072", "-4096", "0x1000", "4k", "9" * 5000])
def test_page_size_that_no_page_has_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"^x: page-size must be [^\n]{1,200}$"):
        loads(TEXT.replace("\n\n", f"\npage-size {value}\n\n", 1), source="x")
    with pytest.raises(UsageError, match=r"^x: [^\n]{1,200}$"):
        loads(json.dumps(capture.to_json(loads(TEXT)) | {"page-size": value}), source="x")


@given(captures)
def test_any_capture_survives_text_and_json(value: Capture) -> None:
    assert loads(dumps(value)) == value
    assert loads(json.dumps(capture.to_json(value))) == value


@given(st.binary(max_size=200) | st.builds(lambda tail: TEXT[:120].encode() + tail, st.binary(max_size=100)))
def test_any_bytes_are_read_or_refused_in_one_line(data: bytes) -> None:
    try:
        loads(data)
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 - nothing to say about the bytes that are a capture


def test_a_capture_that_was_cut_anywhere_is_refused_and_not_read_as_a_smaller_machine() -> None:
    made = TEXT.splitlines(keepends=True)
    for kept in range(3, len(made)):
        with pytest.raises(UsageError, match=f"capture:{kept}: the capture is cut short"):
            loads("".join(made[:kept]))
    for behind in ("", "\n", "\n\n"):
        assert loads(TEXT + behind) == loads(TEXT)
    loads("".join(line for line in made if not line.startswith(("by", "#"))))  # by hand


def test_a_byte_that_is_no_utf8_survives() -> None:
    raw = TEXT.encode().replace(b"a child", b"a \xff\x85 child")
    read = loads(raw)
    assert dumps(read).encode("utf-8", "surrogateescape") == raw
    assert "a ?? child" in json.dumps(capture.to_json(read))


def test_files_are_written_whole_and_compressed_by_their_name(tmp_path: Path) -> None:
    value = loads(TEXT)
    capture.dump(value, tmp_path / "guest.capture")
    capture.dump(value, tmp_path / "guest.capture.gz")
    assert (tmp_path / "guest.capture").read_text() == TEXT
    assert gzip.decompress((tmp_path / "guest.capture.gz").read_bytes()).decode() == TEXT
    assert capture.load(tmp_path / "guest.capture.gz") == value._replace(source=str(tmp_path / "guest.capture.gz"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["guest.capture", "guest.capture.gz"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "x:1: '' is not 'virtiomem-capture/1'"),
        ("virtiomem-capture/2\n", "x:1: 'virtiomem-capture/2' is not"),
        (TEXT + "stray\n", "x:12: neither a heading nor a line"),
        (TEXT + "[open\n", "x:12: a heading without end"),
        (TEXT + "[]\n", "x:12: a heading without end"),
        (TEXT + "[proc/iomem]\n", r"x:12: \[proc/iomem\] is there twice"),
        ('{"format": "virtiomem-capture/1"}', "x: not a capture: .*sections"),
        ('{"format": "other", "sections": {}}', 'x: not a capture: format "other" is not'),
        (gzip.compress(TEXT.encode(), mtime=0)[:60], "x: damaged gzip: the file is truncated"),
        (b"\x1f\x8bnonsense", "x: damaged gzip"),
    ],
)
def test_what_is_no_capture_is_said_with_its_line(data: str | bytes, reason: str) -> None:
    with pytest.raises(UsageError, match=f"^{reason}"):
        loads(data, source="x")


def test_a_file_that_unpacks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_SIZE", 1000)
    with pytest.raises(UsageError, match="unpacks to more than 1000"):
        loads(gzip.compress(bytes(1 << 20)))


def test_a_capture_without_a_map_says_why() -> None:
    with pytest.raises(UsageError, match=r"x: no /proc/iomem in it \(denied\)"):
        _ = Capture({"proc/iomem": Section(remark="denied")}, source="x").iomem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.capture: No such file"):
        capture.load(tmp_path / "none.capture")
