"""`virtiomem vm …` as its user runs it, on simulated machines."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from virtiomem.cli.main import main

SCENARIO = """
[guest]
memory = "4G"
max-memory = "20G"
default-state = "{state}"
[[device]]
id = "vm0"
max-size = "8G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "1G"
"""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A connection to a simulated machine of that name; no configuration but what a test writes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "web.toml"
    path.write_text(SCENARIO.format(state="online_movable"))
    return f"sim:{path}"


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same with new memory left offline."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "stuck.toml"
    path.write_text(SCENARIO.format(state="offline").replace('"1G"', '"512M"'))
    return f"sim:{path}"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["vm", *argv])
    out, err = capsys.readouterr()
    return code, out, err


def test_list_is_a_table_with_a_line_per_device(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list", "-c", web)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "VM   DEVICE  KIND        NODE  SIZE  REQUESTED  MAX  BLOCK  STATE    USE",
        "web  vm0     virtio-mem     0    1G         1G   8G     2M  settled  ###.................",
    ]


def test_machine_without_memory_devices_is_not_left_out_of_the_list(
    web: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain.toml").write_text('[guest]\nmemory = "4G"\n')
    code, out, err = run(capsys, "list", "-c", web, "-c", f"sim:{tmp_path}/plain.toml")
    assert (code, out.count("\n"), err) == (0, 2, "plain: it has no memory device\n")


def test_growth_that_the_guest_will_leave_offline_is_warned_of_beforehand(
    stuck: str, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = run(capsys, "resize", "stuck", "3G", "-c", stuck, "--dry-run")
    assert "virtiomem: warning: stuck: auto_online_blocks is offline" in err
    assert "memhp_default_state=online_movable" in err
    for argv in (("stuck", "0", "-c", stuck), ("web", "3G", "-c", web)):
        assert "auto_online_blocks" not in run(capsys, "resize", *argv, "--dry-run")[2]


def test_list_follows_lsmems_habits(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list", "-c", web, "-n", "-b", "-o", "vm,device,size")[1] == "web  vm0  1073741824\n"
    assert run(capsys, "list", "-c", web, "-o", "+address")[1].splitlines()[0].endswith("ADDRESS")
    code, _, err = run(capsys, "list", "-c", web, "-o", "colour")
    assert (code, err.startswith("virtiomem: --output: no column 'colour' (there are vm, device")) == (2, True)


def test_list_json_spells_keys_as_qmp_does(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    (vm,) = json.loads(run(capsys, "list", "-c", web, "-J")[1])["vms"]
    assert (vm["vm"], vm["status"], vm["boot-memory"], vm["error"]) == ("web", "running", 4 << 30, None)
    assert vm["devices"][0]["requested-size"] == 1 << 30


def test_status_says_what_is_inside(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "status", "-c", web)[1]
    assert out.startswith(
        "web  running  simulated\n  memory 5G: boot and DIMMs 4G, virtio-mem 1G\n  inside (simulated guest): "
    )
    assert "ready" in out


def test_status_counts_each_node(tmp_path: Path, web: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "numa.toml"
    nodes = '[[guest.nodes]]\nid = 0\nmemory = ["0x0-0x7fffffff"]\n[[guest.nodes]]\nid = 1\nmemory = ["0x100000000-0x17fffffff"]\n'
    second = '[[device]]\nid = "vm1"\nmax-size = "2G"\nnode = 1\n[[step]]'
    path.write_text(
        SCENARIO.format(state="online").replace("[[device]]", f"{nodes}[[device]]", 1).replace("[[step]]", second, 1)
    )
    out = run(capsys, "status", "-c", f"sim:{path}", "-c", web)[1]
    assert "  node 0: virtio-mem 1G of 1G requested\n  node 1: virtio-mem 0B of 0B requested\n" in out
    assert "\n\nweb  running" in out


def test_resize_waits_and_says_what_became_of_it(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "resize", "web", "3G", "-c", web)
    assert (code, err) == (0, "web: 2G more need 32M for struct pages, and the guest has 3.7G free: they fit\n")
    assert out.splitlines()[0] == "web/vm0: done after 0.0 s: 1G -> 3G"
    assert "  note    seen from inside: MemTotal 5G -> 7G, no block of it offline" in out


def test_resize_writes_sizes_as_the_list_does(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "1G -> 1.5G" in run(capsys, "resize", "web", "1536M", "-c", web)[1]
    assert "1G -> 1.5G requested, 1G plugged" in run(capsys, "resize", "web", "1.5G", "-c", web, "--dry-run")[1]
    assert "1G -> 1602M" in run(capsys, "resize", "web", "1602M", "-c", web)[1], "1.6G would not be exact"


@pytest.mark.parametrize("verb", ["list", "status", "resize", "watch", "explain"])
def test_help_names_the_exit_codes(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, verb, "--help")
    assert (code, "exit codes: 0" in out) == (0, True)


def test_negative_size_is_a_size_and_no_option(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "resize", "vm0", "-512M", "-c", web)[1].startswith("web/vm0: done after 0.0 s: 1G -> 512M\n")


def test_resize_that_stops_short_is_64_with_reasons(stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "resize", "vm0", "4G", "-c", stuck)
    assert code == 64
    assert out.startswith("stuck/vm0: partly done after 60.0 s: 512M -> 1G, 4G requested\n")
    assert "  fact    vm0: auto_online_blocks is offline" in out
    assert "  advice  vm0: online them" in out


def test_time_out_is_124(stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "resize", "vm0", "4G", "-c", stuck, "--timeout", "30")[0] == 124


def test_resize_json_has_everything(stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "resize", "vm0", "4G", "-c", stuck, "-J", "--on-timeout", "rollback")
    (result,) = json.loads(out)["results"]
    assert (code, result["exit-code"], result["vm"]) == (64, 64, "stuck")
    sizes = {
        "size-before": 512 << 20,
        "size": 512 << 20,
        "requested-size-before": 512 << 20,
        "requested-size": 512 << 20,
    }
    assert result["devices"] == [{"id": "vm0", "node": 0} | sizes]
    assert {finding["certainty"] for finding in result["findings"]} >= {"fact", "advice"}


def test_dry_run_shows_the_plan_and_changes_nothing(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "resize", "web", "--total", "8G", "-c", web, "--dry-run")
    assert (code, out) == (0, "web/vm0: 1G -> 4G requested, 1G plugged\n")
    plan = json.loads(run(capsys, "resize", "web", "--plugged", "2G", "-c", web, "--dry-run", "-J")[1])["plan"]
    assert plan == [{"vm": "web", "device": "vm0", "size": 1 << 30, "before": 1 << 30, "requested-size": 2 << 30}]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["vm0", "3M"], 1, "web: vm0: 3M (0x300000) is not a multiple of its block size 2M (--round makes it 4M)"),
        (["vm0", "9G"], 1, "web: vm0: 9G (0x240000000) is above its max size 8G"),
        (["vm1", "1G"], 1, "web: it has no device 'vm1'"),
        (["vm0", "much"], 2, "not a size: 'much' (write 128M, 2G, 0x8000000 or bytes)"),
        (["vm0", "--total", "8G"], 2, "--total is for whole machines, and 'vm0' is not a machine"),
        (["web", "1G", "--total", "--spread", "odd"], 2, "--spread 'odd' is not even, weighted, pack or node=N"),
        (["web", "1G", "--timeout", "soon"], 2, "argument --timeout: not a time: 'soon' (write 90, 90s, 5m or 1h"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    web: str, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    got, out, err = run(capsys, "resize", *argv, "-c", web)
    assert (got, out) == (code, "")
    assert err.startswith(f"virtiomem: {words}")
    assert err.count("\n") == 1


def test_one_machine_that_cannot_keeps_all_from_being_touched(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    gone = "dead=qmp:/nowhere/monitor.sock"
    code, out, err = run(capsys, "resize", "all", "2G", "-c", web, "-c", gone)
    assert (code, out) == (1, "")
    assert "virtiomem: dead (qmp:/nowhere/monitor.sock): cannot connect: No such file or directory" in err
    assert "no machine was touched" in err
    code, out, _ = run(capsys, "resize", "all", "2G", "-c", web, "-c", gone, "--keep-going")
    assert (code, out.splitlines()[0]) == (64, "web/vm0: done after 0.0 s: 1G -> 2G")


def test_machine_that_does_not_answer_does_not_hide_the_others(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "list", "-c", web, "-c", "qmp:/nowhere/monitor.sock")
    assert (code, len(out.splitlines())) == (64, 2)
    assert err == "virtiomem: qmp:/nowhere/monitor.sock: cannot connect: No such file or directory\n"


def test_explain_says_what_is_known(stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "-c", stuck)
    assert code == 0
    assert out.splitlines()[:2] == ["stuck", "  fact    vm0: 4 of its memory blocks (512M) are in Linux but offline"]
    (vm,) = json.loads(run(capsys, "explain", "vm0", "-c", stuck, "-J")[1])["vms"]
    assert vm["findings"][0]["device"] == "vm0"


def test_explain_refuses_a_device_that_is_not_there(stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "explain", "vm7", "-c", stuck) == (
        1,
        "",
        "virtiomem: stuck: it has no device 'vm7', did you mean 'vm0'? (there is vm0)\n",
    )


def test_explain_json_has_machines_it_could_not_reach(stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", "-J", "-c", stuck, "-c", "dead=qmp:/nowhere/monitor.sock")
    seen, dead = json.loads(out)["vms"]
    assert (code, seen["error"], dead["vm"], dead["findings"]) == (64, None, "dead", [])
    assert dead["error"] == "dead (qmp:/nowhere/monitor.sock): cannot connect: No such file or directory"


def test_explain_reads_the_guests_files(tmp_path: Path, stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    memory = tmp_path / "files/sys/devices/system/memory"
    for number in (48, 49):
        (memory / f"memory{number}").mkdir(parents=True)
        (memory / f"memory{number}/state").write_text("offline\n")
    (memory / "block_size_bytes").write_text("8000000\n")
    (memory / "auto_online_blocks").write_text("offline\n")
    out = run(capsys, "explain", "-c", stuck, "--capture", str(tmp_path / "files"))[1]
    assert "vm0: 2 of its memory blocks (256M) are in Linux but offline" in out
    code, _, err = run(capsys, "explain", "-c", stuck, "--capture", str(tmp_path / "none"))
    assert (code, err.count("\n")) == (2, 1)


def test_explain_reads_a_capture(tmp_path: Path, stuck: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "guest.capture"
    path.write_text(
        "virtiomem-capture/1\n\n[sys/devices/system/memory]\n block_size_bytes 8000000\n auto_online_blocks online\n"
        " 0-31 online 1 0 DMA32\n 48-50 offline 1 0 Normal/Movable\n"
    )
    out = run(capsys, "explain", "-c", stuck, "--capture", str(path))[1]
    assert "vm0: 3 of its memory blocks (384M) are in Linux but offline" in out
    code, _, err = run(capsys, "explain", "-c", stuck, "-c", f"other={stuck}", "--capture", str(path))
    assert (code, err) == (2, f"virtiomem: --capture {path} is of one machine, but 2 are meant\n")
    path.write_text("not a capture")
    assert run(capsys, "explain", "-c", stuck, "--capture", str(path))[0] == 2


def watched(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """What a watch says about each of its machines; a busy machine is given longer and longer."""
    for seconds in ("0.5", "5", "50", str(PATIENCE)):
        done = run(capsys, "watch", *argv, "--for", seconds)
        if len(done[1].splitlines()) >= argv.count("-c"):
            break
    return done


def test_watch_json_is_a_line_for_each_change(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = watched(capsys, "-c", web, "-J", "--interval", "0.05")
    (line,) = out.splitlines()
    sample = json.loads(line)
    assert (code, sample["vm"], sample["devices"][0]["size"]) == (0, "web", 1 << 30)
    assert sample["inside"] == "not looked"


@pytest.mark.long
def test_watch_that_did_not_see_every_machine_says_which_and_does_not_end_well(
    web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = ["-c", "qmp:/nowhere.sock", "-c", "qmp:/nowhere2.sock", "--for", "0.5"]
    assert run(capsys, "watch", *gone)[::2] == (1, "virtiomem: never seen: nowhere, nowhere2\n")
    assert run(capsys, "watch", "-c", web, *gone)[::2] == (64, "virtiomem: never seen: nowhere, nowhere2\n")


def test_watch_plain_lines_without_a_terminal(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = watched(capsys, "-c", web, "-c", "qmp:/nowhere.sock")[1]
    assert "web/vm0  1G of 1G requested  ###................." in out
    assert "qmp:/nowhere.sock: cannot connect" in out


def test_names_come_from_the_configuration(tmp_path: Path, web: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config/virtiomem/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'[vm.front]\nconnect = "{web}"\n')
    assert run(capsys, "list", "-n", "-o", "vm")[1] == "front\n"
    assert run(capsys, "resize", "front", "2G")[1].startswith("front/vm0: done")


def test_no_machine_is_usage(web: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert web
    code, _, err = run(capsys, "list")
    said = r"virtiomem: no machine: give --connect \(qmp:/monitor.sock, .*libvirt:DOMAIN, .*\), or name machines in config.toml\n"
    assert (code, bool(re.fullmatch(said, err))) == (2, True)


@pytest.mark.parametrize("verb", ["list", "status", "watch"])
def test_a_machine_may_be_named_without_an_option_and_a_bare_name_says_how_a_domain_is_named(
    verb: str, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert web
    code, _, err = run(capsys, verb, "web9")
    assert (code, err.startswith("virtiomem: --connect: 'web9' is not a machine (libvirt:web9 is the domain")) == (
        2,
        True,
    )
    if verb != "watch":
        assert run(capsys, verb, web, "-n")[:1] == run(capsys, verb, "-c", web, "-n")[:1] == (0,)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_interrupted_planning_says_that_nothing_was_touched(tmp_path: Path, number: signal.Signals) -> None:
    path = str(tmp_path / "monitor.sock")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        resize = subprocess.Popen(
            [sys.executable, "-m", "virtiomem", "vm", "resize", "all", "1G", "-c", path],
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(PATIENCE)
        peer, _ = silent.accept()
        resize.send_signal(number)
        _, err = resize.communicate(timeout=PATIENCE)
        peer.close()
    assert (resize.returncode, err) == (130, "virtiomem: interrupted: no machine was touched\n")


def test_interrupted_watch_ends_quietly(web: str) -> None:
    watch = subprocess.Popen(
        [sys.executable, "-m", "virtiomem", "vm", "watch", "-c", web, "-J"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
        text=True,
    )
    assert watch.stdout is not None
    assert watch.stdout.readline().startswith("{")
    watch.terminate()
    _, err = watch.communicate(timeout=PATIENCE)
    assert (watch.returncode, err) == (0, "")


def test_why_no_peer_can_be_reached_is_said_in_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but not listening
        address = f"qmp:127.0.0.1:{taken.getsockname()[1]}"
        assert main(["vm", "list", "-c", address, "-c", f"qmp:{tmp_path}/no.sock"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"virtiomem: {address}: cannot connect: Connection refused",
        f"virtiomem: qmp:{tmp_path}/no.sock: cannot connect: No such file or directory",
    ]


@pytest.mark.parametrize("verb", ["status", "resize", "explain"])
def test_help_states_the_risk_of_unstable_commands(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vm", verb, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--unstable-monitor-commands RISKY: " in said
    assert "it ends QEMU 11.1 with its guest, and is sent only to 7.2 and 10.0" in said


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_verbs_that_do_not_ask_for_drivers_take_no_unstable_commands(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vm", verb, "--unstable-monitor-commands"]) == 2
    assert "--unstable-monitor-commands" in capsys.readouterr().err


def test_a_refusal_of_a_peer_begins_with_its_connection_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    code, _, err = run(capsys, "resize", "all", "1G", "-c", f"web=qmp:{tmp_path}/none.sock")
    assert (code, err) == (1, f"virtiomem: web (qmp:{tmp_path}/none.sock): cannot connect: No such file or directory\n")


SMALL = """
[guest]
memory = "256M"
max-memory = "32G"
default-state = "{state}"
[[device]]
id = "vm0"
max-size = "15G"
[[step]]
do = "load"
"""


def small(tmp_path: Path, state: str) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL.format(state=state))
    return f"sim:{path}"


def test_what_growth_costs_is_said_before_anything_is_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = small(tmp_path, "online_movable")
    code, out, err = run(capsys, "resize", "all", "15G", "-c", where, "--dry-run")
    assert (code, out) == (0, "small/vm0: 0 -> 15G requested, 0 plugged\n")
    assert err.startswith("virtiomem: warning: small: 15G more need 240M for struct pages, and the guest has 123")
    assert "G fit; free memory in the guest" in err
    code, out, _ = run(capsys, "resize", "all", "15G", "-c", where, "--dry-run", "--json")
    (warning,) = json.loads(out)["warnings"]
    assert (warning["vm"], warning["reason"]) == ("small", "no-room-for-memmap")
    assert warning["values"]["growth"] == 15 << 30


def test_steps_stop_where_struct_pages_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "resize", "all", "15G", "--step", "auto", "-c", small(tmp_path, "online_movable"))
    assert code == 64
    size = re.search(r"0 -> (\d+)M\n", out)
    assert size is not None
    assert 6912 <= int(size[1]) <= 7168, "nine tenths of the 7808M that would fit"
    assert "G more need" in out
    assert "ENOMEM" not in out


def test_steps_reach_the_end_where_memory_pays_for_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "resize", "all", "15G", "--step", "auto", "-c", small(tmp_path, "online"))
    assert (code, out.splitlines()[0]) == (0, "small/vm0: done after 0.0 s: 0 -> 15G")
    assert "online to a kernel zone pays for the next" in err


def test_steps_need_a_look_inside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = small(tmp_path, "online")
    code, _, err = run(capsys, "resize", "all", "15G", "--step", "auto", "--no-wait", "-c", where)
    assert (code, "--step" in err) == (2, True)
