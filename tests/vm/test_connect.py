import asyncio
from pathlib import Path

import pytest

from virtiomem.errors import BackendError, UsageError
from virtiomem.text import shown
from virtiomem.vm.connect import config_paths, load_config, open_all, open_vm, parse_connection, resolve
from virtiomem.vm.doors.address import parse_address
from virtiomem.vm.doors.base import Connection, MachineTarget
from virtiomem.vm.doors.qmp import QmpTarget
from virtiomem.vm.doors.sim import SimTarget


@pytest.mark.parametrize(
    ("text", "name", "target"),
    [
        ("qmp:/run/vm1.sock", "vm1", QmpTarget("/run/vm1.sock", "/run/vm1.sock")),
        ("/run/vm1.sock", "vm1", QmpTarget("/run/vm1.sock", "/run/vm1.sock")),
        ("qmp:unix:/run/vm1.sock", "vm1", QmpTarget("unix:/run/vm1.sock", "/run/vm1.sock")),
        ("web=qmp:127.0.0.1:4444", "web", QmpTarget("127.0.0.1:4444", ("127.0.0.1", 4444))),
        ("qmp:127.0.0.1:4444", "127.0.0.1:4444", QmpTarget("127.0.0.1:4444", ("127.0.0.1", 4444))),
        ("qmp:tcp:[::1]:4444", "[::1]:4444", QmpTarget("tcp:[::1]:4444", ("::1", 4444))),
        ("qmp:a.sock", "a", QmpTarget("a.sock", "a.sock")),
        ("sim:a/hotplug.toml", "hotplug", SimTarget("a/hotplug.toml")),
    ],
)
def test_connection_is_read_with_its_name(text: str, name: str, target: MachineTarget) -> None:
    assert resolve([text], {}) == [Connection(name, target)]


@pytest.mark.parametrize(
    "text", ["", "vm1", "http://x", "qmp:", "qmp:host:", "qmp:host:0", "qmp:host:99999", "=qmp:/x", "@/nowhere/list"]
)
def test_what_is_not_a_machine_is_usage_and_named(text: str) -> None:
    with pytest.raises(UsageError) as wrong:
        resolve([text], {})
    assert text.removeprefix("qmp:").removeprefix("@") in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/run/a", "/run/a"),
        ("a.sock", "a.sock"),
        ("unix:/run/a", "/run/a"),
        ("tcp:h:1", ("h", 1)),
        ("[::1]:4444", ("::1", 4444)),
    ],
)
def test_address_is_path_or_host_and_port(text: str, address: object) -> None:
    assert parse_address(text, source="here") == address


def test_path_too_long_for_a_socket_is_usage() -> None:
    with pytest.raises(UsageError, match="at most 107 bytes"):
        parse_address("/" + "x" * 107, source="here")


def test_machines_of_one_name_go_by_their_connection() -> None:
    a, b, c = resolve(["/d1/monitor.sock", "/d2/monitor.sock", "/d3/other.sock"], {})
    assert (a.name, b.name, c.name) == ("qmp:/d1/monitor.sock", "qmp:/d2/monitor.sock", "other")


def test_same_machine_twice_is_one() -> None:
    assert len(resolve(["/d1/monitor.sock", "/d1/monitor.sock"], {})) == 1


def test_configuration_names_machines_and_the_first_file_counts(tmp_path: Path) -> None:
    own, system = tmp_path / "own.toml", tmp_path / "system.toml"
    own.write_text('[vm.web]\nconnect = "qmp:/own.sock"\nagent = "/ga.sock"\n')
    system.write_text('[vm.web]\nconnect = "/system.sock"\n[vm.db]\nconnect = "qmp:h:1"\n')
    config = load_config([own, system, tmp_path / "missing.toml"])
    assert resolve([], config) == [
        parse_connection("web=qmp:/own.sock", agent="/ga.sock"),
        parse_connection("db=qmp:h:1"),
    ]
    assert str(resolve(["db"], config)[0]) == "qmp:h:1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[vm.web]\n", "bad.toml: vm.web: 'connect' is missing"),
        ("[vm.web]\nconnect = 1\n", "bad.toml: vm.web.connect: expected a string, got an integer"),
        ('[vm.web]\nconnect = "x"\n', "vm.web.connect: 'x' is not a machine"),
        ('[vm.web]\nconnect = "/s"\ncolor = 1\n', "bad.toml: vm.web: 'color' is not a key here"),
        ("[vm", "bad.toml: end of document: Expected ']' at the end of a table declaration"),
        ("[vm]\n[vm]", "bad.toml: line 2, column 4: Cannot declare vm twice"),
    ],
)
def test_wrong_configuration_is_usage_with_file_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a long path is shortened
    path = Path("bad.toml")
    path.write_text(text)
    with pytest.raises(UsageError) as wrong:
        load_config([path])
    assert words in str(wrong.value)
    assert shown(path) in str(wrong.value)


def test_list_file_holds_a_connection_per_line(tmp_path: Path) -> None:
    path = tmp_path / "vms"
    path.write_text("# all\nqmp:/run/a.sock  agent=/run/a-ga.sock # first\n\nb=/run/b.sock\nweb\n")
    config = {"web": parse_connection("web=qmp:/w")}
    names = [(c.name, c.agent) for c in resolve([f"@{path}"], config)]
    assert names == [("a", "/run/a-ga.sock"), ("b", None), ("web", None)]


def test_wrong_line_of_a_list_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vms"
    path.write_text("/run/a.sock\n/run/b.sock rubbish\n")
    with pytest.raises(UsageError, match=f"{path}:2: 'rubbish' is not agent=SOCKET"):
        resolve([f"@{path}"], {})


def test_agent_of_many_machines_is_usage() -> None:
    with pytest.raises(UsageError, match="belongs to one machine, but 2 are meant"):
        resolve(["/a", "/b"], {}, agent="/ga")


def test_no_machine_at_all_says_how_to_name_one() -> None:
    with pytest.raises(UsageError, match=r"--connect \(qmp:"):
        resolve([], {})


def test_configuration_is_where_the_desktop_rules_say() -> None:
    assert [str(p) for p in config_paths({"HOME": "/home/a"})] == [
        "/home/a/.config/virtiomem/config.toml",
        "/etc/virtiomem/config.toml",
    ]
    assert str(config_paths({"XDG_CONFIG_HOME": "/x", "HOME": "/h"})[0]) == "/x/virtiomem/config.toml"


def test_list_that_never_ends_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="/dev/zero: longer than 16M"):
        resolve(["@/dev/zero"], {})
    (tmp_path / "config.toml").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match=r"config\.toml: longer than 16M"):
        load_config([tmp_path / "config.toml"])


def test_an_error_of_a_machine_has_its_connection_as_a_value(tmp_path: Path) -> None:
    connection = parse_connection(f"web=qmp:{tmp_path / 'none.sock'}")
    with pytest.raises(BackendError) as caught:
        asyncio.run(open_vm(connection))
    assert caught.value.connection == connection.label == f"web (qmp:{tmp_path}/none.sock)"
    assert caught.value.message == "cannot connect: No such file or directory"
    assert str(caught.value) == f"{connection.label}: {caught.value.message}"


def test_cancelled_opening_closes_what_was_open() -> None:
    class Opened:
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    class Target:
        def __init__(self, vm: Opened | None) -> None:
            self.vm = vm

        async def open(self, _: Connection) -> Opened:
            if self.vm is None:
                await asyncio.sleep(60)
            assert self.vm is not None
            return self.vm

    async def run() -> None:
        connections = [Connection(f"{number}", Target(vm)) for number, vm in enumerate((opened, None))]  # type: ignore[arg-type]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), open_all(connections):
                pass

    opened = Opened()
    asyncio.run(run())
    assert opened.closed
