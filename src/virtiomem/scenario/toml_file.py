"""Scenario files in, and scenarios as the dictionary that travels along in a recording."""

import os
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from virtiomem import border
from virtiomem.errors import ArgumentError, ScenarioError, UsageError
from virtiomem.files import MAX_LISTING, StrPath, folder_of, read_bytes, within
from virtiomem.guest.base import DeviceConfig
from virtiomem.guest.machine import MachineLayout, machine_of
from virtiomem.notation import NotationError, toml_values
from virtiomem.recording.json_file import decode_size
from virtiomem.recording.values import PlugDimm
from virtiomem.resource import iomem
from virtiomem.scenario import checks, limits
from virtiomem.scenario.complaints import explain, line_of
from virtiomem.scenario.layout import boot_listing
from virtiomem.scenario.values import Scenario, ScenarioFile
from virtiomem.units import MiB, Size, format_size

F = TypeVar("F")

MAX_FILE = 2 * MiB
"""It holds three times the steps that there may be."""


def load(path: StrPath, *, kernel: str | None = None) -> Scenario:
    """Read a scenario file; `kernel` is a release of Linux to play it on instead of the one that it names.

    Raises ScenarioError, one line with file, table and key, for an impossible scenario; UsageError when the file
    cannot be read, or is of another kind, with the command that takes it.
    """
    border.instance("path", path, str, os.PathLike)
    path = os.fsdecode(path)
    if kernel is not None:
        border.instance("kernel", kernel, str)
    try:
        return _read(read_bytes(path, limit=MAX_FILE), source=path, folder=folder_of(path), kernel=kernel)
    except UsageError:
        from virtiomem.live.reading import check_words

        # A recording or a listing fails as TOML, and that complaint would not say which command takes it.
        check_words(path, "a scenario")
        raise


def loads(text: str | bytes, *, source: str = "scenario", folder: StrPath = "") -> Scenario:
    """Read a scenario from a text; files it names are looked for from `folder` on. See `load`."""
    border.instance("text", text, str, bytes)
    border.instance("folder", folder, str, os.PathLike)
    return _read(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, source=source, folder=folder)


def to_dict(scenario: Scenario) -> dict[str, Any]:
    """A scenario as its file's tables, sizes in bytes, addresses and names filled in."""
    border.instance("scenario", scenario, Scenario)
    tables = ScenarioFile(
        title=scenario.title,
        guest=scenario.guest,
        driver=scenario.driver,
        device=scenario.devices,
        step=scenario.steps,
    )
    # msgspec does not know a Size; it becomes a plain number.
    built: dict[str, Any] = msgspec.to_builtins(tables, enc_hook=int)
    return built


def _read(text: bytes, *, source: str, folder: StrPath, kernel: str | None = None) -> Scenario:
    """Read, check and complete; every complaint names its source."""
    try:
        file = convert(parse(text), ScenarioFile)
        if kernel is not None:
            file = structs.replace(file, guest=structs.replace(file.guest, kernel=kernel))
        return complete(file, folder, source)
    except ScenarioError as error:
        raise error.of(source, line_of(error.where, text)) from None


def parse(text: bytes) -> dict[str, Any]:
    """TOML to tables. Raises as `convert` does."""
    try:
        return toml_values(text)
    except NotationError as error:
        raise ScenarioError(error.reason, where=error.where) from None


def convert(raw: dict[str, Any], kind: type[F]) -> F:
    """Read a scenario file's tables, plain values, as values of `kind`, the file's own type or one with more tables.

    Raises ScenarioError, which does not name its source.
    """
    try:
        return msgspec.convert(raw, kind, dec_hook=decode_size)
    except msgspec.ValidationError as error:
        raise explain(error, raw, kind) from None


def complete(file: ScenarioFile, folder: StrPath, source: str = "scenario") -> Scenario:
    """Check that the scenario can be, place its devices, and find the listing it starts from. Raises as `convert` does."""
    # First of all: the time that the other checks take grows with these.
    limits.check_amounts(file)
    checks.check_guest(file.guest)
    checks.check_devices(file.device, nodes=len(file.guest.nodes))
    machine = _machine(file)
    checks.check_nodes(file.guest.nodes, machine, file.guest.architecture.page_size)
    try:
        devices = checks.place_devices(file.device, machine, file.guest.architecture)
        boot_iomem = _boot_iomem(file, devices, machine, folder)
    except ScenarioError as error:
        raise _with_machine(error, file, folder) from None
    checks.check_addresses(file.guest, machine)
    checks.check_steps(file)
    guest = file.guest
    if machine is not None:
        guest = structs.replace(guest, max_memory=Size(machine.max_memory), slots=machine.slots)
    return Scenario(
        title=file.title,
        guest=guest,
        driver=file.driver,
        devices=devices,
        steps=file.step,
        boot_iomem=boot_iomem,
        folder=folder,
        source=source,
    )


def _with_machine(error: ScenarioError, file: ScenarioFile, folder: StrPath) -> ScenarioError:
    """Add to what is wrong with a device's place that the listing is another machine's, where it is."""
    if file.guest.iomem is None or not error.where.startswith("device["):
        return error
    try:
        found = machine_of(iomem.loads(read_bytes(within(folder, file.guest.iomem), limit=MAX_LISTING)))
    except UsageError:
        return error
    if found in (None, (file.guest.machine, file.guest.memory)):
        return error
    kind, memory = found
    reason = f'{error.reason}; the listing is of machine = "{kind}", memory = "{format_size(memory)}"'
    return ScenarioError(reason, where=error.where)


def _machine(file: ScenarioFile) -> MachineLayout | None:
    """The machine, with room for every DIMM that a step plugs; None when the guest starts from a capture."""
    if file.guest.capture is not None:
        return None
    return MachineLayout.of(file.guest, file.device, [step.size for step in file.step if isinstance(step, PlugDimm)])


def _boot_iomem(file: ScenarioFile, devices: list[DeviceConfig], machine: MachineLayout | None, folder: StrPath) -> str:
    """The listing a guest starts from: the one that the scenario names, or the built-in layout."""
    if file.guest.iomem is None:
        return "" if machine is None else _built_in(machine, file)
    path = within(folder, file.guest.iomem)
    try:
        text = read_bytes(path, limit=MAX_LISTING).decode()
        listing = iomem.loads(text, source=path)
        limits.check_ram(listing)
        checks.check_listing(devices, listing)
    except UnicodeDecodeError:
        raise ScenarioError(f"{path} is not text", where="guest.iomem") from None
    except ScenarioError:
        # A UsageError, too, but one that already names its place: a device's table, say.
        raise
    except UsageError as error:
        raise ScenarioError(str(error), where="guest.iomem") from None
    return text


def _built_in(machine: MachineLayout, file: ScenarioFile) -> str:
    """The built-in layout, with what is reserved for a crash kernel."""
    size = file.guest.crashkernel or 0
    try:
        return boot_listing(machine, len(file.device), file.guest.release, crashkernel=size, guest=file.guest)
    except ArgumentError as error:
        raise ScenarioError(str(error), where="guest.crashkernel") from None
