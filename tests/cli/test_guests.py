from pathlib import Path

import pytest

from virtiomem.cli.main import main

SCENARIO = """
[[device]]
id = "vm0"
max-size = "1G"
[[step]]
do = "load"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO)
    return path


def complaint(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return code, err


def test_options_of_a_real_linux_need_one(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "run", scenario, "--kernel", "x") == (2, "virtiomem: --kernel is for --guest linux\n")
    assert complaint(capsys, "compare", "a.json", "b.json", "--append", "x")[0] == 2
    assert complaint(capsys, "run", scenario, "--guest", "linux", "--device", "qemu")[0] == 2


def test_a_missing_kernel_is_named_with_its_package(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = complaint(capsys, "run", scenario, "--guest", "linux", "--kernel", "/no/vmlinuz")
    assert code == 1
    assert said == (
        "virtiomem: /no/vmlinuz: No such file or directory (--kernel FILE; Debian package linux-image-cloud-amd64)\n"
    )


def test_a_release_is_looked_for_and_named_when_it_is_not_here(
    scenario: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIRTIOMEM_KERNELS", str(tmp_path))
    package = "(Debian package linux-image-6.1*-cloud-amd64)"
    for command in (["run", "--guest", "linux"], ["compare"]):
        assert complaint(capsys, *command, scenario, "--kernel", "6.1") == (
            1,
            f"virtiomem: no kernel 6.1 with virtio_mem in {tmp_path}/boot (there is nothing) {package}\n",
        )
        assert complaint(capsys, *command, scenario, "--kernel", "./6.1")[1].startswith("virtiomem: 6.1: No such file")
        assert complaint(capsys, *command, scenario, "--kernel", "6.1", "--modules", "/x")[0] == 2


def test_modules_need_their_kernel(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["run", "--guest", "linux"], ["compare"]):
        assert complaint(capsys, *command, scenario, "--modules", "/some/where") == (
            2,
            "virtiomem: --modules /some/where needs --kernel FILE: modules are of one kernel\n",
        )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[[step]]\ndo = "inject"\nat = "online"\nerror = "ENOMEM"\n', "step 2: inject is for the embedded guest"),
        ('[[step]]\ndo = "add-memory"\nkind = "kmem"\nsize = "1G"\n', "step 2: add-memory is for the embedded guest"),
        ('[[step]]\ndo = "use"\nid = "a b; reboot"\nsize = "1M"\n', "step 2: id: 'a b; reboot' is not a file name"),
        ("[driver]\nmerge-resources = false\n", "driver.merge-resources: a stock kernel merges"),
        ('[guest]\nmemory = "128M"\n', "guest.memory: 128M is too little for a real Linux"),
    ],
)
def test_what_only_the_embedded_guest_can_is_refused_before_anything_runs(
    scenario: Path, capsys: pytest.CaptureFixture[str], more: str, words: str
) -> None:
    scenario.write_text(SCENARIO + more)
    for command in (["run", "--guest", "linux"], ["compare"]):
        code, said = complaint(capsys, *command, scenario, "--qemu", "/no/qemu", "--kernel", "/no/kernel")
        assert code == 2
        assert said.startswith(f"virtiomem: {scenario}: {words}")


def test_a_capture_is_for_our_own_devices(
    scenario: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    scenario.write_text('[guest]\ncapture = "guest.capture"\n')
    code, said = complaint(capsys, "run", scenario, "--device", "qemu")
    assert code == 2
    assert said.startswith(f"virtiomem: {scenario}: guest.capture: QEMU's devices start empty")
    code, said = complaint(capsys, "run", scenario, "--guest", "linux")
    assert code == 2
    assert said.startswith(f"virtiomem: {scenario}: guest.capture: a real guest boots its own memory")


def test_one_recording_alone_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, "compare", "a.json")[0] == 2


def test_a_timeout_that_is_not_a_time_is_refused(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = complaint(capsys, "run", scenario, "--guest", "linux", "--timeout=nan")
    assert code == 2
    assert "--timeout: not a time: 'nan'" in said


def test_qemu_of_the_devices_is_the_one_that_is_asked_for(scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = complaint(capsys, "run", scenario, "--device", "qemu", "--qemu", "/no/qemu")
    assert (code, said.startswith("virtiomem: /no/qemu: No such file or directory")) == (1, True)
