import base64
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from virtiomem import recording
from virtiomem.cli.main import main
from virtiomem.kdump import elfcore
from virtiomem.kdump.ranges import kernel_ranges
from virtiomem.live.capture import Capture, Section, dump
from virtiomem.releases.linux import LINUX
from virtiomem.resource import iomem

DATA = Path(__file__).parent.parent / "data/kdump"
FOLDERS = (("6.1", ""), ("6.12", "-6.12"))
OPTIONS = ["--note", "6371382784:368", "--vmcoreinfo", "0x17bd54000:4132", "--direct-map", "5-level"]
OPTIONS += ["--text", "0xffffffff81000000:0x2830000"]


@pytest.fixture
def listing(tmp_path: Path) -> Any:
    def write(name: str) -> str:
        (tmp_path / "guest.iomem").write_text(json.loads((DATA / f"{name}.json").read_text())["iomem"] + "\n")
        return str(tmp_path / "guest.iomem")

    return write


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["kdump", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_ranges_are_shown_with_what_was_left_out(listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, listing("merged-file"))
    assert (code, err) == (0, "")
    assert out == (
        "RANGE                               SIZE\n"
        "0000000000100000-000000006effffff   1.7G\n"
        "000000007f000000-000000007ffdffff  15.9M\n"
        "0000000100000000-000000017fffffff     2G\n"
        "0000000180000000-00000001ffffffff     2G\n"
        "\n"
        "kernel: 4 ranges, 5.7G; excluded: 0x0-0xfffff, 0x6f000000-0x7effffff\n"
        "4 of 16453 in a header that the kernel keeps up to date\n"
    )


def test_json_has_bytes_and_inclusive_ends(listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, listing("merged-load"), "--as", "kexec-tools", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["ranges"][0] == told["backup"] == {"start": 0x1000, "end": 0x9FBFF, "size": 0x9EC00}
    assert (told["loader"], told["entries"], told["limit"], told["lost"]) == ("kexec-tools", 13, 32768, [])


def test_the_two_loaders_differ_below_a_mebibyte_only(listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, listing("merged-load"), "--compare")
    assert code == 0
    assert out.splitlines()[1].split() == ["|", "0000000000001000-000000000009fbff", "635K"]
    assert out.splitlines()[-1] == "only kexec-tools: 0000000000001000-000000000009fbff (635K)"
    code, out, _ = run(capsys, listing("merged-load"), "--compare", "--json")
    assert json.loads(out)["only-kexec-tools"] == [{"start": 0x1000, "end": 0x9FBFF, "size": 0x9EC00}]


def test_a_full_table_is_said_and_fails(listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{at << 20:08x}-{((at + 1) << 20) - 1:08x} : System RAM\n" for at in range(1, 5))
    text += "  00400000-00400fff : Kernel code\n"
    path = Path(listing("none-file"))
    path.write_text(text)
    code, out, err = run(capsys, str(path), "--as", "kexec-tools", "--limit", "3")
    assert (code, "1M of RAM in 1 entry is not dumped" in err) == (1, True)
    assert "3 of 3 entries" in out
    assert "no crash kernel is reserved" in err
    assert run(capsys, str(path), "--compare", "--limit", "3")[0] == 1
    code, _, err = run(capsys, listing("merged-file"), "--as", "kexec-tools", "--limit", "5")
    assert (code, "kexec -p refuses this map" in err) == (1, True)


def test_a_written_header_is_the_real_one(listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = tmp_path / "header.elf"
    assert run(capsys, listing("unmerged-file"), "-o", str(header), *OPTIONS)[0] == 0
    recorded = json.loads((DATA / "unmerged-file.json").read_text())["elfcorehdr"]["base64"]
    assert header.read_bytes().rstrip(b"\0") == base64.b64decode(recorded).rstrip(b"\0")
    code, out, _ = run(capsys, listing("unmerged-file"), "--against", str(header))
    assert (code, out.splitlines()[:-1]) == (0, ["0B of RAM missing from the file"])
    assert "--as kexec-tools" in out.splitlines()[-1]
    code, out, _ = run(capsys, listing("unmerged-file"), "--against", str(header), "--as", "kernel")
    assert (code, out) == (0, "0B of RAM missing from the file\n")
    code, out, _ = run(capsys, listing("merged-file"), "--against", str(header), "--json")
    assert (code, json.loads(out)) == (0, {"missing": [], "gone": []})


def test_ram_that_came_after_the_header_is_missing(
    listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = str(tmp_path / "header.elf")
    run(capsys, listing("none-file"), "-o", header)
    code, out, _ = run(capsys, listing("merged-file"), "--against", header, "--as", "kernel")
    assert code == 1
    assert out.splitlines()[1:] == [
        "0000000180000000-00000001ffffffff    2G  RAM, not in the file",
        "2G of RAM missing from the file",
    ]


def test_a_capture_tells_what_a_listing_does_not(
    listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = {
        "proc/iomem": Section(Path(listing("merged-file")).read_text()),
        "sys/kernel": Section.of(["vmcoreinfo 0x17bd54000 1024"]),
        "sys/devices/system/cpu": Section.of(
            ["possible 0-79", "cpu0/crash_notes 17bc39600", "cpu0/crash_notes_size 368"]
        ),
    }
    dump(Capture(sections), tmp_path / "guest.capture")
    header = tmp_path / "header.elf"
    assert run(capsys, str(tmp_path / "guest.capture"), "-o", str(header))[0] == 0
    table = elfcore.load(header)
    assert [(one.paddr, one.filesz) for one in table[:2]] == [(0x17BC39600, 368), (0x17BD54000, 0x1024)]
    assert header.stat().st_size == 8192  # room for 80 CPUs
    assert run(capsys, str(tmp_path / "guest.capture"), "-o", str(header), "--possible-cpus", "1")[0] == 0
    assert header.stat().st_size == 4096


def test_memory_of_the_file_that_is_not_ram_any_more_does_no_harm(
    listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = str(tmp_path / "header.elf")
    run(capsys, listing("merged-file"), "-o", header)
    code, out, _ = run(capsys, listing("none-file"), "--against", header)
    assert (code, out.splitlines()[-3:-1]) == (
        0,
        [
            "0B of RAM missing from the file",
            "2G in the file is RAM no more: no harm, the crash kernel asks the device and reads zeros",
        ],
    )
    run(capsys, listing("merged-file"), "--as", "kexec-tools", "-o", header)
    code, out, _ = run(capsys, listing("merged-file"), "--against", header)
    assert (code, "RAM no more" in out) == (0, False), "the first MiB is each loader's own"


REAL = {version: DATA.parent / f"recordings{folder}/n-crash-kernel/recording.json" for version, folder in FOLDERS}


def after(step: int, version: str, tmp_path: Path) -> str:
    """A recording of a real Linux with a crash kernel, up to a step."""
    whole = recording.load(REAL[version])
    recording.dump(replace(whole, steps=whole.steps[:step]), tmp_path / "r.json")
    return str(tmp_path / "r.json")


def header(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, *argv, "--header", "--json")
    return code, json.loads(out)


def sizes(told: dict[str, Any], *names: str) -> list[int | None]:
    """How much each list has above what was there at boot, in MiB."""
    return [
        None if told[name] is None else sum(one["size"] for one in told[name] if one["start"] >= 0x180000000) >> 20
        for name in names
    ]


@pytest.mark.parametrize(
    ("step", "version", "code", "held"),
    [
        (2, "6.1", 0, [1024, 1024, 1024, 1024]),
        (3, "6.1", 1, [2048, 1024, 1024, 1024]),
        (4, "6.1", 0, [1024, 1024, 1024, 1024]),
        (3, "6.12", 0, [2048, 1024, 2048, 2048]),
        (4, "6.12", 0, [1024, 1024, 1152, 1024]),
        (6, "6.12", 0, [896, 1024, 1024, 896]),
        (9, "6.12", 1, [1536, 1024, 1024, 1024]),
    ],
)
def test_header_of_a_real_machine_then_now_and_next(
    step: int, version: str, code: int, held: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, told = header(capsys, after(step, version, tmp_path))
    assert (found, sizes(told, "ram", "at-loading", "now", "after-next")) == (code, held)
    assert told["kernel"] == f"Linux {version}"
    assert bool(told["missing"]) == (code == 1)


def test_ram_that_a_header_lacks_is_said_without_being_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, after(3, "6.1", tmp_path))
    assert (code, "any number of ranges fits: this kernel makes its header as large as it takes" in out) == (1, True)
    assert (
        err
        == "virtiomem: warning: 1G of RAM is not in the header, a crash loses it: load the crash kernel again (kexec -p)\n"
    )


def test_a_reboot_leaves_no_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, after(10, "6.12", tmp_path), "--header")
    assert (code, out, "no crash kernel is loaded" in err) == (1, "", True)


@pytest.mark.parametrize(
    ("kernel", "crash_hotplug", "argv", "kept", "at_least", "after_next"),
    [
        ("6.12.9", "1", [], True, 128, 256),
        ("6.12.9", "0", [], False, None, None),
        ("6.1.0", None, [], False, None, None),
        (None, None, [], None, None, None),
        (None, None, ["--model", "6.12", "--as", "kernel"], True, 128, 256),
        ("6.12.9", None, ["--model", "6.1"], False, None, None),
    ],
)
def test_missing_facts_about_a_header_are_unknown(
    kernel: str | None,
    crash_hotplug: str | None,
    argv: list[str],
    kept: bool | None,
    at_least: int | None,
    after_next: int | None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = ["00100000-7fffffff : System RAM", "  70000000-7effffff : Crash kernel"]
    lines += ["180000000-18fffffff : virtio0", "  180000000-18fffffff : System RAM (virtio_mem)"]
    hotplug = [] if crash_hotplug is None else [f"crash_hotplug {crash_hotplug}"]
    sections = {
        "proc/iomem": Section.of(lines),
        "proc/sys/kernel": Section.of([] if kernel is None else [f"osrelease {kernel}"]),
        "sys/kernel": Section.of(["kexec_crash_loaded 1"]),
        "sys/devices/system/memory": Section.of(
            [*("block_size_bytes 8000000", *hotplug), "0-48 online 1 0 Normal", "49 offline 1 0 Movable"]
        ),
    }
    dump(Capture(sections), tmp_path / "guest.capture")
    code, told = header(capsys, str(tmp_path / "guest.capture"), *argv)
    assert (code, told["kept-up-to-date"], told["now"], told["missing"]) == (64, kept, None, None)
    assert sizes(told, "certain", "after-next") == [at_least, after_next]
    assert run(capsys, str(tmp_path / "guest.capture"), *argv)[0] == 0


def test_kept_header_that_has_no_room_for_all_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text(
        '[guest]\nkernel = "6.12"\ncrashkernel = "256M"\ncrash-header-cpus = 0\ncrash-header-ranges = 70\n'
        '[driver]\nmerge-resources = false\n[[device]]\nid = "vm0"\nmax-size = "16G"\n'
        '[[step]]\ndo = "load"\n[[step]]\ndo = "load-crash-kernel"\n'
        '[[step]]\ndo = "resize"\ndevice = "vm0"\nrequested-size = "10G"\n'
    )
    assert main(["run", str(tmp_path / "a.toml"), "--record", str(tmp_path / "r.json")]) == 0
    for mode in ([], ["--header"]):
        code, _, err = run(capsys, str(tmp_path / "r.json"), *mode)
        assert (code, "83 ranges: a kernel that keeps the header up to date (since 6.6) has room for 69" in err) == (
            1,
            True,
        )


@pytest.mark.parametrize(("release", "code"), [("6.1", 0), ("6.6", 64), ("7.3", 64), (None, 0)])
def test_header_lacks_notes_of_cpus_that_may_come_where_the_kernel_has_them(
    release: str | None, code: int, listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = {
        "proc/iomem": Section(Path(listing("merged-file")).read_text()),
        "sys/kernel": Section.of(["vmcoreinfo 0x17bd54000 1024"]),
        "sys/devices/system/cpu": Section.of(
            ["possible 0-3", "present 0", "cpu0/crash_notes 17bc39600", "cpu0/crash_notes_size 368"]
        ),
    }
    dump(Capture(sections), tmp_path / "guest.capture")
    header = tmp_path / "h"
    model = [] if release is None else ["--model", release]
    found, _, err = run(capsys, str(tmp_path / "guest.capture"), *model, "-o", str(header))
    said = f"virtiomem: warning: {header}: crash notes of 1 CPUs, where the kernel's header has those of 4 (--note)\n"
    assert (found, err) == (code, said if code else "")


def test_release_that_is_not_known_is_taken_for_another_and_said(
    listing: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, listing("merged-file"), "--model", "99.4")
    assert (code, err) == (0, f"virtiomem: warning: Linux 99.4 is not known: it is taken for {LINUX.newest.name}\n")


def test_header_that_reads_wrong_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in ("now 5-4", "x", "now 0-1ffffffffffffffff", "loading"):
        sections = {"proc/iomem": Section("00100000-3fffffff : System RAM\n"), "crash-header": Section.of([line])}
        dump(Capture(sections), tmp_path / "guest.capture")
        code, _, err = run(capsys, str(tmp_path / "guest.capture"))
        assert (code, f"guest.capture: not a line of a crash header: {line!r}" in err) == (2, True)


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["--header", "--compare"], "--compare is for the ranges of the map"),
        (["--header", "-o", "x"], "-o is for the ranges of the map"),
        (["--model", "six"], "'six' is not a release of Linux such as 6.12"),
        (["--step", "1"], "--step 1: "),
        (["--note", "12"], "'12' is not ADDR:SIZE"),
        (["--note", "1:2@3"], "'1:2@3' is not ADDR:SIZE"),
        (["--vmcoreinfo", "x:1"], "'x' is not a number"),
        (
            ["--vmcoreinfo", "0x17bd54000:1024"],
            "'0x17bd54000:1024': such a note has more than 4096 bytes; /sys/kernel/vmc",
        ),
        (["--note", "0100:16"], "'0100' is not a number"),
        (["--possible-cpus", "9999999999"], "9999999999 are more than the 8192"),
        (["--direct-map", "high"], "'high' is not a number"),
        (["--backup", "-1"], "--backup"),
        (["--as", "grub"], "'grub' is not one of"),
        (["--limit", "0"], "--limit: not a count: '0'"),
        (["--possible-cpus", "0"], "--possible-cpus: not a count: '0'"),
        (["--compare", "--as", "kernel"], "--compare shows both loaders and cannot be combined with --as kernel"),
        (["--compare", "--against", "x"], "--compare and --against exclude each other"),
        (["--compare", "-o", "x"], "-o writes a header"),
        (["--against", "x", "-o", "y"], "-o writes a header"),
        (["-o", "-"], "-o -: a header is binary, it goes to a file"),
        (["-s", "/mnt"], "--sysroot /mnt: cannot be read together with"),
        (["--against", "/nonexistent"], "/nonexistent: No such file"),
        (["--against", "/dev/null"], "/dev/null: "),
    ],
)
def test_a_wrong_option_is_named(
    listing: Any, capsys: pytest.CaptureFixture[str], argv: list[str], reason: str
) -> None:
    code, _, err = run(capsys, listing("merged-file"), *argv)
    assert (code, err.count("\n")) == (2, 1)
    assert reason in err


def test_text_needs_a_place_when_the_listing_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.iomem").write_text("00100000-3fffffff : System RAM\n")
    argv = [str(tmp_path / "a.iomem"), "-o", str(tmp_path / "h"), "--text", "0xffffffff81000000:4096"]
    code, _, err = run(capsys, *argv)
    assert (code, "needs @PADDR" in err, (tmp_path / "h").exists()) == (2, True, False)
    argv[-1] += "@0x1000000"
    assert run(capsys, *argv)[0] == 64, "it has no notes"
    assert elfcore.load(tmp_path / "h")[0].paddr == 0x1000000


def test_a_damaged_map_is_put_right_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "a.iomem"
    damaged.write_text("00001000-0009fbff : Crash kernel\n[...]\n00100000-3fffffff : System RAM\n")
    code, _, err = run(capsys, str(damaged))
    assert (code, "a.iomem:2: " in err, "--lenient reads the rest, and says at least" in err) == (2, True, True)
    code, out, err = run(capsys, str(damaged), "--lenient", "-n")
    assert (code, out) == (64, "0000000000100000-000000003fffffff  1023M\n")
    assert "a.iomem:2: " in err


@pytest.mark.parametrize("damage", ["", "[...]\n"])
def test_a_map_that_hides_its_addresses_is_refused_damaged_or_not(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.iomem").write_text(f"00000000-00000000 : System RAM\n{damage}")
    code, _, err = run(capsys, str(tmp_path / "a.iomem"), "--lenient")
    assert (code, "a.iomem:1: all addresses are zero" in err) == (2, True)


def test_a_map_without_ram_fails_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.iomem").write_text("00000000-00000fff : Reserved\n")
    code, _, err = run(capsys, str(tmp_path / "a.iomem"))
    assert (code, "no System RAM to dump" in err) == (1, True)
    header = tmp_path / "header.elf"
    header.write_bytes(elfcore.header(kernel_ranges(iomem.loads("00100000-3fffffff : System RAM\n")), elfcore.Inputs()))
    for mode in (["--compare"], ["--against", str(header)], ["-J"]):
        code, _, err = run(capsys, str(tmp_path / "a.iomem"), *mode)
        assert (code, "no System RAM to dump" in err) == (1, True), mode


WITHOUT = "00100000-3fffffff : System RAM\n  01000000-01ffffff : Kernel code\n"


def test_no_dump_is_said_where_no_crash_kernel_is_reserved_or_loaded(
    listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.iomem").write_text(WITHOUT)
    write = ["-o", str(tmp_path / "h"), "--note", "4096:368", "--vmcoreinfo", "8192:4132"]
    for mode in ([], ["-n"], ["--compare"], ["--as", "kexec-tools"], write):
        code, _, err = run(capsys, str(tmp_path / "a.iomem"), *mode)
        assert "no crash kernel is reserved (boot with crashkernel=" in err, mode
        assert code == (0 if mode is write else 1), "a header may serve elsewhere"
    code, out, _ = run(capsys, str(tmp_path / "a.iomem"), "-J")
    assert (code, ["no crash kernel is reserved" in one for one in json.loads(out)["findings"]]) == (1, [True])
    text = Path(listing("merged-file")).read_text()
    for loaded in "01":
        sections = {"proc/iomem": Section(text), "sys/kernel": Section.of([f"kexec_crash_loaded {loaded}"])}
        dump(Capture(sections), tmp_path / "guest.capture")
        code, _, err = run(capsys, str(tmp_path / "guest.capture"))
        assert (code, "no crash kernel is loaded" in err) == ((1, True) if loaded == "0" else (0, False))


def test_a_header_without_notes_is_written_and_said_to_lack_them(
    listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write = [listing("merged-file"), "-n", "-o", str(tmp_path / "h")]
    code, _, err = run(capsys, *write)
    assert (code, err.count("\n"), len(elfcore.load(tmp_path / "h"))) == (64, 2, 4)
    assert f"virtiomem: warning: {tmp_path}/h: no CPU's crash notes (--note)" in err
    code, _, err = run(capsys, *write, "--note", "4096:368")
    assert (code, err.count("\n"), "no vmcoreinfo (--vmcoreinfo)" in err) == (64, 1, True)
    assert run(capsys, *write, "--note", "4096:368", "--vmcoreinfo", "8192:4132")[::2] == (0, "")


@pytest.mark.parametrize("text", [WITHOUT, "00100000-3fffffff : System RAM\n"], ids=["a mark", "picked out"])
def test_nothing_is_claimed_about_a_crash_kernel_whose_line_may_be_missing(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = "Kernel code" not in text
    (tmp_path / "a.iomem").write_text(text if whole else f"{text}[...]\n")
    code, out, err = run(capsys, str(tmp_path / "a.iomem"), "--lenient")
    assert (code, "1023M of what was read;" in out, "at least" in out) == (1 if whole else 64, not whole, False)
    assert "whether any is reserved is not known" in err
    assert "no crash kernel is reserved" not in err


def test_both_commands_have_the_same_room_for_a_header(listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    file = listing("merged-file")
    assert "4 of 16453 in a header" in run(capsys, file)[1]
    main(["iomem", "check", "--json", file])
    assert json.loads(capsys.readouterr().out)["consumers"][0]["limit"] == 16453


def test_header_that_another_system_call_made_is_not_shown_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, after(2, "6.12", tmp_path), "--header", "--as", "kexec-tools")
    assert (code, out) == (2, "")
    assert "says that kexec_file_load loaded its crash kernel: that header is the one of --as kernel" in err
    assert run(capsys, after(2, "6.12", tmp_path), "--header", "--as", "kernel")[0] == 0


def test_a_step_of_a_recording_is_the_recording_up_to_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = str(REAL["6.12"])
    for argv in (["--json"], ["--header", "--json"]):
        assert run(capsys, whole, "--step", "4", *argv) == run(capsys, after(4, "6.12", tmp_path), *argv)
    code, _, err = run(capsys, whole, "--step", "12")
    assert (code, "no step 12, there are 0 (boot) to 11" in err) == (2, True)
    assert run(capsys, "--step", "0") == (2, "", "virtiomem: --step is for a recording: give FILE\n")


def test_merging_shows_the_dump_of_a_kernel_that_merges(listing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    merged = run(capsys, listing("merged-file"), "-n")[1]
    unmerged = listing("unmerged-file")
    assert run(capsys, unmerged, "-n")[1].count("\n") > merged.count("\n")
    assert run(capsys, unmerged, "-n", "--merge")[1] == merged


def test_an_address_with_letters_is_hexadecimal(
    listing: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = tmp_path / "h"
    notes = ["--note", "17bc39600:368", "--note", "4096:368", "--vmcoreinfo", "0x17bd54000:0x1024"]
    write = [listing("merged-file"), "-n", "-o", str(header), *notes]
    assert run(capsys, *write, "--text", "ffffffff81000000:0x2830000", "--direct-map", "ff11000000000000")[0] == 0
    places = [(one.paddr, one.vaddr) for one in elfcore.load(header)]
    assert places[:3] == [(0x17BC39600, 0), (4096, 0), (0x17BD54000, 0)], "digits alone are decimal"
    assert (places[3][1], places[4][1]) == (0xFFFFFFFF81000000, 0xFF11000000100000)
