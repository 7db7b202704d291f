from pathlib import Path

import pytest

from virtiomem.errors import BackendError, UsageError
from virtiomem.files import read_bytes, read_stdin
from virtiomem.writing import check_writable, write_all, write_whole


def test_file_that_never_ends_is_too_long() -> None:
    with pytest.raises(UsageError, match=r"/dev/zero: longer than 2M"):
        read_bytes("/dev/zero", limit=2 << 20)


def test_file_of_just_the_limit_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"abc")
    assert read_bytes(path, limit=3) == b"abc"
    with pytest.raises(UsageError, match=r"f: longer than 2$"):
        read_bytes(path, limit=2)


@pytest.mark.parametrize(("name", "why"), [("absent", "No such file"), (".", "Is a directory"), ("a\0b", "null byte")])
def test_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_bytes(tmp_path / name)


def test_a_number_is_not_taken_for_a_file_that_is_open(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        with pytest.raises(TypeError):
            read_bytes(file.fileno())  # type: ignore[arg-type]
        file.write(b"still open")


def test_writing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "r.json"
    write_whole(target, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(BackendError, match=r"r\.json: No space left on device"):
            write_whole(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "r.json", b"new")
    assert list(tmp_path.iterdir()) == []


def test_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    link = tmp_path / "out"
    link.symlink_to("/dev/null")
    write_whole(link, b"anything")
    assert link.is_symlink()
    assert Path("/dev/null").is_char_device()
    with pytest.raises(BackendError, match="/dev/full: No space left on device"):
        write_whole(Path("/dev/full"), b"anything")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("file/x", "Not a directory"),
        ("file/x/y", "Not a directory"),
        ("absent/x", "No such file or directory"),
        ("loop", "Too many levels of symbolic links"),
        ("directory", "Is a directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_name_under_which_nothing_can_be_written_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=f"{name[-9:]}: {why}"):
        check_writable(tmp_path / name)
    with pytest.raises(UsageError, match=f"{name[-9:]}: {why}"):
        write_whole(tmp_path / name, b"")


def test_link_to_a_file_that_is_not_there_yet_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    check_writable(tmp_path / "link")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "new").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_standard_input_that_never_ends_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/zero").open() as zero:
        monkeypatch.setattr("sys.stdin", zero)
        with pytest.raises(UsageError, match="standard input: longer than 2M"):
            read_stdin(limit=2 << 20)


def test_file_that_only_its_owner_may_read_stays_so(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_bytes(b"old")
        path.chmod(0o600)
    write_whole(one, b"new")
    write_all({other: b"new"})
    assert [path.stat().st_mode & 0o777 for path in (one, other)] == [0o600, 0o600]
