import json
from pathlib import Path

import pytest

from virtiomem.cli.main import main

RECORDINGS = Path(__file__).parents[1] / "data" / "recordings"
MERGED, APART = (str(RECORDINGS / name / "recording.json") for name in ("a-patch-exact", "nomerge-a-patch-exact"))


def test_same_recordings_exit_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", MERGED, MERGED]) == 0
    assert capsys.readouterr().out == "same: 4 steps\n"


def test_different_recordings_exit_1_with_both_values(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RECORDINGS)
    assert main(["compare", "a-patch-exact/recording.json", "nomerge-a-patch-exact/recording.json"]) == 1
    assert capsys.readouterr().out == (
        "different at step 1 (load the driver): iomem\n"
        "  a-patch-exact/recording.json          140000000-1bfffffff : System RAM (virtio_mem)\n"
        "  nomerge-a-patch-exact/recording.json  140000000-147ffffff : System RAM (virtio_mem)\n"
    )


def test_verdict_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--json", MERGED, MERGED]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "same": True,
        "difference": None,
        "steps": [4, 4],
        "refused": [0, 0],
        "stopped-short": [0, 0],
    }
    assert main(["compare", "-J", MERGED, APART]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["same"] is False
    assert verdict["difference"] == {
        "step": 1,
        "action": "load the driver",
        "what": "iomem",
        "a": "140000000-1bfffffff : System RAM (virtio_mem)",
        "b": "140000000-147ffffff : System RAM (virtio_mem)",
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"", "not a recording"),
        (b"{}", "format null is not virtiomem-recording/1 or virtiomem-recording/2"),
        (
            b'{"format": "virtiomem-recording/3"}',
            'format "virtiomem-recording/3" is not virtiomem-recording/1 or virtiomem-recording/2',
        ),
        (b'{"format": "virtiomem-recording/1"}', "not a recording"),
        (b'{"format": "virtiomem-recording/2"}', "'guest' is missing"),
        (b"[1, 2", "not a recording"),
        (b"[" * 1_000_000, "not a recording: nested too deeply"),
        (b"[]", "not a recording"),
        (b"\xff\xfe", "not a recording"),
        (
            b'{"format": "virtiomem-recording/1", "guest": {}, "boot": 3, "steps": []}',
            "boot: expected an object, got an integer",
        ),
    ],
)
def test_what_is_no_recording_is_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, words: str
) -> None:
    path = tmp_path / "r.json"
    if content is not None:
        path.write_bytes(content)
    assert main(["compare", MERGED, str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"virtiomem: {path}: ")
    assert words in said.err
    assert said.err.count("\n") == 1


def test_directory_is_no_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path), MERGED]) == 2
    assert capsys.readouterr().err == f"virtiomem: {tmp_path}: Is a directory\n"


def test_what_a_kexec_leaves_out_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    kexec = str(RECORDINGS / "z-kexec" / "recording.json")
    words = "System RAM and Reserved lines of boot memory, from step 3 (kexec) to the next reboot"
    assert main(["compare", kexec, kexec]) == 0
    assert capsys.readouterr().out == f"same: 7 steps, 1 stopped short\nnot compared: {words}\n"
    assert main(["compare", "--json", kexec, kexec]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["same"], verdict["difference"], verdict["not-compared"]) == (True, None, words)


@pytest.fixture
def other_kernel(tmp_path: Path) -> str:
    """The recording as another kernel would have made it, which hides a control character in a name of its own."""
    text = Path(MERGED).read_text().replace(": IOAPIC", ": \\u001b[2J\\u202e")
    (tmp_path / "other.json").write_text(text)
    return str(tmp_path / "other.json")


def test_what_is_set_apart_is_listed_once_and_cannot_control_the_terminal(
    other_kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", MERGED, other_kernel]) == 0
    first, heading, one, other = capsys.readouterr().out.splitlines()
    assert first == "same: 4 steps"
    assert heading == "set apart, as the kernel's, its build's or the firmware's own (--all compares it):"
    assert one.endswith("  fec00000-fec003ff : IOAPIC 0")
    assert other.endswith(r"  fec00000-fec003ff : \x1b[2J\u202e 0")
    assert main(["compare", "-J", MERGED, other_kernel]) == 0
    apart = json.loads(capsys.readouterr().out)["set-apart"]
    assert apart["a"] == ["fec00000-fec003ff : IOAPIC 0"]
    assert len(apart["b"]) == 1


def test_all_compares_it_and_ignore_leaves_out_what_is_known(
    other_kernel: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--all", MERGED, other_kernel]) == 1
    assert "set apart" not in capsys.readouterr().out
    assert main(["compare", "--all", "--ignore", "^fec00000-.* 0$", MERGED, other_kernel]) == 0
    assert capsys.readouterr().out == "same: 4 steps\nnot compared: what matches ^fec00000-.* 0$\n"
    assert main(["compare", "--ignore", "IOAPIC", "--ignore", "^fec", MERGED, other_kernel]) == 0
    assert "set apart" not in capsys.readouterr().out, "it is known"
    assert main(["compare", "--ignore", "virtio_mem", MERGED, APART]) == 0


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "*", "a{2,1}"])
def test_a_pattern_that_is_invalid_is_usage(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--ignore", pattern, MERGED, MERGED]) == 2
    assert f"not a regular expression: {pattern!r}" in capsys.readouterr().err


def test_nothing_that_was_seen_is_not_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boot = {"iomem": "", "memory-blocks": [], "zones": {}, "devices": []}
    nothing = {"format": "virtiomem-recording/1", "guest": {}, "boot": boot, "steps": []}
    path = tmp_path / "nothing.json"
    path.write_text(json.dumps(nothing))
    for command in (["compare", str(path), str(path)], ["map", str(path), "-J"], ["report", str(path), "-J"]):
        assert main(command) == 2
        assert "nothing of the guest was seen" in capsys.readouterr().err
    path.write_text(json.dumps(nothing | {"boot": boot | {"iomem": "00000000-00000fff : Reserved\n"}}))
    assert main(["compare", str(path), str(path)]) == 0
    assert capsys.readouterr().out == "same: the guest at boot; there is no step\n"
