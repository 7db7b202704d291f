"""Whatever people bring is recognised, named and read; the wrong kind for a command is refused in one line."""

import json
import lzma
import os
import struct
from pathlib import Path

import pytest

from docs.input import BEGIN, END, PAGE, table
from docs.marked import page_with
from virtiomem.cli.main import main
from virtiomem.live.kinds import crash_dump
from virtiomem.live.kinds.table import HEAD, KINDS, TAKEN, recognise
from virtiomem.live.kinds.values import RANGES
from virtiomem.live.reading import check_words, read_any

SHARED = Path(os.environ.get("VIRTIOMEM_SHARED", Path(__file__).parents[3] / "shared"))
LISTING = "00001000-0009fbff : System RAM\n00100000-7fffffff : System RAM\n  01000000-01dfffff : Kernel code\n"
LSMEM = """\
RANGE                                 SIZE   STATE REMOVABLE   BLOCK
0x0000000000000000-0x000000007fffffff   2G  online       yes    0-15
0x0000000100000000-0x000000037fffffff  10G  online       yes  32-111
0x0000000690000000-0x000000070fffffff   2G offline           210-225

Memory block size:       128M
Total online memory:      12G
Total offline memory:      2G
"""
ROWS = LSMEM.partition("\n\n")[0].partition("\n")[2]
ZONES = """\
Node 0, zone   Normal
  pages free     3840
        min      8
        spanned  262144
        present  262144
        managed  250000
"""
BUDDY = "Node 0, zone   Normal      1      0      2      0      0      0      0      0      0      0      3 \n"
PAGETYPES = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2
Node    0, zone   Normal, type    Unmovable      1      0      2
Node    0, zone   Normal, type      Movable      0      0      7

Number of blocks type     Unmovable      Movable
Node 0, zone   Normal             3          509
"""
LOG = """\
[    0.000000] Linux version 6.1.0
[    1.234567] virtio_mem virtio0: start address: 0x140000000
[    1.234568] virtio_mem virtio0: region size: 0x200000000
Nov 20 10:00:00 host kernel: [    1.3] virtio_mem virtio0: requested size: 0xc0000000
[    1.400000] virtio_mem virtio0: adding memory failed: -12
<4>[    1.500000] Block size [0x8000000] unaligned hotplug range: start 0x100200000, size 0x40000000
"""
QMP = """\
{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}
{"execute": "qom-set", "arguments": {"path": "/machine/peripheral/vm0", "property": "requested-size", "value": 3221225472}}
{"return": [{"type": "virtio-mem", "data": {"id": "vm0", "memaddr": 5368709120, "requested-size": 3221225472, "size": 1073741824,
 "max-size": 8589934592, "block-size": 2097152, "node": 0}}]}
{"event": "MEMORY_DEVICE_SIZE_CHANGE", "data": {"id": "vm0", "size": 2147483648}}
{"error": {"class": "GenericError", "desc": "no"}}
"""
HMP = """\
(qemu) info memory-devices
Memory device [virtio-mem]: "vm0"
  memaddr: 0x140000000
  requested-size: 3221225472
base memory: 4294967296
"""
DOMAIN = """\
<domain type='kvm'><maxMemory slots='4' unit='GiB'>16</maxMemory><memory unit='KiB'>4194304</memory><devices>
 <memory model='virtio-mem'><target><size unit='GiB'>8</size><block unit='MiB'>2</block><requested unit='GiB'>3</requested>
  <current unit='GiB'>1</current><address base='0x140000000'/></target><alias name='ua-vm0'/></memory></devices></domain>
"""
READELF = """\
Elf file type is CORE (Core file)
Entry point 0x0
There are 2 program headers, starting at offset 64

Program Headers:
  Type           Offset             VirtAddr           PhysAddr
                 FileSiz            MemSiz              Flags  Align
  NOTE           0x0000000000001000 0x0000000000000000 0x0000000000000000
                 0x0000000000000000 0x0000000000000000         0x0
  LOAD           0x0000000000002000 0xffff888000100000 0x0000000000100000
                 0x000000007ff00000 0x000000007ff00000  RWE    0x0
"""
JC = '[{"start": "00001000", "end": "0009fbff", "device": "System RAM"}, {"start": "00100000", "end": "7fffffff", "device": "System RAM"}]'
OURS = '{"iomem": [{"start": 4096, "end": 654335, "name": "System RAM", "children": [{"start": 4096, "end": 8191, "name": "a"}]}]}'
VOLATILITY_ROWS = (
    (0, "PCI mem", 0, 0xFFFFFFFFFF),
    (1, "System RAM", 0x1000, 0x9FBFF),
    (1, "System RAM", 0x100000, 0x7FFFFFFF),
    (2, "Kernel code", 0x1000000, 0x1DFFFFF),
)
VOLATILITY_2 = "Volatility Foundation Volatility Framework 2.6.1\n" + "".join(
    "{:35s}\t0x{:<16X}\t0x{:<16X}\n".format("  " * depth + name, start, end)
    for depth, name, start, end in VOLATILITY_ROWS
)
VOLATILITY_3 = "Volatility 3 Framework 2.7.0\n\nNAME\tSTART\tEND\n\n" + "".join(
    f"{'*' * depth}{' ' * (depth > 0)}{name}\t{start:#x}\t{end:#x}\n" for depth, name, start, end in VOLATILITY_ROWS
)
VOLATILITY_PRETTY = "Formatting...\n    |        NAME |     START |          END\n" + "".join(
    f"{'*' * (depth + 1):<3} | {name:>11} | {start:>#9x} | {end:>#12x}\n" for depth, name, start, end in VOLATILITY_ROWS
)
VOLATILITY_CSV = "TreeDepth,NAME,START,END\n" + "".join(
    f"{depth},{name},{start:#x},{end:#x}\n" for depth, name, start, end in VOLATILITY_ROWS
)
CRASH = """\
    RESOURCE        RANGE    NAME
ffff88813fff6a40  00001000-0009fbff  System RAM
ffff88813fff6a80  00100000-7fffffff  System RAM
ffff88813fff6ac0  01000000-01dfffff  Kernel code
"""
TEXTS = {
    "listing": LISTING,
    "lsmem": LSMEM,
    "zoneinfo": ZONES,
    "buddyinfo": BUDDY,
    "pagetypeinfo": PAGETYPES,
    "dmesg": LOG,
    "qmp": QMP,
    "hmp": HMP,
    "libvirt": DOMAIN,
    "readelf": READELF,
    "jc": JC,
    "volatility": VOLATILITY_2,
    "crash": CRASH,
    "capture": "virtiomem-capture/1\n\n[proc/iomem]\n 00001000-0009fbff : System RAM\n# end\n",
}


def facts(path: Path) -> dict[tuple[str, str], int | str]:
    return {(of, what): value for of, what, value in read_any(path).facts}


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    return tmp_path / "brought"


@pytest.mark.parametrize("kind", TEXTS)
def test_what_is_brought_is_recognised_named_and_read(
    kind: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_text(TEXTS[kind])
    assert recognise(TEXTS[kind].encode()[:HEAD]).name == kind
    assert main(["read", str(brought), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["kind"] == kind
    assert value["facts"]
    assert main(["read", str(brought)]) == 0
    assert f"{brought} is {value['is']}; " in capsys.readouterr().out


@pytest.mark.parametrize("verb", TAKEN)
@pytest.mark.parametrize("kind", TEXTS)
def test_command_takes_every_kind_that_has_what_it_needs_and_names_who_takes_the_others(
    kind: str, verb: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_text(TEXTS[kind])
    row = next(one for one in KINDS if one.name == kind)
    if verb == "kdump --against":
        argv = ["kdump", str(_whole(brought)), "--against", str(brought)]
    else:
        argv = [verb, str(brought), *(["--json"] if verb == "map" else [])]
    code = main(argv)
    err = capsys.readouterr().err
    if verb in row.verbs or (kind == "capture" and verb == "blocks"):  # one without blocks says so itself
        assert "; `virtiomem" not in err
    else:
        assert code == 2
        why = ", and not an ELF core file; " if verb == "kdump --against" else ": no "
        assert f"brought is {row.words}{why}" in err
        assert f"`virtiomem {row.verbs[0]}`" in err
        assert err.count("\n") == 1


SCENARIO = "# a remark\ntitle = 'grow'\n\n[guest]\nmemory = '4G'\n"
LOG_OF_REQUESTS = '{"op": "header", "name": "grow", "config": {}}\n{"op": "state"}\n'
OTHER_KINDS: dict[str, tuple[bytes, str]] = {
    "scenario": (SCENARIO.encode(), "a scenario; `virtiomem run` plays it, and `--record FILE` keeps a recording"),
    "device log": (LOG_OF_REQUESTS.encode(), "a log of requests to a device; `virtiomem device replay` takes it"),
    "table": (b"RANGE              SIZE  BAR  NAME\n00001000-0009fbff  635K  ###  System RAM\n", "a table that "),
    "picture with a listing in it": (
        f"<svg>\n<title>\n{LISTING}</title></svg>".encode(),
        "a picture; what it was made of",
    ),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a picture; what it was made of"),
    "report page with a log in it": (
        b"<!DOCTYPE html>\n<script>virtio_mem virtio0: start address: 0x140000000</script>",
        "a page for a browser; the recordings",
    ),
    "program": (b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0" + bytes(60), "a program, an object or a library; "),
    "xz": (lzma.compress(LISTING.encode()), "packed by xz; `xz -dc FILE` unpacks it"),
    "archive": (f"l{chr(0) * 256}ustar{chr(0) * 250}{LISTING}".encode(), "an archive of files; `tar -xf` unpacks it"),
    "binary": (bytes(range(256)), "binary data of no kind that is read; a listing or a capture is text"),
}


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_what_no_command_reads_is_named_and_what_to_do_with_it_is_said(
    kind: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, said = OTHER_KINDS[kind]
    brought.write_bytes(data)
    for verb in ("iomem", "blocks", "explain"):
        assert main([verb, str(brought)]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"virtiomem: {brought} is {said}")
        assert err.count("\n") == 1
    assert main(["read", str(brought)]) == 0
    assert capsys.readouterr().out.startswith(f"{brought} is {said}")


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["run"], "a scenario"),
        (["compare"], "a scenario"),
        (["report", "--json"], "a recording"),
        (["device", "replay"], "a log of requests to a device"),
    ],
)
def test_who_takes_one_kind_names_another(
    argv: list[str], wanted: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_text(LISTING)
    assert main([*argv, str(brought)]) == 2
    assert f"brought is a listing of /proc/iomem, and not {wanted}; `virtiomem iomem` or " in capsys.readouterr().err
    brought.write_text("of no kind")
    assert main([*argv, str(brought)]) == 2
    assert ", and not " not in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_what_powershell_wrote_is_read(encoding: str, brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = LISTING if encoding == "utf-16" else f"\ufeff{LISTING}"
    brought.write_bytes(text.encode(encoding))
    code = main(["iomem", "--raw", str(brought)])
    assert (code, capsys.readouterr().out) == (0, LISTING)
    brought.write_bytes(b"\xff\xfe0")
    assert main(["iomem", str(brought)]) == 2
    assert "not UTF-16, though it begins so" in capsys.readouterr().err


def _whole(path: Path) -> Path:
    whole = path.with_name("whole")
    whole.write_text(LISTING)
    return whole


def test_what_is_not_a_listing_by_itself_is_said_to_be_what_it_is(
    brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_text(LSMEM)
    assert main(["blocks", str(brought)]) == 0
    out, err = capsys.readouterr()
    assert (out, err) == (LSMEM, f"virtiomem: {brought}: read as the output of lsmem\n")


def test_kind_is_what_the_option_says(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_text(ROWS)
    assert main(["blocks", "--from", "lsmem", str(brought)]) == 0
    assert main(["iomem", "--from", "listing", str(brought)]) == 2
    assert main(["iomem", "--from", "nonsense", str(brought)]) == 2
    assert "--from: no kind 'nonsense' (there are capture, recording, " in capsys.readouterr().err


def test_of_what_it_may_be_it_is_what_the_command_can_use(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_text(f"$ cat /proc/iomem\n{LISTING}$ lsmem\n{LSMEM}")
    assert main(["iomem", "--lenient", str(brought)]) == 64
    capsys.readouterr()
    assert main(["blocks", str(brought)]) == 2, "the listing's lines are not lsmem's, and that is said"
    assert "not a line of lsmem's: '00001000" in capsys.readouterr().err


# -- lsmem --------------------------------------------------------------------------------------------------------------

STYLES = {
    "headings left out": ROWS,
    "quoted": "".join(f"> {line}\n" for line in LSMEM.splitlines()),
    "the command above": f"$ lsmem\n{LSMEM}",
    "pairs": "\n".join(
        'RANGE="{}" SIZE="{}" STATE="{}" REMOVABLE="{}" BLOCK="{}"'.format(*(line.split() if "yes" in line else [*line.split()[:3], "", line.split()[3]]))
        for line in ROWS.splitlines()
    ),
    "raw": "RANGE SIZE STATE REMOVABLE BLOCK\n"
    + "\n".join(" ".join(line.split() if "yes" in line else [*line.split()[:3], "", line.split()[3]]) for line in ROWS.splitlines()),
    "JSON": json.dumps(
        {
            "memory": [
                {"range": cells[0], "size": cells[1], "state": cells[2], "removable": "yes" in cells, "block": cells[-1]}
                for cells in map(str.split, ROWS.splitlines())
            ]
        },
        indent=3,
    ),
    "no blocks, but a summary": "RANGE                                  STATE\n"
    + "".join(f"{line.split()[0]} {line.split()[2]:>7}\n" for line in ROWS.splitlines())
    + "\nMemory block size:       128M\n",
    "s390-tools": "Address range                          Size (MB)  State    Removable  Device\n"
    "===============================================================================\n"
    "0x0000000000000000-0x000000007fffffff       2048  online   yes        0-1023\n"
    "0x0000000100000000-0x000000037fffffff      10240  online   yes        2048-7167\n"
    "0x0000000690000000-0x000000070fffffff       2048  offline  -          13440-14463\n\n"
    "Memory device size  : 2 MB\nMemory block size   : 128 MB\nTotal online memory : 12288 MB\nTotal offline memory: 2048 MB\n",
}  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
def test_lsmem_is_read_in_every_style(style: str, brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_text(STYLES[style])
    assert main(["blocks", str(brought), "-o", "range,state,block"]) == 0
    plain = capsys.readouterr().out
    brought.write_text(LSMEM)
    main(["blocks", str(brought), "-o", "range,state,block"])
    assert plain == capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LSMEM.replace("12G", "14G"), "rows are missing: 12G in them are online, and the summary says '14G'"),
        (LSMEM.replace("12G", "11G").replace("  2G\n", "  3G\n"), "rows have blocks of several states, which `lsmem -S state` splits: 12G in"),
        (LSMEM.replace("32-111", "33-112"), ":3: 0x0000000100000000-0x000000037fffffff is not the blocks '33-112'"),
        (LSMEM.replace("0x0000000100", "0x0000000101"), ":3: 0x0000000101000000-0x000000037fffffff is not whole memory blocks of 128M"),
        (LSMEM.replace("0-15", "0-15 what"), ":2: a row that does not fit the headings"),
        (LSMEM.replace("\n\n", "\n[...]\n"), ":5: not a line of lsmem's: '[...]'"),
        ("Memory block size: 128M\n", "totals alone, with no ranges"),
        ("RANGE STATE\n0x0000000000000000-0x000000007fffffff online\n", "neither BLOCK nor a summary says how large blocks are"),
    ],
)  # fmt: skip
def test_damaged_lsmem_is_refused_with_its_line(
    text: str, reason: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_text(text)
    assert main(["blocks", str(brought)]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "file", sorted((SHARED / "iomem").glob("*.lsmem")) or ["absent"], ids=lambda path: str(path)[-24:]
)
def test_lsmem_as_posted_is_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not isinstance(file, Path):
        pytest.skip(f"no tables in {SHARED}")
    assert main(["blocks", str(file)]) == 0
    shown, posted = capsys.readouterr().out, file.read_text()
    assert shown.partition("\n\n")[0] == posted.partition("\n\n")[0].rstrip("\n")


def test_lsmem_of_cxl_memory_that_is_offline_is_shown_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    case = SHARED / "cases/cxl-offline.lsmem"
    if not case.exists():
        pytest.skip(f"no {case}")
    assert main(["blocks", str(case)]) == 0
    assert capsys.readouterr().out == case.read_text()


# -- what each kind says ------------------------------------------------------------------------------------------------


def test_pages_are_counted_by_zone(brought: Path) -> None:
    brought.write_text(ZONES)
    assert facts(brought)["node 0, Normal", "managed"] == "250000 pages"
    brought.write_text(BUDDY)
    assert facts(brought) == {
        ("node 0, Normal", "free"): f"{1 + 2 * 4 + 3 * 1024} pages",
        ("node 0, Normal", "largest free block"): "order 10 (3 of them)",
    }
    brought.write_text(PAGETYPES)
    assert facts(brought)["node 0, Normal", "page blocks of type Movable"] == "509"
    assert facts(brought)["node 0, Normal, Movable", "free"] == "28 pages"


def test_log_tells_sizes_and_failures(brought: Path) -> None:
    brought.write_text(LOG)
    assert facts(brought) == {
        ("virtio0", "start address"): "0x140000000",
        ("virtio0", "region size"): 8 << 30,
        ("virtio0", "requested size"): 3 << 30,
        ("virtio0", "said"): "adding memory failed: -12",
        ("kernel", "said"): "Block size [0x8000000] unaligned hotplug range: start 0x100200000, size 0x40000000",
    }


def test_monitor_tells_devices_and_events(brought: Path) -> None:
    brought.write_text(QMP)
    told = facts(brought)
    assert (told["vm0", "size"], told["vm0", "requested-size"], told["vm0", "size, by an event"]) == (
        1 << 30,
        3 << 30,
        2 << 30,
    )
    assert told["/machine/peripheral/vm0", "requested-size, asked for"] == 3 << 30
    assert told["monitor", "refused"] == "no"
    brought.write_text(HMP)
    assert facts(brought)["vm0", "requested-size"] == 3 << 30
    assert facts(brought)["machine", "base memory"] == 4 << 30


def test_domain_tells_its_memory_devices(brought: Path) -> None:
    brought.write_text(f"virsh # dumpxml x\n{DOMAIN}")
    told = facts(brought)
    assert (told["machine", "maxMemory"], told["machine", "slots"], told["ua-vm0", "current-size"]) == (
        16 << 30,
        "4",
        1 << 30,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n<domain>&b;</domain>', "a document type or an entity"),
        ("<domain><memory unit='YiB'>1</memory></domain>", "<memory> is not a size: 1 yib"),
        ("<domain><memory>99999999999999999999</memory></domain>", "<memory> is not a size"),
        ("<domain><memory></domain>", "not the XML of a libvirt domain: mismatched tag"),
        ('{"execute": "x"}\n{"return": [', ":2: a QMP message that is cut, or no JSON"),
        ('{"return": {}}\n', "nothing of memory in it"),
        (READELF.replace("There are 2", "There are 3"), "lines are missing: 3 program headers are said, 2 of memory"),
        (READELF.replace(" 0x000000007ff00000  RWE    0x0", ""), ":10: a program header that is cut"),
        (CRASH.replace("ffff88813fff6a80  ", "?  "), ":3: not a row of resources: '?  00100000"),
        (JC.replace('"0009fbff"', '"x"'), "not resources as JSON: "),
    ],
)
def test_damaged_input_is_refused_in_words(
    text: str, reason: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_text(text)
    assert main(["read", str(brought)]) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("table", [VOLATILITY_2, VOLATILITY_3, VOLATILITY_PRETTY, VOLATILITY_CSV, CRASH])
def test_tables_of_other_tools_give_the_listing(table: str, brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_text(table)
    assert main(["iomem", "--raw", str(brought)]) == 0
    assert capsys.readouterr().out == LISTING


def test_json_of_other_tools_gives_the_listing(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_text(JC)
    assert main(["iomem", "--raw", str(brought)]) == 0
    assert capsys.readouterr().out == "".join(LISTING.splitlines(keepends=True)[:2])
    brought.write_text(LISTING)
    main(["iomem", "--json", str(brought)])
    brought.write_text(capsys.readouterr().out)
    assert main(["iomem", "--raw", str(brought)]) == 0
    assert capsys.readouterr().out == LISTING


def test_json_of_volatility_gives_the_listing(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def row(name: str, start: int, end: int, *inside: dict[str, object]) -> dict[str, object]:
        return {"END": end, "NAME": name, "START": start, "__children": list(inside)}

    code = row("Kernel code", 0x1000000, 0x1DFFFFF)
    rows = (row("System RAM", 0x1000, 0x9FBFF), row("System RAM", 0x100000, 0x7FFFFFFF, code))
    brought.write_text(json.dumps([row("PCI mem", 0, 0xFFFFFFFFFF, *rows)], indent=2, sort_keys=True))
    assert main(["iomem", "--raw", str(brought)]) == 0
    assert capsys.readouterr().out == LISTING


def test_file_that_is_said_to_be_a_folder_is_refused(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_text(LISTING)
    for path, kind, reason in (
        (brought, "folder", "is a file, and not a folder of a machine's files"),
        (brought.parent, "elf", "is a folder, and not an ELF core file"),
    ):
        assert main(["read", "--from", kind, str(path)]) == 2
        assert reason in capsys.readouterr().err


def test_folder_of_a_machine_is_read_where_its_files_stand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "report/sosreport-host"
    (root / "proc").mkdir(parents=True)
    (root / "sos_commands/memory").mkdir(parents=True)
    (root / "sos_commands/kernel").mkdir(parents=True)
    (root / "proc/iomem").write_text(LISTING)
    (root / "proc/zoneinfo").write_text(ZONES)
    (root / "sos_commands/memory/lsmem_-a").write_text(LSMEM)
    (root / "sos_commands/kernel/dmesg").write_text(LOG)
    for folder in (root, root.parent):
        assert main(["iomem", "--raw", str(folder)]) == 0
        out, err = capsys.readouterr()
        assert out == LISTING
        assert f"{folder}: sys/devices/system/memory is from sos_commands/memory/lsmem_-a" in err
        assert main(["blocks", str(folder)]) == 0
        assert capsys.readouterr().out.startswith(LSMEM.partition("\n\n")[0])
    assert main(["read", str(tmp_path / "report/sosreport-host/sos_commands")]) == 2
    assert "a folder with nothing in it that a capture holds" in capsys.readouterr().err


# -- vmcores ------------------------------------------------------------------------------------------------------------


def dump(pages: list[int], held: list[int], *, split: int = 0, status: int = 0) -> bytes:
    """A dump as makedumpfile 1.7.2 lays it out, without the pages themselves."""
    bitmap = bytearray(4096)
    other = bytearray(4096)
    for bits, numbers in ((bitmap, pages), (other, held)):
        for number in numbers:
            bits[number // 8] |= 1 << number % 8
    header = struct.pack(
        "<8si390s6x16xIiiIIIII",
        b"KDUMP   ",
        6,
        b"Linux".ljust(130, b"\0") + b"6.1.0",
        status,
        4096,
        1,
        2,
        4096,
        len(pages),
        0,
        len(held),
    )
    sub = struct.pack("<QiiQQqQqQqQQQQ", 0, 31, split, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4096, 4096)
    return header.ljust(4096, b"\0") + sub.ljust(4096, b"\0") + bytes(bitmap) + bytes(other)


def flattened(data: bytes) -> bytes:
    pieces = [(at, data[at : at + 1000]) for at in range(0, len(data), 1000)]
    body = b"".join(struct.pack(">qq", at, len(piece)) + piece for at, piece in reversed(pieces))
    return struct.pack(">16sqq", b"makedumpfile", 1, 1).ljust(4096, b"\0") + body + struct.pack(">qq", -1, -1)


PAGES = [*range(1, 160), *range(256, 4000)]


@pytest.mark.parametrize("flat", [False, True])
def test_dump_tells_which_ram_there_was_and_which_pages_are_there(flat: bool, brought: Path) -> None:
    data = dump(PAGES, PAGES[::2])
    brought.write_bytes(flattened(data) if flat else data)
    found = read_any(brought)
    assert found.kind.name == "kdump"
    assert found.capture.section(RANGES).lines == ["0x1000-0x9ffff", "0x100000-0xf9ffff"]
    told = facts(brought)
    assert told["dump", "pages in the file"] == f"{len(PAGES[::2])} of {len(PAGES)}"
    assert told["dump", "left out"] == "zero pages, cache, private cache, user pages, free pages"
    assert told["0x1000-0x9ffff", "in the file"] == f"{80 * 4096} of {159 * 4096} bytes"


def test_dump_that_is_not_whole_is_at_least(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brought.write_bytes(dump(PAGES, PAGES, status=8))
    assert main(["read", str(brought), "--json"]) == 64
    out, err = capsys.readouterr()
    assert json.loads(out)["at-least"] is True
    assert "the dump is not complete" in err


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (dump(PAGES, PAGES)[:9000], "the dump is cut short: it ends within its bitmaps"),
        (flattened(dump(PAGES, PAGES))[:9000], "the flattened dump is cut short"),
        (b"KDUMP   ", "not a header of makedumpfile's"),
        (b"KDUMP   " + bytes(5000), "pages of 0 bytes"),
        (dump(PAGES, PAGES)[:440] + b"\xff\xff\xff\x7f" + dump(PAGES, PAGES)[444:4096] + bytes(88) + b"\xff" * 8 + bytes(9000), "not a dump"),
    ],
)  # fmt: skip
def test_damaged_dump_is_refused_in_words(
    data: bytes, reason: str, brought: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    brought.write_bytes(data)
    assert main(["read", str(brought)]) == 2
    assert reason in capsys.readouterr().err


def test_runs_of_a_bitmap_are_those_of_its_bits() -> None:
    assert list(crash_dump._runs_of(bytes([0b11110110, 0b1, 0, 0xFF]))) == [(1, 3), (4, 9), (24, 32)]


def test_what_a_dump_has_is_held_against_the_map(brought: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing = _whole(brought)
    listing.write_text("00100000-00f9ffff : System RAM\n01000000-01ffffff : System RAM\n")
    for data in (dump(PAGES, PAGES), flattened(dump(PAGES, PAGES))):
        brought.write_bytes(data)
        assert main(["kdump", str(listing), "--against", str(brought), "-n"]) == 1
        assert capsys.readouterr().out.split()[:3] == ["0000000001000000-0000000001ffffff", "16M", "RAM,"]


def test_dump_on_standard_input_is_refused_in_one_line(
    brought: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    brought.write_bytes(dump(PAGES, PAGES))
    with brought.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert main(["read", "-"]) == 2
    assert "is a dump that makedumpfile compressed: it is read from a file" in capsys.readouterr().err


def test_page_has_the_table_of_all_kinds() -> None:
    """When this fails on purpose: `python -m docs.input`."""
    assert page_with(PAGE.read_text(), BEGIN, END, table()) == PAGE.read_text()
    assert all(kind.refuses or not kind.module or kind.module in {"free_pages", "kernel_log"} for kind in KINDS)


def test_name_that_is_too_long_is_left_to_its_reader() -> None:
    check_words("x" * 5000, "a scenario")
