"""Calls of the page, as commands that anyone can type: what those print is what the page shows.

Runs in the page's worker, in a folder in memory where the listings and captures of the examples lie; and in the tests, on any
Python. An answer is JSON: the calls in their order, and the text of the files that they wrote.
"""

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from difflib import unified_diff
from pathlib import Path

from virtiomem import scenario
from virtiomem.cli.main import main
from virtiomem.errors import Exit, UsageError

Tell = Callable[[str], object]
"""Told what a command prints, as it prints it."""

RECORDING, PAGE, PICTURE = "recording.json", "report.html", "map.svg"

LOOKS = (
    ("The map", "iomem", ("iomem", "{file}")),
    ("System RAM, with totals", "iomem", ("iomem", "{file}", "--ram")),
    ("What it costs those who read it", "iomem", ("iomem", "check", "{file}")),
    ("Merged, as Linux from 5.10 on does", "iomem", ("iomem", "{file}", "--merge")),
    ("What a crash dump will hold", "kdump", ("kdump", "{file}", "--compare")),
    ("Memory blocks", "blocks", ("blocks", "{file}")),
)
"""What is asked of a file that is looked at: the heading, the command that has to take such a file, the arguments."""
_LENIENT = ("iomem", "kdump", "map")
"""The commands with --lenient."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command, what it printed and its exit code."""

    title: str
    command: str
    output: str
    errors: str
    exit: int


class _Told(io.BytesIO):
    """A stream that passes on what is written to it, and keeps it."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self._tell = tell

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._tell(bytes(data).decode("utf-8", "replace"))
        return super().write(data)


def call(title: str, *arguments: str, tell: Tell = str) -> Call:
    """Run a command as a shell does with its output in a pipe."""
    out, errors = _Told(tell), _Told(str)
    with (
        io.TextIOWrapper(out, encoding="utf-8", write_through=True) as stdout,
        io.TextIOWrapper(errors, encoding="utf-8", write_through=True) as stderr,
    ):
        with redirect_stdout(stdout), redirect_stderr(stderr):
            try:
                code = main(arguments)
            # What is compiled in the engine may run out of memory and fail to raise MemoryError.
            except SystemError:
                stderr.write("virtiomem: not enough memory for this\n")
                code = Exit.FAILED
        printed, said = out.getvalue().decode(), errors.getvalue().decode()
    return Call(title, f"virtiomem {' '.join(arguments)}", printed, said, code)


def check(text: str) -> str:
    """Return what is wrong with a scenario: `{"message", "line"}`; empty and 0 for a sound one, 0 where no line is named."""
    try:
        scenario.loads(text)
    except UsageError as error:
        line = re.search(r"\bscenario:(\d+)|\bline (\d+)", str(error))
        return json.dumps({"message": str(error), "line": int(line[1] or line[2]) if line else 0})
    return json.dumps({"message": "", "line": 0})


def play(files: str, tell: Tell = str) -> str:
    """Play a scenario, or two side by side; `files` is JSON, name to text."""
    texts: dict[str, str] = {_name(name): text for name, text in json.loads(files).items()}
    for name, text in texts.items():
        Path(name).write_text(text, encoding="utf-8", errors="surrogatepass")
    names = [*texts]
    return _answer(_one(names[0], tell) if len(names) == 1 else _two(names[0], names[1], tell))


def _one(name: str, tell: Tell) -> Iterator[Call]:
    yield (played := call("Played", "run", name, "--record", RECORDING, tell=tell))
    if played.exit != Exit.USAGE:
        yield call("The page of it", "report", RECORDING, "-o", PAGE)
        yield call("The map at its end", "map", RECORDING, "--svg", PICTURE)


def _two(a: str, b: str, tell: Tell) -> Iterator[Call]:
    yield (played := call("Both, side by side", "run", a, b, tell=tell))
    if played.exit == Exit.USAGE:
        return
    records = [f"{Path(name).stem}.json" for name in (a, b)]
    for name, record in zip((a, b), records, strict=True):
        yield call(f"Played: {name}", "run", name, "--record", record)
    yield call("The first difference", "compare", *records)
    yield call("The page of both", "report", *records, "-o", PAGE)


def look(name: str, content: bytes | memoryview) -> str:
    """Say what a file is, and what the commands that take it print about it."""
    file, data = _name(name), bytes(content)
    return _answer(_once(_looks(file, data)), given=file)


def _looks(file: str, content: bytes) -> Iterator[Call]:
    Path(file).write_bytes(content)
    yield (read := call("What it was taken for", "read", file))
    if read.exit == Exit.USAGE:
        return
    verbs = json.loads(call("", "read", file, "--json").output)["commands"]
    lenient = "iomem" in verbs and call("", "iomem", file).exit == Exit.USAGE
    option = ("--lenient",) if lenient else ()
    if lenient:
        yield call("Why it cannot be read as it is", "iomem", file)
        raw = call("", "iomem", file, "--lenient", "--raw")
        before, after = content.decode("utf-8", "replace").splitlines(), raw.output.splitlines()
        changes = "\n".join(unified_diff(before, after, file, "as Linux prints it", lineterm=""))
        if changes:
            yield Call("What was put right", f"diff -u {file} <({raw.command})", f"{changes}\n", raw.errors, raw.exit)
    for title, verb, arguments in LOOKS:
        if verb in verbs:
            yield call(title, *(word.format(file=file) for word in arguments), *(option if verb in _LENIENT else ()))
    if "map" in verbs:
        yield call("As a picture", "map", file, "--svg", PICTURE, *option)


def _once(calls: Iterable[Call]) -> Iterator[Call]:
    """The calls with each remark where it is first made; those that say nothing new, and left no file, are not shown."""
    said: set[str] = set()
    for made in calls:
        new = [line for line in made.errors.splitlines(keepends=True) if line not in said]
        said.update(new)
        if new or made.output not in said or (made.exit == Exit.DONE and not made.output):
            yield replace(made, errors="".join(new))
        said.add(made.output)


def _answer(calls: Iterator[Call], given: str = "") -> str:
    """The calls, and the files that they left, but for the one that was given; those of an earlier answer are gone."""
    made = (RECORDING, PAGE, PICTURE)
    for old in (*Path().glob("*.json"), *map(Path, made)):
        old.unlink(missing_ok=True)
    done = [asdict(each) for each in calls]
    left = sorted({*Path().glob("*.json"), *(path for path in map(Path, made) if path.exists())}, key=_recordings_first)
    return json.dumps(
        {"calls": done, "files": {path.name: path.read_text(encoding="utf-8") for path in left if path.name != given}}
    )


def _recordings_first(path: Path) -> tuple[bool, str]:
    return path.suffix != ".json", path.name


def _name(name: str) -> str:
    """A plain file name, which no command takes for an option or another folder."""
    return re.sub(r"[^\w.-]", "_", name.rpartition("/")[2], flags=re.ASCII).lstrip("-.")[:60] or "listing"
