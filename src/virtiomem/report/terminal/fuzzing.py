"""A fuzzing run for people: how much was compared, and the moves that show a difference."""

from rich.console import Console

from virtiomem.conformance import log
from virtiomem.conformance.fuzz import Figures, Finding
from virtiomem.errors import ProtocolError
from virtiomem.report.terminal.console import text
from virtiomem.report.terminal.verdicts import show_said
from virtiomem.units import format_size
from virtiomem.wire.mem import RESPONSE_SIZE, Request, RequestType, Response

_MOVES = {
    "Batch": "notifications",
    "Qmp": "resizes",
    "DeviceReset": "device resets",
    "SystemReset": "system resets",
    "MigrateStart": "migrations",
    "AvailRing": "interrupt settings",
    "Sweep": "sweeps",
}

_EXPLAINED = "It may be a policy of the device (docs/conformance.md); to go on with it: {}"


def show_figures(console: Console, figures: Figures) -> None:
    """Print the figures, then every finding."""
    answers, accepted = (
        ", ".join(f"{number} {word}" for word, number in counted.most_common())
        for counted in (figures.answers, figures.accepted)
    )
    shapes = [f"{shape}: {words}" for shape, words in figures.refused.items()]
    moves = ", ".join(f"{figures.moves[name]} {words}" for name, words in _MOVES.items() if figures.moves[name])
    rate = figures.requests / figures.seconds if figures.seconds else 0
    console.print(text(f"{figures.target} against the embedded device, seed {figures.seed}", "bold"))
    for name, words in (
        ("cases", f"{figures.cases}"),
        ("not made", f"{len(shapes)} shapes; the first, {shapes[0]}" if shapes else ""),
        ("requests", f"{figures.requests}: {answers}".removesuffix(": ")),
        ("moves", moves),
        ("swept", f"{figures.swept} blocks"),
        ("accepted", accepted),
        ("time", f"{figures.seconds:.0f} s, {rate:.0f} requests/s"),
        ("differences", f"{len(figures.findings)}"),
    ):
        if words:
            console.print(text(f"  {name:<13}{words}"))
    for finding in figures.findings:
        _show_finding(console, finding)


def _show_finding(console: Console, finding: Finding) -> None:
    difference = finding.difference
    console.print()
    console.print(text(f"Case {finding.case}: {difference.what}", "bold"))
    console.print(text(f"  device  {difference.recorded}"))
    console.print(text(f"  ours    {difference.ours}"))
    fewer = f"of {finding.found_after}" if finding.found_after > len(finding.lines) else "no fewer show it"
    console.print(text(f"  after these steps, {fewer}"))
    for number, line in enumerate(finding.lines, 1):
        for words in told(line):
            console.print(text(f"  {number:>4}. {words}"))
    show_said(console, finding.said)
    if finding.policies:
        console.print(text(f"  {_EXPLAINED.format(' '.join(f'--accept {name}' for name in finding.policies))}"))


def told(line: log.Operation) -> list[str]:
    """Describe what a line of a log did, and what came of it."""
    match line:
        case log.Header(before=before):
            config = before.cfg
            size = f"size={format_size(config.region_size)},block-size={format_size(config.block_size)}"
            requested = f"requested-size={format_size(config.requested_size)},memaddr={config.addr:#x}"
            return [f"device {size},{requested}; initialise, features {line.accepted:#x}"]
        case log.Batch(reqs=requests, times=times):
            often = f", offered {times} times" if times > 1 else ""
            return [_told_request(sent) + often for sent in requests] or ["notify with nothing available"]
        case log.Qmp(value=value, refusal=refusal):
            refused = "" if refusal is None else f" → refused: {refusal}"
            return [f"requested-size = {value:#x}{refused}"]
        case log.DeviceReset(accepted=features):
            return [f"device reset, features {features or 0:#x}"]
        case log.SystemReset():
            return ["system reset"]
        case log.MigrateStart():
            return ["start a migration"]
        case log.MigrateCancel():
            return ["cancel the migration"]
        case log.AvailRing(flags=flags, used_event=event):
            return [f"available ring: flags {flags}, used_event {event}"]
        case _:
            return ["sweep"]


def _told_request(sent: log.Sent) -> str:
    data = bytes.fromhex(sent.out)
    cut = (
        f" ({'+'.join(map(str, sent.out_lens)) or 'nothing'} and {'+'.join(map(str, sent.in_lens)) or 'nothing'} bytes)"
    )
    layout = f" {sent.desc}" if sent.desc is not None else ""
    plain = (sent.out_lens, sent.in_lens) == ([len(data)], [RESPONSE_SIZE])
    try:
        request = Request.unpack(data)
        words = f"{request.type.name} {request.addr:#x}, {request.nb_blocks} blocks"
        words = words if request.type is not RequestType.UNPLUG_ALL else request.type.name
    except ProtocolError:
        words = f"bytes {sent.out or 'none'}"
    return f"{words}{'' if plain else cut}{layout} → {_told_answer(sent)}"


def _told_answer(sent: log.Sent) -> str:
    if sent.used_len is None:
        return "not returned"
    try:
        response = Response.unpack(bytes.fromhex(sent.data)[:RESPONSE_SIZE])
    except ProtocolError:
        return sent.data
    return f"{response.type.name} {response.state.name if response.state else ''}".strip()
