from pathlib import Path

import msgspec
import pytest

from virtiomem import scenario
from virtiomem.architecture import X86_64
from virtiomem.errors import ScenarioError, UsageError
from virtiomem.recording.json_file import decode_size
from virtiomem.recording.values import Load, Resize
from virtiomem.scenario.complaints import line_of
from virtiomem.units import GiB, MiB

SCENARIOS = sorted((Path(__file__).parents[1] / "data" / "recordings").glob("*/scenario.toml"))
GUEST = '[guest]\nmemory = "4G"\nmax-memory = "20G"\n'
DEVICE = '[[device]]\nid = "vm0"\nmax-size = "8G"\n'


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.parent.name)
def test_scenario_played_on_a_real_linux_loads(path: Path) -> None:
    loaded = scenario.load(path)
    assert loaded.title
    assert Load() in loaded.steps
    assert loaded.boot_iomem == path.with_name("boot.iomem").read_text()
    assert loaded.folder == str(path.parent)


def test_scenario_is_read_with_sizes_in_bytes_and_defaults_filled_in() -> None:
    loaded = scenario.loads(
        GUEST + DEVICE + 'requested-size = "1.5G"\n'
        '[[device]]\nid = "vm1"\nmax-size = 1073741824\nblock-size = "4MiB"\nmemaddr = "0x480000000"\n'
        '[[step]]\ndo = "load"\n[[step]]\ndo = "resize"\ndevice = "vm1"\nrequested-size = "3M"\n'
    )
    first, second = loaded.devices
    assert (first.memaddr, first.name, first.requested_size, first.block_size) == (
        6 * GiB,
        "virtio0",
        1536 * MiB,
        2 * MiB,
    )
    assert (second.memaddr, second.name, second.max_size, second.block_size) == (18 * GiB, "virtio1", GiB, 4 * MiB)
    assert loaded.steps[1] == Resize(device="vm1", requested_size=3 * MiB)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["virtio1", None], ["virtio1", "virtio2"]),
        ([None, "virtio0"], ["virtio1", "virtio0"]),
        (["virtio1", None, None], ["virtio1", "virtio2", "virtio3"]),
        ([None, "virtio7", None], ["virtio0", "virtio7", "virtio2"]),
    ],
    ids=str,
)
def test_device_without_a_name_gets_one_that_no_other_device_has(written: list[str | None], names: list[str]) -> None:
    devices = [
        f'[[device]]\nid = "vm{index}"\nmax-size = "1G"\n' + (f'name = "{name}"\n' if name else "")
        for index, name in enumerate(written)
    ]
    assert [device.name for device in scenario.loads("".join(devices)).devices] == names


def test_nothing_said_is_a_guest_without_devices() -> None:
    loaded = scenario.loads("")
    assert loaded.guest.memory == 4 * GiB
    assert not loaded.devices
    assert not loaded.steps


def test_requested_size_above_the_region_is_taken_at_the_start() -> None:
    assert scenario.loads(GUEST + DEVICE + 'requested-size = "16G"').devices[0].requested_size == 16 * GiB


def test_dictionary_of_a_scenario_is_a_scenario_again() -> None:
    loaded = scenario.load(SCENARIOS[0])
    again = msgspec.convert(scenario.to_dict(loaded), scenario.values.ScenarioFile, dec_hook=decode_size)
    assert (again.title, again.device, again.step) == (loaded.title, loaded.devices, loaded.steps)


def test_listing_is_looked_for_next_to_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "boot.iomem").write_text("00000000-00000fff : Reserved\n")
    (tmp_path / "s.toml").write_text('[guest]\niomem = "boot.iomem"\n')
    assert scenario.load(tmp_path / "s.toml").boot_iomem == "00000000-00000fff : Reserved\n"


@pytest.mark.parametrize(
    ("listing", "words"),
    [
        (
            "180000000-1ffffffff : System RAM\n",
            "0x180000000 is taken in the listing by 0x180000000-0x1ffffffff 'System RAM'",
        ),
        ("200000000-2ffffffff : PCI Bus 0000:00\n", "by 0x200000000-0x2ffffffff 'PCI Bus 0000:00'"),
        ("180000000-37fffffff : virtio0\n", "is taken in the listing by 0x180000000-0x37fffffff 'virtio0'"),
        ("100000000-4ffffffff : PCI Bus 0000:00\n", None),
        ("100000000-17fffffff : System RAM\n", None),
        ("380000000-3ffffffff : System RAM\n", None),
    ],
)
def test_device_lies_on_nothing_that_the_listing_has(tmp_path: Path, listing: str, words: str | None) -> None:
    (tmp_path / "boot.iomem").write_text(listing)
    text = GUEST + 'iomem = "boot.iomem"\n' + DEVICE
    if words is None:
        assert scenario.loads(text, folder=tmp_path).boot_iomem == listing
        return
    with pytest.raises(ScenarioError, match=r"device 1: memaddr: ") as refused:
        scenario.loads(text, folder=tmp_path)
    assert words in str(refused.value)


PC = "00100000-bffdffff : System RAM\n100000000-13fffffff : System RAM\n"
PLUGGED = PC + "140000000-53fffffff : virtio0\n  140000000-147ffffff : System RAM (virtio_mem)\n"


@pytest.mark.parametrize(
    ("listing", "guest", "device", "words"),
    [
        (PC, "", 'memaddr = "0x140000000"', "can't add memory device"),
        (PLUGGED, "", "", "a guest starts from a map without it (grep -v 'virtio[0-9_]')"),
        (PLUGGED, 'machine = "pc"\n', "", None),
    ],
)
def test_listing_of_another_machine_is_named_as_the_cause(
    listing: str, guest: str, device: str, words: str | None, tmp_path: Path
) -> None:
    (tmp_path / "boot.iomem").write_text(listing)
    text = f'{GUEST}{guest}iomem = "boot.iomem"\n{DEVICE}{device}\n'
    with pytest.raises(ScenarioError, match=r"device 1: memaddr: ") as refused:
        scenario.loads(text, folder=tmp_path)
    cause = '; the listing is of machine = "pc", memory = "4G"'
    assert str(refused.value).endswith(cause) == (words is not None)
    assert words is None or words in str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"00001000-00000fff : System RAM\n", "boot.iomem:1: "),
        (b"00000000-00000fff : Reserved\nrubbish\n", "boot.iomem:2: "),
        (b"00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n", "boot.iomem:"),
        (b"\xff\xff", "boot.iomem is not text"),
    ],
)
def test_listing_that_cannot_be_is_refused_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "boot.iomem").write_bytes(content)
    with pytest.raises(ScenarioError, match=r"^scenario:2: guest\.iomem: ") as refused:
        scenario.loads('[guest]\niomem = "boot.iomem"\n', folder=tmp_path)
    assert words in str(refused.value)


STEP = GUEST + DEVICE + "[[step]]\n"
WRONG = [
    # the text
    ("x =", "end of document: Invalid value"),
    ("[guest\nmemory = 1", "line 1, column 7: Expected ']' at the end of a table declaration"),
    (f"a = {'[' * 100_000}", "arrays or tables are nested too deeply"),
    ("a = 1\na = 2\n", "line 2, column 6: Cannot overwrite a value"),
    # keys and kinds
    ("colour = 1", "colour: unknown key; the keys are title, guest, driver, device, step"),
    ('[guest]\nmachin = "pc"', "guest.machin: unknown key, did you mean machine?"),
    ("[driver]\nforce_bbm = true", "driver.force_bbm: unknown key, did you mean force-bbm?"),
    (DEVICE + 'block-sise = "4M"', "device 1: block-sise: unknown key, did you mean block-size?"),
    ('[[device]]\nmax-size = "8G"', "device 1: id is missing"),
    ('[device]\nid = "vm0"', "device: {'id': 'vm0'} is not an array; write [[device]]"),
    ("title = 3", "title: 3 is not a string"),
    ("[driver]\nforce-bbm = 1", "driver.force-bbm: 1 is not true or false"),
    ("[guest]\nkernel = 6.12", "guest.kernel: 6.12 is not a string; write it in quotes"),
    ("[guest]\nfirmware = 'bios'", "guest.firmware: 'bios' is not one of device-tree, uefi"),
    ("[guest]\nslots = 1.5", "guest.slots: 1.5 is not an integer"),
    ('step = ["load"]', "step 1: 'load' is not a table"),
    ("[[step]]\nid = 1", "step 1: do is missing"),
    ('[[step]]\ndo = "reload"', "step 1: do: 'reload' is not one of load, unload, resize, set-state, reboot, kexec, "),
    ('[[step]]\ndo = "resiz"', "; did you mean resize?"),
    ('[[step]]\ndo = "load"\nnow = true', "step 1: now: unknown key; the keys are do"),
    ('[[step]]\ndo = "set-state"\nblocks = [1]\nstate = "on"', "step 1: state: 'on' is not one of offline, online, "),
    ('[[step]]\ndo = "set-state"\nblocks = ["a"]\nstate = "online"', "step 1: blocks, number 1: 'a' is not an integer"),
    ('[guest]\nmachine = "q36"', "guest.machine: 'q36' is not one of pc, q35, virt; did you mean q35?"),
    ('[guest]\nmemory = "4X"', "guest.memory: not a size: '4X' (write 128M, 2G, 0x8000000 or bytes)"),
    ("[guest]\nmemory = 1e9", "guest.memory: not a size: 1000000000.0"),
    # the machine
    ("[guest]\nmemory = 1000", "guest.memory: 1000 (0x3e8) is not a whole number of pages from 64M (0x4000000) up"),
    (
        '[guest]\nmemory = "8E"',
        "guest.memory: 8E (0x8000000000000000) is more than a guest here can have, 64T",
    ),
    ('[guest]\nmax-memory = "8E"', "guest.max-memory: 8E (0x8000000000000000) is more than 52 bits of address"),
    ('[guest]\nmax-memory = "2G"', "guest.max-memory: 2G (0x80000000) is less than guest.memory, 4G (0x100000000)"),
    ("[guest]\nmax-memory = 4294967297", "guest.max-memory: 4294967297 (0x100000001) is not a whole number of pages"),
    ('[guest]\nslots = 2\nmax-memory = "4G"', "guest.slots: 2 slots, but max-memory leaves no room"),
    ("[guest]\nslots = 257", "guest.slots: 257 is not in 0..256"),
    ('[guest]\nmemory-block-size = "96M"', "guest.memory-block-size: 96M (0x6000000) is not a power of two from 128M"),
    ('[guest]\nmemory-block-size = "4G"', "guest.memory-block-size: 4G (0x100000000) is not a power of two from 128M"),
    ("[guest]\nauto-movable-ratio = -1", "guest.auto-movable-ratio: -1 is negative"),
    ('[guest]\niomem = "a"\ncapture = "b"', "guest.capture: a guest starts from an iomem listing or from a capture"),
    ('[guest]\niomem = "nowhere/boot.iomem"', "guest.iomem: nowhere/boot.iomem: No such file or directory"),
    # nodes
    ("[[guest.nodes]]\nid = 1", "guest.nodes 1: id: 1 leaves a gap: 1 nodes are 0..0"),
    ("[[guest.nodes]]\nid = 0\n[[guest.nodes]]\nid = 0", "guest.nodes 2: id: 0 is node 0's number already"),
    ('[[guest.nodes]]\nid = 0\nmemory = ["0-x"]', "guest.nodes 1: memory, number 1: '0-x' is not a range such as "),
    (
        '[[guest.nodes]]\nid = 0\nmemory = ["0x2000-0x1fff"]',
        "guest.nodes 1: memory, number 1: '0x2000-0x1fff' ends before it",
    ),
    ('[[guest.nodes]]\nid = 0\nmemory = ["0x0-0x80000000"]', "'0x0-0x80000000' does not start and end with a page"),
    (
        '[[guest.nodes]]\nid = 0\nmemory = ["0x0-0x7fffffff"]',
        "guest.nodes: boot memory at 0x100000000 belongs to no node",
    ),
    (
        '[[guest.nodes]]\nid = 0\nmemory = ["0x0-0x17fffffff"]\n[[guest.nodes]]\nid = 1\nmemory = ["0x100000000-0x17fffffff"]',
        "guest.nodes 2: memory, number 1: 0x100000000-0x17fffffff overlaps 0x0-0x17fffffff",
    ),
    # devices
    (DEVICE + 'block-size = "3M"', "device 1: block-size: 3M (0x300000) is not a power of two"),
    (DEVICE + 'block-size = "512K"', "device 1: block-size: 512K (0x80000) is less than 1M (0x100000)"),
    (DEVICE.replace("8G", "4097M"), "device 1: max-size: 4097M (0x100100000) is not a multiple of 2M (0x200000)"),
    (DEVICE.replace("8G", "0"), "device 1: max-size: 0 is not a size (at least 2M (0x200000))"),
    (DEVICE + 'requested-size = "3M"', "device 1: requested-size: 3M (0x300000) is not a multiple of block-size, 2M"),
    (DEVICE.replace("vm0", "0vm"), "device 1: id: '0vm' is not an id: letters, digits, "),
    (DEVICE + "node = 1", "device 1: node: 1 is not a node of this guest (it has 1, from 0)"),
    (DEVICE + 'name = "eth0"', "device 1: name: 'eth0' is not virtio0, virtio1, …"),
    (DEVICE + DEVICE, "device 2: id: 'vm0' is the id of an earlier device"),
    (
        DEVICE + 'name = "virtio1"\n' + DEVICE.replace("vm0", "vm1") + 'name = "virtio1"',
        "device 2: name: virtio1 is the name of device vm0",
    ),
    (DEVICE + 'memaddr = "0x180100000"', "device 1: memaddr: 0x180100000: address must be aligned to 0x200000 bytes"),
    (
        DEVICE + 'memaddr = "0x140000000"',
        "device 1: memaddr: 0x140000000: can't add memory device [0x140000000:0x200000000], ",
    ),
    (
        GUEST + DEVICE.replace("8G", "17G"),
        "device 1: max-size: 17G (0x440000000): not enough space, currently 0x0 in use",
    ),
    (
        GUEST + DEVICE + DEVICE.replace("vm0", "vm1") + 'memaddr = "0x300000000"',
        "device 2: memaddr: 0x300000000: address range conflicts with memory device id='vm0'",
    ),
    (DEVICE + "memaddr = 4503599627370496", "device 1: memaddr: 0x10000000000000 and 8G (0x200000000) end above"),
    ('[guest]\ncapture = "c"\n' + DEVICE, "device 1: memaddr: is missing; a guest that starts from a capture"),
    # steps
    (
        STEP + 'do = "resize"\ndevice = "vm1"\nrequested-size = 0',
        "step 1: device: 'vm1' is not a device (there is vm0)",
    ),
    (
        STEP + 'do = "unplug-dimm"\nid = "d"',
        "step 1: id: 'd' is not a DIMM plugged by an earlier step (the guest has none)",
    ),
    (STEP + 'do = "plug-dimm"\nid = "vm0"\nsize = "1G"', "step 1: id: 'vm0' is the id of a device"),
    (
        STEP + 'do = "plug-dimm"\nid = "d"\nsize = "1P"',
        "step 1: size: 1P (0x4000000000000) is more than a guest here can have",
    ),
    (STEP + 'do = "free"\nid = "cache"', "step 1: id: 'cache' is not an earlier use (the guest has none)"),
    (STEP + 'do = "use"\nid = "cache"\nsize = 0', "step 1: size: 0 is not a size"),
    (STEP + 'do = "set-state"\nblocks = [48, -1]\nstate = "online"', "step 1: blocks, number 2: -1 is negative"),
    (STEP + 'do = "wait"\nseconds = inf', "step 1: seconds: inf is not from 0 to 31536000, a year"),
    (STEP + 'do = "wait"\nseconds = -1', "step 1: seconds: -1.0 is not from 0 to 31536000, a year"),
    (
        STEP + 'do = "inject"\nat = "request"\nerror = "ENOMEM"',
        "step 1: error: 'ENOMEM' is not one of BUSY, NACK, ERROR,",
    ),
    (STEP + 'do = "inject"\nat = "online"\nerror = "ENOMEN"', "did you mean ENOMEM?"),
    (STEP + 'do = "inject"\nat = "online"\nerror = "EPERM"\ntimes = 0', "step 1: times: 0 is not in 1..10000"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_scenario_is_refused_with_table_key_and_value(text: str, words: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario.loads(text, source="s.toml")
    assert str(refused.value).startswith("s.toml:")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


LINES = b"""[guest]
memory = "4G"

[[device]]
id = "vm0"
max-size = "8G"
[[step]]
do = "load"

[[step]]
do = "resize"
'device' = "vm0"
[[guest.nodes]]
id = 0
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("guest.memory", 2),
        ("guest.release", 1),
        ("device[0].max-size", 6),
        ("step[1].device", 12),
        ("step[1].requested-size", 10),
        ("step[0].blocks[2]", 7),
        ("guest.nodes[0].id", 14),
        ("", None),
        ("nowhere", None),
    ],
)
def test_a_place_has_the_line_of_its_key_or_else_of_its_table(place: str, line: int | None) -> None:
    assert line_of(place, LINES) == line


def test_a_text_of_many_lines_leaves_the_line_open() -> None:
    assert line_of("guest.memory", LINES + b'title = """\n[[step]]\n"""') is None


def test_file_line_and_step_are_said() -> None:
    text = DEVICE + '[[step]]\ndo = "load"\n[[step]]\n' + 'do = "resize"\ndevice = "vm1"\nrequested-size = 0'
    with pytest.raises(ScenarioError, match=r"^s\.toml:\d+: step 2: device: 'vm1' is not a device") as refused:
        scenario.loads(text, source="s.toml")
    number = int(str(refused.value).split(":")[1])
    assert text.splitlines()[number - 1] == 'device = "vm1"'


def test_bytes_that_are_not_text_are_refused_with_their_line() -> None:
    with pytest.raises(ScenarioError, match="line 2: byte 0xff is not UTF-8"):
        scenario.loads(b'title = "a"\n\xff')


def test_missing_file_is_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml: No such file or directory"):
        scenario.load(tmp_path / "missing.toml")
    with pytest.raises(UsageError, match="Is a directory"):
        scenario.load(tmp_path)
    with pytest.raises(UsageError, match="null byte"):
        scenario.load("a\0b")


def test_file_without_an_end_is_usage() -> None:
    with pytest.raises(UsageError, match="/dev/zero: longer than 2M"):
        scenario.load("/dev/zero")


def test_what_a_step_may_be_refused_for_is_no_fault_of_the_scenario() -> None:
    for step in (
        'do = "resize"\ndevice = "vm0"\nrequested-size = "3M"',
        'do = "resize"\ndevice = "vm0"\nrequested-size = "1T"',
        'do = "set-state"\nblocks = [100000]\nstate = "offline"',
        'do = "plug-dimm"\nid = "d"\nsize = "64T"\nnode = 7',
        'do = "add-memory"\nkind = "kmem"\nsize = "3M"\nmemaddr = "0x0"',
    ):
        scenario.loads(STEP + step)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("9" * 5000, f"line 3: a key or a number of more than 1000 characters, '{'9' * 52}…{'9' * 25}'"),
        ("0x" + "f" * 500, "device 1: max-size: a number of more than 64 bits"),
    ],
)
def test_numbers_that_nothing_can_be_are_refused_in_a_line(value: str, reason: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        scenario.loads(f'[[device]]\nid = "vm0"\nmax-size = {value}\n')
    assert str(refused.value).endswith(reason)


def test_a_guest_has_one_physical_address_space() -> None:
    """What a scenario lets a device have, its kernel can add, up to the last byte."""
    text = '[guest]\nmax-memory = "4194270G"\naddress-bits = 52\ndefault-state = "online_movable"\n[[device]]\nid = "vm0"\nmax-size = "256M"\n'
    text += 'requested-size = "256M"\nmemaddr = "{:#x}"\n[[step]]\ndo = "load"\n'
    last = X86_64.linear_map_size - 32 * GiB - 256 * MiB  # behind it is the PCI window
    loaded = scenario.loads(text.format(last))
    record = scenario.embedded_guest(loaded).play(loaded.steps[0])
    assert (record.settled, record.log and "not addressable" in " ".join(record.log)) == (True, False)
    with pytest.raises(ScenarioError, match="usable range for memory devices"):
        scenario.loads(text.format(last + 128 * MiB))
    with pytest.raises(
        ScenarioError, match=r"4194271G: Address space limit 0xfffffffffffff < .* phys-bits too low \(52\)"
    ):
        scenario.loads(text.format(last).replace("4194270G", "4194271G"))


CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.mark.parametrize("name", ["maxmem-beyond-address-bits"])
def test_a_machine_beyond_its_processors_addresses_is_refused_as_qemu_refuses_it(name: str) -> None:
    if not (path := CASES / f"{name}.toml").exists():
        pytest.skip(f"NOT HERE: {path}")
    with pytest.raises(
        ScenarioError, match=r"Address space limit 0xffffffffff < 0x3097fffffff phys-bits too low \(40\)"
    ):
        scenario.load(path)


VIRT = '[guest]\nmachine = "virt"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[guest]\npage-size = "16K"\n', "guest.page-size: Linux on q35 has pages of 4K, not of 16K"),
        ('[guest]\nmachine = "pc"\nfirmware = "uefi"\n', "guest.firmware: pc has firmware of its own"),
        ('[guest]\ncma = "64M"\n', "guest.cma: Debian's Linux for x86-64 is built without"),
        (f'{VIRT}cma = "5G"\n', r"guest.cma: 5G \(0x140000000\) is more than guest.memory"),
        (f'{VIRT}memory-block-size = "256M"\n', "guest.memory-block-size: .* is not a power of two from 128M to 128M"),
        (f'{VIRT}page-size = "64K"\nmemory-block-size = "128M"\n', "from 512M to 512M"),
        (f'{VIRT}max-memory = "256T"\n', "is more than 47 bits of address can reach"),
        (f'{VIRT}firmware = "bios"\n', "guest.firmware: "),
    ],
)
def test_machine_firmware_and_page_size_go_together_or_are_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        scenario.loads(text)
