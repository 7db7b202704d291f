import json
from pathlib import Path

import pytest

from virtiomem import recording
from virtiomem.errors import UsageError
from virtiomem.recording import VirtioMemInfo
from virtiomem.recording.files import write_whole

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*/recording.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_recording_reads_back_as_it_was_written(path: Path) -> None:
    whole = recording.load(path)
    assert recording.loads(recording.dumps(whole)) == whole


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_what_is_written_says_everything_that_was_read(path: Path) -> None:
    theirs, ours = json.loads(path.read_text()), json.loads(recording.dumps(recording.load(path)))
    for snapshot in [theirs["boot"], *(step["snapshot"] for step in theirs["steps"])]:
        for device in snapshot["devices"]:
            device.setdefault("type", "virtio-mem")
            device.setdefault("node", 0)
    for step in theirs["steps"]:
        if isinstance(step["step"].get("memaddr"), str):
            step["step"]["memaddr"] = int(step["step"]["memaddr"], 0)
    assert ours["boot"] == theirs["boot"]
    assert ours["steps"] == theirs["steps"]


def test_device_without_a_type_is_virtio_mem() -> None:
    assert isinstance(recording.load(RECORDINGS[0]).boot.devices[0], VirtioMemInfo)


def test_keys_that_nobody_knows_yet_are_passed_over() -> None:
    more = json.loads(RECORDINGS[0].read_text())
    more["weather"] = more["steps"][0]["mood"] = "fair"
    assert recording.loads(json.dumps(more)) == recording.load(RECORDINGS[0])


def test_place_of_what_is_wrong_is_named() -> None:
    wrong = json.loads(RECORDINGS[0].read_text())
    wrong["steps"][1]["requests"][0]["addr"] = "six"
    with pytest.raises(UsageError, match=r"r\.json: not a recording: .*steps\[1\]\.requests\[0\]\.addr"):
        recording.loads(json.dumps(wrong), source="r.json")


def test_writing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "r.json"
    write_whole(target, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(UsageError, match=r"r\.json: No space left on device"):
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
    with pytest.raises(UsageError, match="/dev/full: No space left on device"):
        write_whole(Path("/dev/full"), b"anything")
