import json
from pathlib import Path

import pytest
from msgspec import structs

from virtiomem import recording
from virtiomem.errors import UsageError
from virtiomem.recording import VirtioMemInfo

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*/recording.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_recording_reads_back_as_it_was_written(path: Path) -> None:
    whole = recording.load(path)
    assert recording.loads(recording.dumps(whole)) == whole


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.parent.name)
def test_what_is_written_says_everything_that_was_read(path: Path) -> None:
    theirs, ours = json.loads(path.read_text()), json.loads(recording.dumps(recording.load(path), whole=True))
    for snapshot in [theirs["boot"], *(step["snapshot"] for step in theirs["steps"])]:
        for device in snapshot["devices"]:
            device.setdefault("type", "virtio-mem")
            device.setdefault("node", 0)
    for step in theirs["steps"]:
        if isinstance(step["step"].get("memaddr"), str):
            step["step"]["memaddr"] = int(step["step"]["memaddr"], 0)
    assert ours["boot"] == theirs["boot"]
    assert ours["steps"] == theirs["steps"]


def test_name_that_is_not_utf8_is_written_with_a_question_mark() -> None:
    whole = recording.load(RECORDINGS[0])
    odd = structs.replace(whole, boot=structs.replace(whole.boot, iomem="00000000-00000fff : \udcf9\n"))
    again = recording.loads(recording.dumps(odd))
    assert again.boot.iomem == "00000000-00000fff : ?\n"
    assert again.steps == whole.steps


def test_device_without_a_type_is_virtio_mem() -> None:
    assert isinstance(recording.load(RECORDINGS[0]).boot.devices[0], VirtioMemInfo)


def test_unknown_keys_are_passed_over() -> None:
    more = json.loads(RECORDINGS[0].read_text())
    more["weather"] = more["steps"][0]["mood"] = "fair"
    assert recording.loads(json.dumps(more)) == recording.load(RECORDINGS[0])


@pytest.mark.parametrize(("key", "value"), [("block-size", 0), ("block-size", -1), ("size", -1), ("memaddr", -4096)])
def test_device_with_a_size_that_is_invalid_is_refused(key: str, value: int) -> None:
    wrong = json.loads(RECORDINGS[0].read_text())
    wrong["steps"][1]["snapshot"]["devices"][0][key] = value
    with pytest.raises(
        UsageError, match=rf"r\.json: not a recording: steps\[1\]\.snapshot\.devices\[0\]\.{key}: expected "
    ):
        recording.loads(json.dumps(wrong), source="r.json")


def test_place_of_what_is_wrong_is_named() -> None:
    wrong = json.loads(RECORDINGS[0].read_text())
    wrong["steps"][1]["requests"][0]["addr"] = "six"
    with pytest.raises(UsageError, match=r"r\.json: not a recording: .*steps\[1\]\.requests\[0\]\.addr"):
        recording.loads(json.dumps(wrong), source="r.json")


def with_page_size(value: object) -> str:
    whole = json.loads(RECORDINGS[0].read_text())
    whole["guest"].pop("page-size", None)
    return json.dumps(whole if value is None else whole | {"guest": whole["guest"] | {"page-size": value}})


def test_recording_that_says_no_page_size_is_of_pages_of_4096_bytes() -> None:
    assert recording.loads(with_page_size(None)).page_size == 4096
    said = recording.loads(with_page_size(65536))
    assert said.page_size == recording.loads(recording.dumps(said)).page_size == 65536


@pytest.mark.parametrize("value", [0, 3, 2048, 131072, -4096, "4096", 4096.0, True, []])
def test_page_size_that_no_page_has_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match=r"^r\.json: not a recording: page-size must be .*, not [^\n]*$"):
        recording.loads(with_page_size(value), source="r.json")
