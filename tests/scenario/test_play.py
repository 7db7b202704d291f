import re
from pathlib import Path

import pytest
from msgspec import structs

from virtiomem import scenario
from virtiomem.errors import ScenarioError, UsageError
from virtiomem.live.load import snapshot_of
from virtiomem.live.reading import load_any
from virtiomem.recording import MemoryBlock, Recording
from virtiomem.recording.values import VirtioMemInfo
from virtiomem.releases.linux import LINUX

EXAMPLES = Path(__file__).parents[2] / "examples"
WHAT_IF = """
[guest]
capture = "guest.capture"
[[device]]
id = "vm0"
max-size = "8G"
memaddr = "0x180000000"
"""


def test_a_scenario_with_a_capture_starts_where_it_was_taken() -> None:
    captured = snapshot_of(load_any(EXAMPLES / "guest.capture"))
    boot = scenario.embedded_guest(scenario.loads(WHAT_IF, folder=EXAMPLES)).boot
    assert boot.iomem == captured.iomem
    assert [block.block for block in boot.memory_blocks] == [block.block for block in captured.memory_blocks]
    (device,), (known,) = boot.devices, captured.devices
    assert isinstance(device, VirtioMemInfo)
    assert isinstance(known, VirtioMemInfo)
    assert device.size == device.requested_size == known.requested_size > 0


@pytest.mark.parametrize("memaddr", ["0x100000000", "0x40000000", "0x178000000", "0x180000000"])
def test_a_device_on_what_a_captured_guest_has_is_refused(memaddr: str) -> None:
    over = WHAT_IF + f'[[device]]\nid = "vm1"\nmax-size = "1G"\nmemaddr = "{memaddr}"\n'
    with pytest.raises(ScenarioError, match=rf"what-if.toml: device 2: memaddr: {memaddr} is taken in the listing by"):
        scenario.embedded_guest(scenario.loads(over, source="what-if.toml", folder=EXAMPLES))


def test_a_second_device_is_possible_next_to_a_captured_one() -> None:
    beside = WHAT_IF + '[[device]]\nid = "vm1"\nmax-size = "1G"\nmemaddr = "0x380000000"\n'
    guest = scenario.embedded_guest(scenario.loads(beside, folder=EXAMPLES))
    guest.check()
    assert "\n380000000-3bfffffff : virtio1\n" in guest.boot.iomem


@pytest.mark.parametrize(("key", "value"), [("machine", "pc"), ("memory", "8G"), ("max-memory", "64G"), ("slots", 2)])
def test_a_key_that_a_capture_leaves_unread_is_refused(key: str, value: str | int) -> None:
    text = WHAT_IF.replace("[[device]]", f"{key} = {value!r}\n[[device]]")
    with pytest.raises(ScenarioError, match=rf"what-if.toml:\d+: guest.{key}: nothing reads it"):
        scenario.loads(text, source="what-if.toml")


def test_a_masked_capture_is_refused_in_the_scenario_s_name(tmp_path: Path) -> None:
    text = (EXAMPLES / "guest.capture").read_text()
    (tmp_path / "guest.capture").write_text(re.sub(r"[0-9a-f]{8,}-[0-9a-f]{8,} :", "00000000-00000000 :", text))
    with pytest.raises(
        ScenarioError, match=r"^what-if.toml: guest.capture: /.*/guest.capture: .*all addresses are zero"
    ):
        scenario.embedded_guest(scenario.loads(WHAT_IF, source="what-if.toml", folder=tmp_path))


def test_memory_of_a_captured_device_that_the_scenario_lacks_is_refused_in_its_name() -> None:
    with pytest.raises(
        ScenarioError, match=r"^what-if.toml: guest.capture: .*/guest.capture: the guest has virtio-mem"
    ):
        scenario.embedded_guest(
            scenario.loads(WHAT_IF.partition("[[device]]")[0], source="what-if.toml", folder=EXAMPLES)
        )


def test_a_device_smaller_than_its_captured_region_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"guest.capture: virtio0 has 8G, more than device vm0 with max-size 4G"):
        scenario.embedded_guest(scenario.loads(WHAT_IF.replace("8G", "4G"), folder=EXAMPLES))


def test_a_capture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"guest.capture: No such file"):
        scenario.embedded_guest(scenario.loads(WHAT_IF, folder=tmp_path))


def test_scenario_without_a_state_for_added_memory_has_that_of_the_kernels_build() -> None:
    states = {}
    for kernel in ("6.1", "6.12"):
        guest = scenario.embedded_guest(scenario.loads(f'[guest]\nkernel = "{kernel}"'))
        states[kernel] = guest.info["command-line"]
    assert states == {"6.1": "memhp_default_state=offline", "6.12": "memhp_default_state=online"}


def test_release_that_is_not_known_is_played_as_the_nearest_and_the_guest_says_so() -> None:
    for kernel, name in (("9.1", LINUX.newest.name), ("5.15", "6.1")):
        info = scenario.embedded_guest(scenario.loads(f'[guest]\nkernel = "{kernel}"')).info
        assert (info["kernel"], info["stands-in-for"]) == (name, kernel)
    assert "stands-in-for" not in scenario.embedded_guest(scenario.loads('[guest]\nkernel = "6.12.3"')).info


@pytest.mark.parametrize("version", ["", "new", "v6.1", "6"])
@pytest.mark.parametrize("key", ["kernel", "qemu"])
def test_kernel_or_qemu_that_names_no_release_is_refused(key: str, version: str) -> None:
    with pytest.raises(
        ScenarioError, match=rf"^scenario(?::\d+)?: guest.{key}: .*two numbers such as 6\.12"
    ) as refused:
        scenario.loads(f'[guest]\n{key} = "{version}"')
    assert len(str(refused.value)) < 200


def test_scenario_plays_like_the_guest_of_a_recording_and_keeps_what_it_says_itself() -> None:
    real = {"kernel": "6.12.117+deb12-cloud-amd64", "qemu": "10.0.13", "default-state": "online_kernel"}
    like = scenario.like(scenario.loads('[guest]\nkernel = "6.1"'), real)
    assert (like.guest.release.name, like.guest.added_state) == ("6.12", "online_kernel")
    assert like.guest.qemu_release.name == "10.0"
    said = scenario.like(scenario.loads('[guest]\ndefault-state = "offline"'), real)
    assert (said.guest.release.name, said.guest.added_state) == ("6.12", "offline")
    assert scenario.like(said, {"kernel": 6, "default-state": "x"}) == said
    with pytest.raises(UsageError, match=r"two numbers such as 6\.12, not 'x'"):
        scenario.like(said, {"kernel": "x"})


SMALL = """
[guest]
memory = "1G"
default-state = "online_kernel"
[[device]]
id = "vm0"
max-size = "1G"
[[step]]
do = "load"
[[step]]
do = "resize"
device = "vm0"
requested-size = "128M"
[[step]]
do = "refuse"
event = "offline"
[[step]]
do = "resize"
device = "vm0"
requested-size = "0"
[[step]]
do = "refuse"
event = "offline"
error = "OK"
"""


def played_before(**last: object) -> tuple[scenario.Scenario, Recording]:
    """A scenario and what a guest did of it, the last step but one changed."""
    scene = scenario.loads(SMALL)
    made = scenario.play(scene, scenario.embedded_guest(scene))
    made.steps[-2] = structs.replace(made.steps[-2], **last)
    return scene, made


def test_a_follower_has_the_kernels_pages_where_the_real_kernel_had_them() -> None:
    block = MemoryBlock(block=32, state="online", valid_zones="Normal", nodes=[0], pages="k" + 63 * "o")
    scene, real = played_before()
    snapshot = structs.replace(real.steps[-2].snapshot, memory_blocks=[block])
    scene, real = played_before(snapshot=snapshot)
    shrunk = scenario.play_again(scene, real).steps[-2]
    assert [request.nb_blocks for request in shrunk.requests] == [1] * 63
    assert not shrunk.settled


def test_a_followers_steps_last_as_long_as_the_real_ones() -> None:
    """Beyond the driver's retry, which then falls into the step."""
    scene, real = played_before(elapsed=0.4)
    assert isinstance(scenario.play_again(scene, real).steps[-1].retry_in, float)
    real.steps[-1] = structs.replace(real.steps[-1], elapsed=60.0)
    last = scenario.play_again(scene, real).steps[-1]
    assert max(block.block for block in last.snapshot.memory_blocks) < 32
