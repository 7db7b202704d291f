import json
import subprocess
import sys
from pathlib import Path

import pytest

from virtiomem.cli.main import main

LISTING = """\
00001000-0009fbff : System RAM
000f0000-000fffff : Reserved
  000f0000-000fffff : System ROM
100000000-13fffffff : System RAM
140000000-33fffffff : virtio0
  140000000-147ffffff : System RAM (virtio_mem)
  148000000-14fffffff : System RAM (virtio_mem)
580000000-5ffffffff : PCI Bus 0000:00
"""


@pytest.fixture
def listing(tmp_path: Path) -> str:
    (tmp_path / "map").write_text(LISTING)
    return str(tmp_path / "map")


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["iomem", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_map_is_a_tree_with_sizes(listing: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, listing)
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["RANGE", "SIZE"],
        ["00001000-0009fbff", "635K"],
        ["000f0000-000fffff", "64K"],
    ]
    assert "  140000000-147ffffff  128M  " in out


def test_raw_is_the_listing_itself(listing: str, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["iomem", listing, "--raw"]) == 0
    assert capsysbinary.readouterr().out == LISTING.encode()


def test_merging_joins_touching_ram_of_equal_name(listing: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, listing, "--merge", "--raw")
    assert code == 0
    assert out.splitlines()[4:] == [
        "140000000-33fffffff : virtio0",
        "  140000000-14fffffff : System RAM (virtio_mem)",
        "580000000-5ffffffff : PCI Bus 0000:00",
    ]


def test_ram_is_summed_by_where_it_comes_from(listing: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, listing, "--ram", "-b")
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["boot", "or", "DIMM", "2", str((1 << 30) + 0x9EC00)],
        ["virtio_mem", "2", str(256 << 20)],
        ["total", "4", str((1 << 30) + 0x9EC00 + (256 << 20))],
    ]
    _, out, _ = run(capsys, listing, "--ram", "--json")
    value = json.loads(out)
    assert value["totals"]["virtio_mem"] == {"ranges": 2, "size": 256 << 20}
    assert [ram["kind"] for ram in value["ram"]] == ["boot or DIMM"] * 2 + ["virtio_mem"] * 2


def test_names_choose_resources(listing: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, listing, "--only", "System RAM*", "--only", "PCI*", "-n", "-o", "start,name,parent")
    assert [line.split() for line in out.splitlines()] == [
        ["0x1000", "System", "RAM"],
        ["0x100000000", "System", "RAM"],
        ["0x140000000", "System", "RAM", "(virtio_mem)", "virtio0"],
        ["0x148000000", "System", "RAM", "(virtio_mem)", "virtio0"],
        ["0x580000000", "PCI", "Bus", "0000:00"],
    ]


def test_json_nests_as_the_map_does(listing: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, listing, "--json")
    top = json.loads(out)["iomem"]
    assert [node["name"] for node in top[3]["children"]] == ["System RAM (virtio_mem)"] * 2
    assert top[3]["flags"] == ["MEM", "SYSRAM", "EXCLUSIVE"]
    assert "children" not in top[0]
    _, out, _ = run(capsys, listing, "--json", "--flat")
    assert [node["parent"] for node in json.loads(out)["iomem"]].count("virtio0") == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "00001000-0009fbff : System RAM\n[...]\n",
            ":2: not a resource line: '[...]' (--lenient reads the rest, and says at least)",
        ),
        ("00001000-0009fbff : System R", ":1: no newline at the end, and 'System R' may be cut short"),
        ("00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n", "read it as root"),
    ],
)
def test_a_damaged_listing_is_refused_in_one_line(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map").write_text(text)
    code, out, err = run(capsys, str(tmp_path / "map"))
    assert (code, out) == (2, "")
    assert err.startswith("virtiomem: ")
    assert reason in err
    assert err.count("\n") == 1


HIDDEN = "00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n"


def test_the_map_of_a_linux_is_called_by_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/iomem").write_text(HIDDEN)
    for command in (["iomem"], ["iomem", "--lenient"], ["iomem", "check"], ["kdump"]):
        main([*command, "-s", str(tmp_path)])
        assert (
            capsys.readouterr()
            .err.removeprefix("virtiomem: ")
            .startswith((f"{tmp_path}/proc/iomem:", f"warning: {tmp_path}/proc/iomem:"))
        )


def test_hidden_addresses_give_no_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map").write_text(HIDDEN)
    code, out, err = run(capsys, str(tmp_path / "map"), "--lenient")
    assert code == 64, "names are not all that was asked for"
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["00000000-00000000", "-", "System", "RAM"],
        ["00000000-00000000", "-", "Kernel", "code"],
    ]
    assert "read it as root" in err
    assert run(capsys, str(tmp_path / "map"), "--lenient", "--raw")[:2] == (64, HIDDEN)
    assert run(capsys, str(tmp_path / "map"), "--lenient", "--only", "Kernel*", "--json")[0] == 64
    for option in ("--ram", "--merge"):
        code, out, err = run(capsys, str(tmp_path / "map"), "--lenient", option)
        assert (code, out, "read it as root" in err) == (2, "", True), "no ranges, so nothing to count or to merge"


def test_nothing_of_a_kind_is_said_and_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map").write_text("00000000-00000fff : Reserved\n")
    code, _, err = run(capsys, str(tmp_path / "map"), "--only", "System Ram*", "--only", "Res")
    assert (code, err) == (1, "virtiomem: there is no resource called System Ram*, Res in it\n")
    code, out, err = run(capsys, str(tmp_path / "map"), "--ram", "--json")
    assert (code, json.loads(out)["ram"], err) == (1, [], "virtiomem: there is no System RAM in it\n")
    assert run(capsys, str(tmp_path / "map"), "--only", "Res*")[::2] == (0, "")


def test_damage_is_put_right_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map").write_text("> 00001000-0009fbff : System RAM\n> 000F0000-000fffff : Reserved\n...\n")
    code, out, err = run(capsys, str(tmp_path / "map"), "--lenient", "--raw")
    assert (code, out) == (64, "00001000-0009fbff : System RAM\n000f0000-000fffff : Reserved\n")
    assert [line.split(":")[3] for line in err.splitlines()] == [
        "1-2",
        "2",
        "3",
        " something of the map may be missing",
    ]
    _, out, _ = run(capsys, str(tmp_path / "map"), "--lenient", "--json")
    assert [repair["damage"] for repair in json.loads(out)["repairs"]] == [
        "quoted",
        "not written as the kernel writes",
        "not a resource line",
    ]


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (LISTING.replace("\n", "\r\n"), ["every line ends in a carriage return: taken away"]),
        (LISTING.replace("fbff : System RAM", "fbff : System RAM \t"), ["read as 00001000-0009fbff : System RAM"]),
        (LISTING.replace("fbff : System RAM", "fbff : System\u00a0RAM"), ["no-break spaces: '\\xa0': read as spaces"]),
        (LISTING.replace("\n  ", "\n\u00a0 "), ["read as spaces (and in 2 more lines)"]),
    ],
)
def test_ram_is_found_whatever_blanks_a_listing_went_through(
    damaged: str, said: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "map").write_bytes(damaged.encode())
    code, _, err = run(capsys, str(tmp_path / "map"), "--ram")
    assert (code, err.count("--lenient puts damage right")) == (2, 1)
    code, out, err = run(capsys, str(tmp_path / "map"), "--lenient", "--raw")
    assert (code, out) == (0, LISTING)
    lines = err.splitlines()
    assert len(lines) == len(said)
    assert all(line.endswith(end) for line, end in zip(lines, said, strict=True))
    (tmp_path / "map").write_bytes(damaged.encode("latin-1"))
    assert run(capsys, str(tmp_path / "map"), "--lenient", "--raw")[1] == LISTING


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--raw", "--ram"], "--raw prints the whole listing"),
        (["-o", "range,colour"], "no column 'colour' (there are range, start, end, size"),
        (["-s", "/mnt"], "--sysroot /mnt: cannot be read together with"),
        (["--raw", "--json"], "not allowed with argument"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    argv: list[str], reason: str, listing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, listing, *argv)
    assert (code, out) == (2, "")
    assert reason in err


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "/no/such/map")
    assert (code, err) == (2, "virtiomem: /no/such/map: No such file or directory\n")


def test_names_from_others_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map").write_text("00001000-0009fbff : \x1b[31mred\n")
    _, out, _ = run(capsys, str(tmp_path / "map"))
    assert "\\x1b[31mred" in out
    assert "\x1b" not in out


def test_a_plain_listing_waits_for_nothing_that_it_does_not_need(listing: str) -> None:
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "virtiomem", "iomem", listing],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "virtiomem.live.reading" in imported
    for unneeded in (
        "virtiomem.live.collect",
        "virtiomem.live.captured_devices",
        "virtiomem.recording",
        "virtiomem.guest",
    ):
        assert unneeded not in imported


def test_deep_nest_is_printed_in_a_few_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deep = "".join(f"{'  ' * min(at, 5)}{at:08x}-{0xFFFFFFFF - at:08x} : a\n" for at in range(3000))
    (tmp_path / "deep").write_text(deep)
    code, out, _ = run(capsys, str(tmp_path / "deep"))
    assert code == 0
    assert max(map(len, out.splitlines())) < 200


def test_nest_that_json_cannot_hold_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for depth, code in ((200, 0), (203, 2), (490, 2)):
        deep = "".join(f"{'  ' * min(at, 5)}{at:08x}-{0xFFFFFFFF - at:08x} : a\n" for at in range(depth))
        (tmp_path / "deep").write_text(deep)
        assert run(capsys, str(tmp_path / "deep"), "--json")[0] == code


def test_many_repairs_are_said_in_a_few_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map").write_text("\n" * 300_000 + "".join(f"junk {at}\n" for at in range(500)) + LISTING)
    code, out, err = run(capsys, str(tmp_path / "map"), "--lenient", "--raw")
    assert (code, out) == (64, LISTING)
    said = err.splitlines()
    assert said[0].endswith("map:1-300000: an empty line: left out")
    assert said[-2].endswith("map: 401 more repairs")
    assert len(said) == 102
