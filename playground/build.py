"""Make the playground: `python -m playground.build [FOLDER]`, a folder of files that any web server can serve.

Fetched and held against the hashes that are committed here: Pyodide (package-lock.json, by npm) and what the library needs in it
(requirements.txt, by pip). Nothing else is fetched, and nothing at all when the page is visited, but the files of this folder::

    index.html      the page; with the list of all other files, and how long each is
    sw.js           keeps them for the next visit, which then needs no network
    engine-HASH/    Python for the browser and the packages, compressed: changes with a lock file
    page-HASH/      this library, compressed, and the page's own scripts: changes with every release

What is large is compressed here (.gz) and unpacked by the page, so that a server which compresses nothing will do.
"""

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from virtiomem import __version__
from virtiomem.abi import OnlinePolicy, OnlineType
from virtiomem.device.board import BOARDS
from virtiomem.releases.linux import LINUX
from virtiomem.report.page import SCRIPTS, asset, csp_hash, in_script

HERE = Path(__file__).parent
ROOT = HERE.parent
MADE = ROOT / "build" / "playground"
SITE = ROOT / "build" / "site" / "playground"
EXAMPLES = ROOT / "examples"
PYODIDE = "npm/node_modules/pyodide"
DECISIVE = ("package-lock.json", "requirements.txt", "build.py", "compile.mjs")
"""What decides what the engine is: while these stay the same, it is fetched and compiled once."""
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
TARGET = ("--python-version", "3.14", "--platform", "pyemscripten_2026_0_wasm32", "--platform", "manylinux2014_x86_64")
"""What the engine is to pip; the second is for MarkupSafe (requirements.txt)."""
UNUSED = re.compile(
    r"(_pydatetime|_pyio|_pyrepl|_sysconfigdata_\w*|bdb|calendar|configparser|ctypes|curses|dbm|doctest|email|ensurepip|ftplib"
    r"|html|http|idlelib|imaplib|mailbox|modulefinder|multiprocessing|optparse|pdb|pickletools|plistlib|poplib|profile|pstats"
    r"|pydoc|pydoc_data|smtplib|sqlite3|statistics|tarfile|trace|turtle|unittest|venv|webbrowser|wsgiref|xmlrpc|zoneinfo"
    r"|encodings/(big5|cp(?!437)|euc|gb|hp|hz|iso|johab|koi|kz|mac|mbcs|oem|palmos|ptcp|shift|tis)\w*"
    r"|virtiomem/(vm|conformance|sweep|guest/linux|live/metrics|cli/(calibrate|device|device_subject|explain|sweep|test|vm))"
    r"|virtiomem-[\d.]+\.data)(/.*|\.py)?"
)
"""Parts of the standard library and of ours that no call of the page imports: a third of both."""
_EXAMPLE = re.compile(r"^\| \[([\w/-]+\.toml)\]\([^)]*\) \| (.*) \|$", re.MULTILINE)
_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


def build(site: Path = SITE) -> None:
    """Fetch, compile, compress and put together; replaces what is there."""
    brought = MADE / hashlib.sha256(b"".join((HERE / name).read_bytes() for name in DECISIVE)).hexdigest()[:12]
    if not brought.exists():
        shutil.rmtree(MADE, ignore_errors=True)
        make_engine(partly := MADE / "partly")
        partly.rename(brought)
    library = build_library(MADE / "library")
    compile_all(brought / PYODIDE, library, optimize=0)
    own = {"virtiomem.zip.gz": compressed(zipped(library))}
    own |= {path.name: path.read_bytes() for path in sorted((HERE / "page").glob("*.js")) if path.name != "sw.js"}
    own["style.css"] = (palette() + (HERE / "page" / "style.css").read_text()).encode()
    engine = {path.name: path.read_bytes() for path in sorted((brought / "engine").iterdir())}
    put_together(site, {"engine": engine, "page": own})


def make_engine(folder: Path) -> None:
    """Fetch what others made, and make the files of the engine of it, in `folder/engine`."""
    fetch_pyodide(folder / "npm")
    pyodide, engine = folder / PYODIDE, folder / "engine"
    packages, standard = fetch_packages(folder / "packages"), unpack_standard_library(pyodide, folder / "standard")
    for compiled in (standard, packages):
        compile_all(pyodide, compiled, optimize=2)  # without docstrings, which the page never shows
    engine.mkdir()
    for name in ("pyodide.mjs", "pyodide.asm.mjs"):
        shutil.copy(pyodide / name, engine)
    (engine / "pyodide.asm.wasm.gz").write_bytes(compressed((pyodide / "pyodide.asm.wasm").read_bytes()))
    (engine / "python_stdlib.zip.gz").write_bytes(compressed(zipped(standard)))
    (engine / "packages.zip.gz").write_bytes(compressed(zipped(packages)))


def compile_all(pyodide: Path, folder: Path, *, optimize: int) -> None:
    """Compile Python files by the Python that will run them."""
    run("node", HERE / "compile.mjs", pyodide, folder, optimize)


def fetch_pyodide(folder: Path) -> None:
    """Have npm bring what the lock file names, and hold it against its hashes; no script of a package runs."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        sys.exit("playground: npm and node are needed to fetch Pyodide (Debian packages npm, nodejs), and none is here")
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)


def fetch_packages(folder: Path) -> Path:
    """Have pip bring the wheels whose hashes are known, and unpack the files that the engine can run."""
    wheels = folder.parent / "wheels"
    requirements = HERE / "requirements.txt"
    run(
        *PIP,
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
        *TARGET,
        "-r",
        requirements,
        "-d",
        wheels,
    )
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, used(archive))
    for path in folder.rglob("*linux-gnu.so"):
        path.unlink()
    return folder


def build_library(folder: Path) -> Path:
    """The library as its wheel has it, with what the page calls and the files that examples name."""
    for old in (folder, made := folder.parent / "wheel"):
        shutil.rmtree(old, ignore_errors=True)
    run(*PIP, "wheel", "--no-deps", "-w", made, ROOT)
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, used(archive))
    (folder / "playground" / "files").mkdir(parents=True)
    shutil.copy(HERE / "calls.py", folder / "playground")
    for path in (*EXAMPLES.rglob("*.iomem"), *EXAMPLES.rglob("*.capture")):
        shutil.copy(path, folder / "playground" / "files")
    return folder


def unpack_standard_library(pyodide: Path, folder: Path) -> Path:
    """Pyodide's standard library, less what nothing here imports."""
    with zipfile.ZipFile(pyodide / "python_stdlib.zip") as archive:
        archive.extractall(folder, used(archive))
    return folder


def used(archive: zipfile.ZipFile) -> list[str]:
    """List the files of an archive that the page needs."""
    return [name for name in archive.namelist() if ".dist-info/" not in name and not UNUSED.fullmatch(name)]


def zipped(folder: Path) -> bytes:
    """A folder as an archive that is not compressed, the same each time; compiled files stand for their sources."""
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as made:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if path.suffix != ".py" or not path.with_suffix(".pyc").exists():
                made.writestr(zipfile.ZipInfo(str(path.relative_to(folder))), path.read_bytes())
    return archive.read_bytes()


def compressed(data: bytes) -> bytes:
    """Data as the page unpacks it; says no time, so that the same data is the same file."""
    return gzip.compress(data, 9, mtime=0)


def put_together(site: Path, folders: dict[str, dict[str, bytes]]) -> None:
    """Write the folders, named by what is in them, and the page that knows their names."""
    shutil.rmtree(site, ignore_errors=True)
    digests, names, sizes = {}, {}, {}
    for kind, files in folders.items():
        digest = hashlib.sha256()
        for name, data in sorted(files.items()):
            digest.update(f"{name} {len(data)}\n".encode() + data)
        digests[kind] = digest.hexdigest()[:12]
        names[kind] = f"{kind}-{digests[kind]}/"
        for name, data in files.items():
            path = site / names[kind] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            sizes[names[kind] + name] = len(data)
    cache = "-".join(("virtiomem-playground", *digests.values()))
    told = {
        "cache": cache,
        "parts": {name: size for name, size in sizes.items() if name.endswith(".gz")},
        **names,
    }
    page = (HERE / "page" / "index.html").read_text()
    filled = {
        "version": __version__,
        "page": names["page"],
        "facts": in_script(told),
        "examples": in_script(examples()),
        "choices": in_script(choices()),
        "report-script": csp_hash("\n".join(asset(name) for name in SCRIPTS)),
        "report-style": csp_hash(asset("page.css")),
    }
    (site / "index.html").write_text(fill(page, filled))
    worker = (HERE / "page" / "sw.js").read_text()
    (site / "sw.js").write_text(fill(worker, {"cache": cache, "files": json.dumps(["./", *sizes])}))


def fill(text: str, values: dict[str, str]) -> str:
    """Put values where `{{ name }}` stands. Raises KeyError for a name without one."""
    return re.sub(r"\{\{ ([\w-]+) \}\}", lambda match: values[match[1]], text)


def examples() -> list[dict[str, str]]:
    """The scenarios that are shipped: name, what each shows, text; in the order of examples/README.md, which says it."""
    return [
        {"name": path.removesuffix(".toml"), "shows": _LINK.sub(r"\1", shows), "text": (EXAMPLES / path).read_text()}
        for path, shows in _EXAMPLE.findall((EXAMPLES / "README.md").read_text())
    ]


def choices() -> dict[str, list[str]]:
    """Keys of a scenario's [guest] that the page offers in menus, and their values."""
    return {
        "kernel": [*LINUX.proven],
        "machine": [*BOARDS],
        "online-policy": [policy.value for policy in OnlinePolicy],
        "default-state": [state.value for state in OnlineType],
    }


def palette() -> str:
    """The colours of the report page, light and dark, which are this page's, too."""
    style = asset("page.css")
    return style[: style.index("* {")]


def run(*command: object, cwd: Path | None = None) -> None:
    """Run a command; where it fails, so does the build, and says which one it was."""
    words = [str(word) for word in command]
    code = subprocess.run(words, cwd=cwd, check=False).returncode  # noqa: S603 - the commands of this file
    if code:
        sys.exit(f"playground: exit {code}: {' '.join(words)}")


def main(arguments: Iterable[str]) -> None:
    """Build, and say how much there is to load."""
    site = Path(next(iter(arguments), SITE)).absolute()
    build(site)
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"{site}: {size / 1e6:.1f} MB on a server that compresses nothing")  # noqa: T201 - what the build says


if __name__ == "__main__":
    main(sys.argv[1:])
