"""`virtiomem kdump`: what a crash dump of a machine will hold, and the header that says so."""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from virtiomem import gcpause
from virtiomem.architecture import DEFAULT as DEFAULT_ARCHITECTURE
from virtiomem.architecture import FAMILIES, Architecture, find
from virtiomem.cli.arguments import (
    add_step,
    check_one_source,
    check_outputs,
    exit_status,
    expecting,
    file,
    load_or_collect,
    number,
    positive,
    refuse_unused,
)
from virtiomem.cli.guessed import architecture_taken
from virtiomem.cli.iomem import add_reading, at_least_values, read
from virtiomem.cli.model import add_model, release_for
from virtiomem.errors import Exit, UsageError
from virtiomem.kdump import elfcore, range_text, standing_text
from virtiomem.kdump.comparison import Comparison, compare, dumped
from virtiomem.kdump.elfcore import Inputs, KernelText, Note
from virtiomem.kdump.loader import Loader
from virtiomem.kdump.ranges import (
    KEXEC_TOOLS_RANGES,
    CrashRange,
    CrashRanges,
    kernel_ranges,
    kexec_tools_ranges,
)
from virtiomem.kdump.reservation import no_dump
from virtiomem.kdump.standing import Standing
from virtiomem.listing import repair
from virtiomem.live.capture import MEMORY, Capture
from virtiomem.live.crash_header import KCORE, noted_cpus, ranges_that_fit, standing_of
from virtiomem.live.views import architecture_of, crash_state_of, osrelease_of
from virtiomem.releases.linux import DEFAULT, LinuxRelease
from virtiomem.resource.names import SYSTEM_RAM
from virtiomem.resource.tree import ResourceTree
from virtiomem.stdio import terminal_width, warn
from virtiomem.text import quoted, shown
from virtiomem.units import U64_MAX
from virtiomem.writing import write_whole

HEADINGS = ("proc/iomem", "sys/kernel", "sys/devices/system/cpu", "proc/sys/kernel", KCORE)
"""What this command reads of a running Linux; for --header memory blocks, too."""

MAX_CPUS = 8192
"""NR_CPUS with CONFIG_MAXSMP, in arch/x86/Kconfig (v6.1)."""

VMCOREINFO_BYTES = 4096
"""Size of the vmcoreinfo data, one page of 4K; its note adds a header (include/linux/crash_core.h, v6.1)."""
_PLACE = re.compile(r"(?P<addr>[^:@]+):(?P<size>[^:@]+)(?:@(?P<paddr>[^:@]+))?")
_PLAIN_HEX = re.compile(r"(?=.*[a-fA-F])[0-9a-fA-F]{1,16}")
_DIRECT_MAPS = {"4-level": elfcore.DIRECT_MAP_4_LEVEL, "5-level": elfcore.DIRECT_MAP_5_LEVEL}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: what to read, which loader to follow, and values that a listing lacks."""
    parser.epilog = exit_status(
        {
            Exit.DONE: "done",
            Exit.FAILED: "RAM is not dumped, or no crash kernel is there to dump it, or what is compared differs",
            Exit.USAGE: "usage",
            Exit.PARTLY: "the header was written, and lacks notes; what it holds in memory is not known; or something of the map"
            " may be missing (--lenient)",
        },
        "; ",
    )
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=file,
        metavar="FILE",
        help="a listing, a capture or a recording, - for stdin; else this machine",
    )
    add("-s", "--sysroot", type=file, metavar="DIR", default="/", help="read the Linux whose files are below DIR")
    add_reading(parser)
    add_step(parser)
    add(
        "--as",
        dest="loader",
        choices=[one.value for one in Loader],
        help="who makes the header (what FILE says, else kernel)",
    )
    add("--header", action="store_true", help="what the header in memory held, holds, and will hold")
    add_model(parser, "what FILE says")
    add("--arch", choices=FAMILIES, help="the architecture (what FILE says, else a guess by its map)")
    add("--compare", action="store_true", help="both loaders side by side; they differ when they do above 1 MiB")
    add(
        "--against",
        type=file,
        metavar="CORE",
        help="what of this RAM a vmcore, or its header, does not have (ELF, makedumpfile's, what readelf -l says)",
    )
    add("-o", "--output", type=file, metavar="HEADER", help="write the ELF64 core header")
    add("-J", "--json", action="store_true", help="JSON")
    add("-b", "--bytes", action="store_true", help="sizes in bytes")
    add("-n", "--noheadings", action="store_true", help="ranges only, no headings, no summary")
    told = parser.add_argument_group(
        "what a listing does not tell",
        "Numbers are decimal or 0x…, an address with a-f is hexadecimal. A capture has some.",
    )
    add = told.add_argument
    add("--note", metavar="ADDR:SIZE", action="append", type=_note, help="a CPU's crash notes; one option per CPU")
    add("--vmcoreinfo", metavar="ADDR:SIZE", type=_vmcoreinfo, help="the vmcoreinfo note (both 0x…)")
    add("--text", metavar="VADDR:SIZE[@PADDR]", type=_place, help="the kernel from _text to _end; @ Kernel code")
    add("--direct-map", metavar="BASE", type=_direct_map, help="4-level (x86-64's default), 5-level or an address")
    add("--possible-cpus", metavar="N", type=_cpus, help="CPUs that the kernel leaves room for")
    add("--backup", metavar="ADDR", type=_address, help="where kexec-tools' backup segment lies")
    add("--limit", metavar="N", type=positive, help=f"entries in kexec-tools' table ({KEXEC_TOOLS_RANGES})")


def run(args: argparse.Namespace) -> int:
    """Work out the ranges; write, compare or show them."""
    _check(args)
    capture = load_or_collect(args, "kdump", (*HEADINGS, MEMORY) if args.header else HEADINGS)
    with gcpause.paused():
        reading = read(capture, lenient=args.lenient)
        if args.merge:
            reading.tree.merge_adjacent_system_ram()
    code = _header(capture, reading, args) if args.header else _dump(capture, reading, args)
    # Outweighs the verdict: of a map that may lack something neither `all is dumped` nor `it differs` is certain.
    return Exit.PARTLY if reading.at_least else code


def _dump(capture: Capture, reading: repair.Reading, args: argparse.Namespace) -> int:
    """Do what was asked for with a map that was read."""
    tree, release = reading.tree, release_for(args.model, osrelease_of(capture))

    architecture = _architecture(args, capture, tree)

    def kexec_tools() -> CrashRanges:
        ranges = kexec_tools_ranges(tree, limit=args.limit or KEXEC_TOOLS_RANGES, architecture=architecture)
        return ranges._replace(partly=reading.at_least)

    limit = ranges_that_fit(capture, release or DEFAULT)
    kernel = kernel_ranges(tree, release or DEFAULT, limit=limit, architecture=architecture)
    kernel = kernel._replace(partly=reading.at_least)
    if args.compare:
        return _compare(compare(kernel, kexec_tools()), tree, args)
    standing = standing_of(capture, tree, release, Loader(args.loader) if args.loader else None)
    loader = Loader(args.loader) if args.loader else standing.loader
    found = kexec_tools() if loader is Loader.KEXEC_TOOLS else kernel
    if args.against:
        return _against(found, args, loader)
    if args.output:
        return _write(found, tree, _inputs(args, capture, tree, architecture, release), args)
    more = [*no_dump(tree, loaded=standing.loaded, partly=found.partly), *filter(None, [standing_text.lacks(standing)])]
    if loader is None:
        more += range_text.unread(kexec_tools())
    _print(found, more, args)
    return _verdict([*range_text.findings(found), *more])


def _architecture(args: argparse.Namespace, capture: Capture, tree: ResourceTree) -> Architecture:
    """The architecture that is asked for, or that capture or core file say; else a guess by the map, which is said."""
    if args.arch:
        return find(args.arch) or DEFAULT_ARCHITECTURE
    said = elfcore.architecture_of(args.against) if args.against and not architecture_of(capture) else None
    return said or architecture_taken(capture, tree)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that nothing would come of."""
    check_one_source(args)
    if args.compare and args.loader:
        raise UsageError(f"--compare shows both loaders and cannot be combined with --as {args.loader}")
    if args.compare and args.against:
        raise UsageError("--compare and --against exclude each other")
    if args.header:
        others = {"--compare": args.compare, "--against": args.against, "-o": args.output, "--limit": args.limit}
        refuse_unused(others, "is for the ranges of the map: --header shows those of the header in memory")
    if args.output == "-":
        raise UsageError("-o -: a header is binary, it goes to a file (./- is one of that name)")
    if args.output and (args.compare or args.against):
        raise UsageError("-o writes a header; --compare and --against make none")
    if not args.output:
        header = {"--note": args.note, "--vmcoreinfo": args.vmcoreinfo, "--text": args.text, "--backup": args.backup}
        header |= {"--direct-map": args.direct_map, "--possible-cpus": args.possible_cpus}
        refuse_unused(header, "is for the header that -o writes")
    if args.loader == Loader.KERNEL.value or not (args.loader or args.compare):
        refuse_unused({"--limit": args.limit}, "is for kexec-tools: --as kexec-tools, or --compare")
    read = [args.file] if args.file else [Path(args.sysroot, heading) for heading in HEADINGS]
    check_outputs(args, "output", inputs=read)


def _header(capture: Capture, reading: repair.Reading, args: argparse.Namespace) -> int:
    """Show what the header in memory held, holds and will hold, and what to make of it."""
    tree, release = reading.tree, release_for(args.model, osrelease_of(capture))
    standing = standing_of(capture, tree, release, Loader(args.loader) if args.loader else None)
    if args.loader and standing.loader and standing.loader.value != args.loader:
        raise UsageError(
            f"--as {args.loader}: {capture.source} says that {standing.loader.syscall} loaded its crash kernel: that header is the"
            f" one of --as {standing.loader.value}"
        )
    kernel = "the kernel" if release is None else f"Linux {release.name}"
    loader = standing.loader or Loader.KERNEL
    room = ranges_that_fit(capture, release or DEFAULT) if standing.kept_up_to_date else None
    kernels = loader is Loader.KERNEL
    row = _architecture(args, capture, tree)
    found = (
        kernel_ranges(tree, release or DEFAULT, limit=room, architecture=row)
        if kernels
        else kexec_tools_ranges(tree, architecture=row)
    )
    absent = no_dump(tree, loaded=standing.loaded, partly=reading.at_least)
    findings = [*range_text.findings(found), *absent, *filter(None, [standing_text.lacks(standing)])]
    if args.json:
        values = standing_text.values(standing, kernel, findings) | at_least_values(reading.at_least)
        print(json.dumps(values, indent=1))
    elif standing.loaded is not False:
        sys.stdout.write(standing_text.table(standing, in_bytes=args.bytes, headings=not args.noheadings))
        if not args.noheadings:
            sys.stdout.write("".join(f"{line}\n" for line in ["", *standing_text.said(standing, kernel)]))
    return _verdict(findings) or (Exit.DONE if standing.now is not None else Exit.PARTLY)


def _write(found: CrashRanges, tree: ResourceTree, inputs: Inputs, args: argparse.Namespace) -> int:
    """Show the ranges, write the header, and say what it lacks; that no crash kernel is there is no fault of the header."""
    header = elfcore.header(found, inputs)
    absent, lacking = no_dump(tree, partly=found.partly), range_text.lacking(inputs)
    try:
        _print(found, [*absent, *lacking], args)
    finally:
        # Also when the reader of the table is gone: the header is what was asked for.
        write_whole(args.output, header)
    _warn([*absent, *(f"{args.output}: {what}" for what in lacking)])
    return _verdict(range_text.findings(found)) or (Exit.PARTLY if lacking else Exit.DONE)


def _print(found: CrashRanges, more: list[str], args: argparse.Namespace) -> None:
    """The ranges on stdout; `more` are findings in addition to those of the ranges."""
    if args.json:
        print(json.dumps(range_text.values(found, more), indent=1))
    else:
        sys.stdout.write(range_text.ranges_text(found, in_bytes=args.bytes, headings=not args.noheadings))
        if not args.noheadings:
            sys.stdout.write(f"\n{range_text.summary_text(found, in_bytes=args.bytes)}")


def _verdict(findings: list[str]) -> int:
    """Say what is wrong, and return the exit code."""
    _warn(findings)
    return Exit.FAILED if findings else Exit.DONE


def _compare(both: Comparison, tree: ResourceTree, args: argparse.Namespace) -> int:
    if args.json:
        print(json.dumps(range_text.comparison_values(both), indent=1))
    else:
        style = {"in_bytes": args.bytes, "headings": not args.noheadings, "width": terminal_width()}
        sys.stdout.write(range_text.comparison_text(both, **style))
    said = [*range_text.findings(both.kernel), *range_text.findings(both.kexec_tools)]
    said += no_dump(tree, partly=both.kernel.partly)
    # Both loaders may have the same fault, which is said once.
    return _verdict(list(dict.fromkeys(said))) or (Exit.FAILED if both.differs else Exit.DONE)


def _dumped(path: str) -> list[CrashRange]:
    """The ranges in a vmcore, or its header, of whatever format; any other file is refused in the words of the ELF reader."""
    from virtiomem.live.kinds.values import RANGES
    from virtiomem.live.reading import read_any

    found = read_any(path, verb="kdump --against")
    if RANGES not in found.kind.gives:
        with expecting("an ELF core file", path):
            return dumped(elfcore.load(path))
    pairs = (line.partition("-") for line in found.capture.section(RANGES).lines)
    return [(int(start, 16), int(end, 16)) for start, _, end in pairs]


def _against(found: CrashRanges, args: argparse.Namespace, loader: Loader | None) -> int:
    there = _dumped(args.against)
    standing = Standing(found.ranges, True, found.loader, now=there)
    missing, gone = standing.missing or [], standing.gone or []
    if args.json:
        sides = {"missing": range_text.range_values(missing), "gone": range_text.range_values(gone)}
        print(json.dumps(sides | at_least_values(found.partly), indent=1))
    else:
        style = {"in_bytes": args.bytes, "headings": not args.noheadings, "partly": found.partly}
        sys.stdout.write(range_text.against_text(missing, gone, **style))
        if loader is None and not args.noheadings:
            print("held against what the kernel dumps (kexec -p -s); --as kexec-tools: what kexec -p -c does")
    return _verdict(range_text.findings(found)) or (Exit.FAILED if missing else Exit.DONE)


def _warn(findings: Iterable[str]) -> None:
    for finding in findings:
        warn(finding)


def _inputs(
    args: argparse.Namespace,
    capture: Capture,
    tree: ResourceTree,
    architecture: Architecture,
    release: LinuxRelease | None,
) -> Inputs:
    """Return the options' values, completed with those of the machine itself."""
    state = crash_state_of(capture)
    vmcoreinfo = args.vmcoreinfo or (Note(*state.vmcoreinfo) if state.vmcoreinfo else None)
    return Inputs(
        notes=args.note or [Note(*note) for note in state.notes],
        vmcoreinfo=vmcoreinfo,
        text=_kernel_text(args.text, tree),
        direct_map=architecture.map_base(_ram_start(tree)) if args.direct_map is None else args.direct_map,
        backup=args.backup,
        possible_cpus=state.possible_cpus if args.possible_cpus is None else args.possible_cpus,
        machine=architecture.elf_machine,
        noted_cpus=0 if release is None else noted_cpus(state, release),
    )


def _ram_start(tree: ResourceTree) -> int:
    """Return the start of memory, as the map shows it."""
    return next((node.start for _, node in tree.walk() if node.name == SYSTEM_RAM), 0)


def _kernel_text(place: tuple[int, int, int | None] | None, tree: ResourceTree) -> KernelText | None:
    """The kernel's own mapping; where it lies in memory is where its code does, unless the option says so."""
    if place is None:
        return None
    vaddr, size, paddr = place
    if paddr is None:
        paddr = next((node.start for _, node in tree.walk() if node.name == "Kernel code"), None)
    if paddr is None:
        raise UsageError("--text needs @PADDR: the listing has no Kernel code")
    return KernelText(vaddr, paddr, size)


def _place(text: str) -> tuple[int, int, int | None]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not ADDR:SIZE, in decimal or 0x…")
    addr, size = _address(match["addr"]), number(match["size"])
    paddr = _address(match["paddr"]) if match["paddr"] else None
    if not 0 < size <= 1 + U64_MAX - max(addr, paddr or 0):
        raise argparse.ArgumentTypeError(f"{quoted(text)} is empty, or ends beyond 2^64")
    return addr, size, paddr


def _address(text: str) -> int:
    """Read an address, as crash_notes and kallsyms print it, too: without 0x, which is sure where it has letters."""
    return int(text, 16) if _PLAIN_HEX.fullmatch(text) else number(text)


def _note(text: str) -> Note:
    addr, size, extra = _place(text)
    if extra is not None:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not ADDR:SIZE")
    return Note(addr, size)


def _vmcoreinfo(text: str) -> Note:
    note = _note(text)
    if note.size <= VMCOREINFO_BYTES:
        least = f"such a note has more than {VMCOREINFO_BYTES} bytes"
        raise argparse.ArgumentTypeError(
            f"{quoted(text)}: {least}; /sys/kernel/vmcoreinfo has both in hexadecimal: 0x…:0x1024"
        )
    return note


def _direct_map(text: str) -> int:
    return _DIRECT_MAPS[text] if text in _DIRECT_MAPS else _address(text)


def _cpus(text: str) -> int:
    cpus = positive(text)
    if cpus > MAX_CPUS:
        raise argparse.ArgumentTypeError(f"{shown(text)} are more than the {MAX_CPUS} that Linux can have")
    return cpus
